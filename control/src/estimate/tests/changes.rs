//! Links that change, and loads that do.

use super::{BEGIN, MS, Model, Outcome, PACED, SECOND, Source, Time, World, flooded};

/// When things change.
const CHANGE: Time = 5 * SECOND;

#[test]
fn half_the_rate_is_noticed_before_a_queue_runs_away() {
    for paced in PACED {
        for (name, model) in [
            ("plain", Model::new(20.0, 20)),
            ("jitter", Model::new(20.0, 30).jitter(15)),
            ("loss", Model::new(20.0, 20).loss(0.02)),
            ("fast", Model::new(100.0, 10)),
        ] {
            let rate = super::sum(std::slice::from_ref(&model), 0);
            let outcome = flooded(paced, &[model.then(CHANGE, rate / 2.0)], 1.25 * rate, 12);
            let most = outcome.waits(0, CHANGE, 12 * SECOND);
            let long = outcome.waits_longer(125, 0, CHANGE, 12 * SECOND);
            let carried = outcome.part(CHANGE + 2 * SECOND, 12 * SECOND);
            println!(
                "half, {name}, paced {paced}: {most} ms at most, {long} ms long, then {carried:.3}"
            );
            assert!(
                most <= 400 && long <= 700,
                "{name}: {most} ms, {long} ms long"
            );
            assert!(carried >= 0.93, "{name}: {carried}");
        }
    }
}

#[test]
fn twice_the_rate_is_found_in_two_seconds() {
    for paced in PACED {
        for (name, model) in [
            ("plain", Model::new(20.0, 20)),
            ("jitter", Model::new(20.0, 30).jitter(15)),
            ("loss", Model::new(20.0, 20).loss(0.02)),
            ("far", Model::new(20.0, 50)),
        ] {
            let outcome = flooded(paced, &[model.then(CHANGE, 40.0)], 50.0, 12);
            let reached = outcome.reached(CHANGE, 12 * SECOND);
            let most = outcome.waits(0, CHANGE, 12 * SECOND);
            println!("twice, {name}, paced {paced}: after {reached:?} ms, {most} ms at most");
            assert!(
                reached.is_some_and(|reached| reached <= 2000),
                "{name}: {reached:?}"
            );
            assert!(most <= 150, "{name}: {most} ms");
        }
    }
}

/// Runs one link under loads of so many Mbit/s, each between two seconds.
fn loaded(model: &Model, loads: &[(f64, u64, u64)], seconds: u64) -> Outcome {
    let models = std::slice::from_ref(model);
    let mut world = World::new(models, 1);
    for (mbit, from, until) in loads {
        let (from, until) = (from * SECOND, until * SECOND);
        world.source(from, Source::constant(*mbit, from, until));
    }
    world.run(seconds * SECOND);
    Outcome::new(world, models)
}

#[test]
fn who_sends_little_or_nothing_is_believed_to_be_able_to_send_more() {
    let link = Model::new(20.0, 20);
    // Ten of twenty, then nothing for a minute, then more than there is room for.
    let outcome = loaded(&link, &[(25.0, 1, 5), (5.0, 5, 15), (25.0, 75, 80)], 80);
    let reached = outcome.reached(75 * SECOND, 80 * SECOND);
    assert!(reached.is_some_and(|reached| reached <= 400), "{reached:?}");
    let lost = outcome.rate(0, 6 * SECOND, 15 * SECOND);
    assert!(lost > 4.9, "{lost}");
    assert!(outcome.waits(0, 6 * SECOND, 15 * SECOND) < 5);
}

#[test]
fn what_was_never_needed_is_found_when_it_is() {
    let outcome = loaded(&Model::new(20.0, 20), &[(5.0, 1, 8), (25.0, 8, 12)], 12);
    let reached = outcome.reached(8 * SECOND, 12 * SECOND);
    assert!(
        reached.is_some_and(|reached| reached <= 1000),
        "{reached:?}"
    );
    assert!(outcome.waits(0, 8 * SECOND, 12 * SECOND) <= 200);
}

#[test]
fn the_part_that_others_take_is_left_to_them() {
    let models = [Model::new(20.0, 20)];
    let mut world = World::new(&models, 1);
    world.source(BEGIN, Source::constant(25.0, BEGIN, Time::MAX));
    world.others(0, 10.0, CHANGE, 2 * CHANGE);
    world.run(15 * SECOND);
    let outcome = Outcome::new(world, &models);
    let meanwhile = outcome.rate(0, CHANGE + 2 * SECOND, 2 * CHANGE);
    assert!((8.5..=10.5).contains(&meanwhile), "{meanwhile}");
    assert!(outcome.waits(0, CHANGE + SECOND, 2 * CHANGE) <= 125);
    let reached = outcome.reached(2 * CHANGE, 15 * SECOND);
    assert!(
        reached.is_some_and(|reached| reached <= 2000),
        "{reached:?}"
    );
}

#[test]
fn an_outage_leaves_no_traces() {
    let link = Model::new(20.0, 20)
        .then(CHANGE, 0.001)
        .then(CHANGE + 2 * SECOND, 20.0);
    let models = [link, Model::new(10.0, 30)];
    let outcome = flooded(false, &models, 40.0, 15);
    // What was under way on the one waits until it is back; the other goes on.
    let other = outcome.rate(1, CHANGE + SECOND, CHANGE + 2 * SECOND);
    assert!(other > 9.0, "{other}");
    let carried = outcome.part(CHANGE + 4 * SECOND, 15 * SECOND);
    assert!(carried > 0.95, "{carried}");
    let waits = outcome.waits(0, CHANGE + 4 * SECOND, 15 * SECOND);
    assert!(waits <= 150, "{waits} ms");
}

#[test]
fn a_queue_too_short_to_be_seen_is_spared() {
    for room in [20_000, 50_000] {
        let mut link = Model::new(20.0, 20);
        link.room = room;
        let outcome = flooded(false, &[link, Model::new(20.0, 20)], 50.0, 12);
        let carried = outcome.part(4 * SECOND, 12 * SECOND);
        let lost = outcome.world.overflowed;
        println!(
            "room of {room}: {carried:.3}, {lost} lost of {}",
            outcome.world.packets.len()
        );
        assert!(carried > 0.95, "{carried}");
        assert!(lost * 40 < outcome.world.packets.len() as u64, "{lost}");
    }
}

#[test]
fn clocks_that_drift_apart_do_no_harm() {
    for paced in PACED {
        for ppm in [100.0, -100.0] {
            let models = [Model::new(20.0, 20), Model::new(10.0, 40)];
            let mut world = World::new(&models, 1).skew(ppm).paced(paced);
            world.source(BEGIN, Source::constant(40.0, BEGIN, Time::MAX));
            world.run(100 * SECOND);
            let outcome = Outcome::new(world, &models);
            let carried = outcome.part(60 * SECOND, 100 * SECOND);
            let waits = outcome.waits_below(99, 60 * SECOND, 100 * SECOND);
            assert!(
                carried > 0.97 && waits <= 100,
                "{ppm}: {carried}, {waits} ms"
            );
        }
    }
}

#[test]
fn a_longer_way_is_no_queue_for_long() {
    for paced in PACED {
        let mut link = Model::new(20.0, 20);
        link.detour = Some((CHANGE, 60 * MS));
        for models in [vec![link.clone()], vec![link, Model::new(20.0, 20)]] {
            let outcome = flooded(paced, &models, 30.0 * models.len() as f64, 20);
            let carried = outcome.part(CHANGE + 5 * SECOND, 20 * SECOND);
            println!(
                "longer, {} links, paced {paced}: {carried:.3}, waits {}",
                models.len(),
                outcome.waits_below(99, CHANGE + 5 * SECOND, 20 * SECOND)
            );
            assert!(carried > 0.93, "{carried}");
        }
    }
}

/// A clock that nothing is booked on stands still, and how long it has done so is no queue: whatever is booked between it was read and the
/// scheduler is programmed.
#[test]
fn who_seldom_sends_never_finds_a_queue() {
    let models = [Model::new(20.0, 20)];
    for paced in PACED {
        let mut world = World::new(&models, 1)
            .paced(paced)
            .programmed_after(30 * MS);
        // Two packets a second, nearly.
        for begin in [BEGIN, BEGIN + 35 * MS] {
            world.source(begin, Source::constant(0.0115, begin, Time::MAX));
        }
        world.run(200 * SECOND);
        let took = world.packets.iter().map(|(sent, arrived)| arrived - sent);
        let most = took.max().unwrap_or(0);
        assert_eq!(world.refused, 0, "paced {paced}");
        assert!(most < 25 * MS, "paced {paced}: {most} ns");
    }
}

#[test]
fn what_answers_last_is_not_forgotten_while_there_is_no_load() {
    let models = [
        Model::new(20.0, 20),
        Model::new(20.0, 30),
        Model::new(20.0, 150),
    ];
    let mut world = World::new(&models, 1).programmed_after(MS);
    world.run(BEGIN / 2);
    assert_eq!(world.plan.ivcs.len(), 3);
}
