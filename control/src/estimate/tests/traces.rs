//! Recorded links.

use super::{Model, SECOND, flooded, streamed};

/// The part of it that a flood must get through, and how long nearly all packets may wait, in milliseconds. One stands still for eight
/// seconds: a link without others is given what it is thought to carry while nobody answers, for then there may be nobody who answers.
const TRACES: [(&str, f64, u64); 4] = [
    ("ATT-LTE-driving-2016.down", 0.85, 1000),
    ("ATT-LTE-driving-2016.up", 0.7, 9000),
    ("Verizon-LTE-short.down", 0.85, 800),
    ("Verizon-LTE-short.up", 0.85, 500),
];

#[test]
fn recorded_links_are_followed() {
    for (name, part, queue) in TRACES {
        let models = [Model::trace(name, 25)];
        let outcome = flooded(false, &models, 30.0, 60);
        let carried = outcome.part(3 * SECOND, 60 * SECOND);
        let waits = outcome.waits_below(95, 3 * SECOND, 60 * SECOND);
        println!(
            "{name}: {carried:.3}, waits {waits} ms, half {} ms",
            outcome.waits_below(50, 3 * SECOND, 60 * SECOND)
        );
        assert!(carried >= part, "{name}: {carried}");
        assert!(waits <= queue, "{name}: {waits} ms");
    }
}

#[test]
fn a_recorded_link_beside_a_steady_one_adds_to_it() {
    for (name, ..) in TRACES {
        let models = [Model::trace(name, 25), Model::new(10.0, 15)];
        let both = streamed(false, &models, 8, 25, 60);
        let carried = both.part(5 * SECOND, 60 * SECOND);
        println!("{name} and 10 Mbit/s: {carried:.3} by eight streams");
        assert!(carried >= 0.85, "{name}: {carried}");
    }
}
