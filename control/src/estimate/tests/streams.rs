//! TCP over several links.

use std::time::Duration;

use super::{Model, Outcome, PACED, SECOND, streamed};

fn links(links: &[(f64, u64)]) -> Vec<Model> {
    links
        .iter()
        .map(|(mbit, latency)| Model::new(*mbit, *latency))
        .collect()
}

fn report(name: &str, outcome: &Outcome) -> (f64, usize) {
    let carried = outcome.part(8 * SECOND, 20 * SECOND);
    let overtaken = outcome.overtaken(8 * SECOND);
    let waits = outcome.waits_below(99, 8 * SECOND, 20 * SECOND);
    let (spurious, cuts) = outcome.mistakes();
    println!(
        "{name}: {carried:.3}, overtaken by {overtaken}, waits {waits} ms, {spurious} late for lost, {cuts} slower"
    );
    (carried, overtaken)
}

#[test]
fn one_stream_fills_several_links_and_stays_in_order() {
    for paced in PACED {
        for (name, models, part) in [
            ("one of 20", links(&[(20.0, 20)]), 0.97),
            ("20 + 20", links(&[(20.0, 10), (20.0, 10)]), 0.95),
            ("20 + 8", links(&[(20.0, 10), (8.0, 40)]), 0.9),
            ("4 of 10", links(&[(10.0, 5); 4]), 0.95),
            (
                "1 to 6",
                links(&[(1.0, 5), (2.0, 20), (3.0, 40), (6.0, 15)]),
                0.95,
            ),
        ] {
            let (carried, overtaken) = report(name, &streamed(paced, &models, 1, 10, 20));
            assert!(carried >= part, "{name}: {carried}");
            assert!(overtaken <= 10, "{name}: {overtaken}");
        }
    }
}

#[test]
fn eight_streams_fill_them() {
    for paced in PACED {
        for (name, models) in [
            ("one of 20", links(&[(20.0, 20)])),
            ("20 + 8", links(&[(20.0, 10), (8.0, 40)])),
            ("100 + 50", links(&[(100.0, 10), (50.0, 30)])),
            (
                "1 to 6",
                links(&[(1.0, 5), (2.0, 20), (3.0, 40), (6.0, 15)]),
            ),
        ] {
            let (carried, overtaken) = report(name, &streamed(paced, &models, 8, 10, 20));
            assert!(carried >= 0.97, "{name}: {carried}");
            assert!(overtaken <= 10, "{name}: {overtaken}");
        }
    }
}

/// What a small link's queue has no room for goes by the others: how long it may be bounds only what waits for that link.
#[test]
fn the_queue_of_a_small_link_bounds_no_other() {
    for paced in PACED {
        let mut small = Model::new(2.5, 5);
        // As much as a tenth of a second carries.
        small.room = 31_000;
        let models = [small, Model::new(100.0, 60)];
        let Outcome { world, .. } = streamed(paced, &models, 8, 60, 25);
        let (horizon, most) = (world.plan.horizon, world.plan.ivcs[&0].most);
        println!(
            "paced {paced}: {horizon:?}, {most:?}, {} lost",
            world.overflowed
        );
        assert!(horizon > Duration::from_millis(150), "{horizon:?}");
        assert!(most.is_some_and(|most| most <= Duration::from_millis(100)));
        assert!(world.overflowed < 100, "{}", world.overflowed);
    }
}
