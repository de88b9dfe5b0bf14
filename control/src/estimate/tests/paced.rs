//! Links whose packets are held until it is their time.

use super::{BEGIN, MS, Model, Outcome, SECOND, Source, Time, World, sum};

/// Half as much again as the links carry at first.
fn flooded(models: &[Model], paced: bool) -> Outcome {
    let mut world = World::new(models, 1);
    world.paced = paced;
    let load = 1.5 * sum(models, 0);
    world.source(BEGIN, Source::constant(load, BEGIN, Time::MAX));
    world.run(12 * SECOND);
    Outcome::new(world, models)
}

#[test]
fn what_has_to_wait_waits_before_the_link() {
    let link = Model::new(20.0, 30);
    for (name, models, part, queue) in [
        ("plain", vec![link.clone()], 0.95, 20),
        ("slow", vec![Model::new(2.0, 50)], 0.93, 60),
        ("fast", vec![Model::new(200.0, 5)], 0.95, 20),
        ("far", vec![Model::new(50.0, 300)], 0.93, 20),
        ("loss", vec![link.clone().loss(0.02)], 0.95, 20),
        ("jitter", vec![link.clone().jitter(15)], 0.93, 100),
        ("two", vec![link, Model::new(8.0, 80)], 0.95, 20),
    ] {
        let [plain, paced] = [false, true].map(|paced| flooded(&models, paced));
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

/// A pace below what a link carries leaves it idle, which is seen, and tried.
#[test]
fn a_link_that_carries_more_is_found_out_all_the_same() {
    for (name, model) in [
        ("plain", Model::new(20.0, 20)),
        ("loss", Model::new(20.0, 20).loss(0.02)),
        ("jitter", Model::new(20.0, 30).jitter(15)),
    ] {
        let models = [model.then(5 * SECOND, 40.0)];
        let mut world = World::new(&models, 1);
        world.paced = true;
        world.source(BEGIN, Source::constant(60.0, BEGIN, Time::MAX));
        world.run(12 * SECOND);
        let outcome = Outcome::new(world, &models);
        let reached = outcome.reached(5 * SECOND, 12 * SECOND);
        println!("twice, {name}: after {reached:?} ms");
        assert!(reached.is_some_and(|reached| reached <= 3000), "{name}");
    }
}

/// What passes by itself is no lower rate: with no queue on the link, nothing would raise it again.
#[test]
fn a_link_that_stalls_for_moments_keeps_its_rate() {
    let stall = |model: Model, at: Time| model.then(at, 0.1).then(at + 40 * MS, 8.0);
    let stalls = (2 * SECOND..12 * SECOND).step_by(400 * MS as usize);
    let models = [stalls.fold(Model::new(8.0, 10), stall)];
    let mut world = World::new(&models, 1);
    world.cap(&models);
    world.paced = true;
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
    let [plain, paced] = [false, true].map(|paced| {
        let mut world = World::new(&models, 1);
        world.cap(&models);
        world.paced = paced;
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
