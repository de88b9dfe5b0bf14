//! Links with short queues, slow or beside a satellite.

use super::{BEGIN, MS, Model, Outcome, SECOND, Source, World, flooded, streamed};

/// What waits for it may take a tenth of a second, as in many modems.
fn short(mut model: Model, mbit: f64) -> Model {
    model.room = (mbit * 1e6 / 8.0 / 10.0) as u64;
    model
}

/// That the others' queues would have to grow for packets to arrive in order by the satellite is found out to be more than they bear.
#[test]
fn queues_that_overflow_are_not_asked_to_wait_for_a_satellite() {
    let links = [
        short(Model::new(50.0, 20), 50.0),
        short(Model::new(30.0, 30).jitter(15), 30.0),
        short(Model::new(20.0, 300), 20.0),
    ];
    for outcome in [
        flooded(false, &links, 120.0, 20),
        streamed(false, &links, 8, 20, 20),
    ] {
        let carried = outcome.part(8 * SECOND, 20 * SECOND);
        let (lost, all) = (outcome.world.overflowed, outcome.world.packets.len() as u64);
        println!("{carried:.3}, {lost} overflowed of {all}");
        assert!(carried > 0.78, "{carried}");
        assert!(lost * 50 < all, "{lost} of {all}");
    }
}

/// Whatever the delay of its keepalives does: who sends nothing by a link finds nothing out of what it carries.
#[test]
fn a_link_that_is_not_used_is_not_measured() {
    let mut far = short(Model::new(3.0, 250), 3.0);
    far.detour = Some((10 * SECOND, 60 * MS));
    let near = |latency| short(Model::new(4.0, latency), 4.0);
    let outcome = streamed(false, &[near(10), near(15), far], 6, 20, 20);
    let far = outcome.world.plan.ivcs[&2];
    assert!(!far.bonded);
    assert!(far.rate > 200_000, "{far:?}");
    assert_eq!(outcome.world.plan.places.others[&2].rate, None, "{far:?}");
}

#[test]
fn one_stream_fills_a_slow_link() {
    for (mbit, latency) in [(1.0, 5), (2.0, 10), (3.0, 40), (5.0, 30), (10.0, 10)] {
        let models = [short(Model::new(mbit, latency), mbit)];
        let mut world = World::new(&models, 1);
        world.cap(&models);
        world.source(BEGIN, Source::stream(latency * MS));
        world.run(20 * SECOND);
        let refused = world.refused as f64 / world.packets.len() as f64;
        let carried = Outcome::new(world, &models).part(8 * SECOND, 20 * SECOND);
        println!("{mbit} Mbit/s, {latency} ms: {carried:.3}, {refused:.4} refused");
        assert!(carried > 0.95, "{mbit} Mbit/s: {carried}");
        assert!(refused < 0.06, "{mbit} Mbit/s: {refused}");
    }
}
