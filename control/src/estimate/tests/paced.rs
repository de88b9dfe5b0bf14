//! Links whose packets are held until it is their time.

use super::{BEGIN, MS, Model, Outcome, PACED, SECOND, Source, Time, World, flooded, sum};

#[test]
fn what_has_to_wait_waits_before_the_link() {
    let link = Model::new(20.0, 30);
    for (name, models, part, queue) in [
        ("plain", vec![link.clone()], 0.98, 8),
        ("slow", vec![Model::new(2.0, 50)], 0.98, 45),
        ("fast", vec![Model::new(200.0, 5)], 0.98, 8),
        ("far", vec![Model::new(50.0, 300)], 0.98, 8),
        ("loss", vec![link.clone().loss(0.02)], 0.97, 8),
        ("jitter", vec![link.clone().jitter(15)], 0.97, 45),
        ("two", vec![link, Model::new(8.0, 80)], 0.98, 10),
    ] {
        let [plain, paced] = PACED.map(|paced| flooded(paced, &models, 1.5 * sum(&models, 0), 12));
        let part_of = |outcome: &Outcome| outcome.part(5 * SECOND, 12 * SECOND);
        let waits = |outcome: &Outcome| outcome.waits_below(99, 5 * SECOND, 12 * SECOND);
        let reached = paced.reached(BEGIN, 12 * SECOND);
        let overtaken = paced.overtaken(5 * SECOND);
        println!(
            "{name:8} 90% after {reached:?} ms; {:.3} and {} ms on the link, without {:.3} and {} ms",
            part_of(&paced),
            waits(&paced),
            part_of(&plain),
            waits(&plain)
        );
        assert!(reached.is_some_and(|reached| reached <= 3000), "{name}");
        assert!(part_of(&paced) >= part, "{name}");
        assert!(waits(&paced) <= queue, "{name}");
        assert!(overtaken <= 10, "{name}: {overtaken}");
    }
}

/// By the first moment of a load a link may seem to carry next to nothing: who held everything back for that would not find out for long.
#[test]
fn what_is_seen_first_holds_nothing_back() {
    let models = [Model::new(20.0, 30).jitter(15)];
    for seed in 1..=12 {
        let mut world = World::new(&models, seed).paced(true);
        world.source(BEGIN, Source::constant(30.0, BEGIN, Time::MAX));
        world.run(5 * SECOND);
        let reached = Outcome::new(world, &models).reached(BEGIN, 5 * SECOND);
        assert!(
            reached.is_some_and(|reached| reached <= 3000),
            "{seed}: {reached:?}"
        );
    }
}

/// Jitter that is stronger under load than before it looks like a queue that never goes.
#[test]
fn more_is_found_behind_jitter() {
    let models = [Model::new(20.0, 30).jitter(15).then(5 * SECOND, 40.0)];
    let found = (1..=12).filter(|seed| {
        let mut world = World::new(&models, *seed).paced(true);
        world.source(BEGIN, Source::constant(50.0, BEGIN, Time::MAX));
        world.run(8 * SECOND);
        let reached = Outcome::new(world, &models).reached(5 * SECOND, 8 * SECOND);
        println!("twice behind jitter, {seed}: after {reached:?} ms");
        reached.is_some_and(|reached| reached <= 2000)
    });
    assert!(found.count() >= 10);
}

/// What passes by itself is no lower rate.
#[test]
fn a_link_that_stalls_for_moments_keeps_its_rate() {
    let stall = |model: Model, at: Time| model.then(at, 0.1).then(at + 40 * MS, 8.0);
    let stalls = (2 * SECOND..12 * SECOND).step_by(400 * MS as usize);
    let models = [stalls.fold(Model::new(8.0, 10), stall)];
    let mut world = World::new(&models, 1).paced(true);
    world.cap(&models);
    world.source(BEGIN, Source::constant(12.0, BEGIN, Time::MAX));
    world.run(12 * SECOND);
    let rate = world.plan.ivcs[&0].rate;
    let carried = Outcome::new(world, &models).part(3 * SECOND, 12 * SECOND);
    println!("stalls: {carried:.3}, thought to carry {rate} bit/s");
    assert!(carried >= 0.9 && rate >= 6_400_000, "{carried}, {rate}");
}

/// A queue of twenty packets is short for TCP, and for the bursts in which it sends.
#[test]
fn short_queues_overflow_less() {
    let mut model = Model::new(8.0, 10);
    model.room = 20 * 1514;
    let models = [model.clone(), model];
    let [plain, paced] = PACED.map(|paced| {
        let mut world = World::new(&models, 1).paced(paced);
        world.cap(&models);
        for stream in 0..4 {
            world.source(BEGIN + stream * 37 * MS, Source::stream(10 * MS));
        }
        world.run(20 * SECOND);
        let overflowed = world.overflowed;
        let outcome = Outcome::new(world, &models);
        (overflowed, outcome.part(5 * SECOND, 20 * SECOND))
    });
    println!("overflowed and carried: {plain:?}, paced {paced:?}");
    assert!(paced.0 * 10 <= plain.0, "{plain:?}, {paced:?}");
    assert!(paced.1 >= 0.99 * plain.1, "{plain:?}, {paced:?}");
}

/// A link whose queue is short idles when nothing is sent to it in time, and no queue before it helps.
#[test]
fn a_gateway_that_stops_now_and_then_keeps_a_little_on_the_link() {
    let mut model = Model::new(8.0, 10);
    model.room = 20 * 1514;
    let models = [model];
    for (between, length, part) in [(50, 2, 0.98), (50, 5, 0.96), (50, 10, 0.89)] {
        let [plain, paced] = PACED.map(|paced| {
            let world = World::new(&models, 1).paced(paced);
            let mut world = world.stalling(between * MS, length * MS);
            for stream in 0..4 {
                world.source(BEGIN + stream * 37 * MS, Source::stream(10 * MS));
            }
            world.run(20 * SECOND);
            let overflowed = world.overflowed;
            let carried = Outcome::new(world, &models).part(5 * SECOND, 20 * SECOND);
            (overflowed, carried)
        });
        println!("{length} ms every {between} ms: {plain:?}, paced {paced:?}");
        assert!(paced.1 >= part, "{length} ms: {paced:?}");
        assert!(paced.0 * 2 <= plain.0, "{length} ms: {plain:?}, {paced:?}");
    }
}
