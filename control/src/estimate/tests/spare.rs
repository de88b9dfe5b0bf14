//! Less load than the links carry: hardly anything is refused.

use super::{BEGIN, MS, Model, PACED, SECOND, Source, Time, World, sum};

/// What the links carry is known, or unknown until it is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rates {
    Stated,
    Unknown,
}

/// The part of a constant load, a part of what the links carry, that finds no room from a moment on.
fn refused(paced: bool, models: &[Model], load: f64, rates: Rates, from: Time) -> f64 {
    let mut world = World::new(models, 1).paced(paced);
    if rates == Rates::Stated {
        world.cap(models);
    }
    let load = load * sum(models, 0);
    world.source(BEGIN, Source::constant(load, BEGIN, Time::MAX));
    let lost = |world: &World| world.refused + world.overflowed;
    world.run(from);
    let (before, sent) = (lost(&world), world.packets.len());
    world.run(20 * SECOND);
    let lost = lost(&world) - before;
    lost as f64 / (world.packets.len() - sent) as f64
}

#[test]
fn what_the_links_carry_is_not_refused() {
    let link = Model::new;
    let far = vec![link(50.0, 20), link(30.0, 30).jitter(15), link(20.0, 300)];
    for (name, models) in [
        ("alike", vec![link(10.0, 5), link(10.0, 5)]),
        ("unlike", vec![link(80.0, 10), link(20.0, 50)]),
        ("wanders", vec![link(10.0, 5), link(10.0, 5).wander(15)]),
        ("jitters", vec![link(10.0, 5), link(10.0, 5).jitter(15)]),
        ("far", far),
        ("loss", vec![link(50.0, 10), link(50.0, 10).loss(0.01)]),
    ] {
        for load in [0.5, 0.7, 0.9, 0.95] {
            for (rates, from) in [(Rates::Stated, BEGIN), (Rates::Unknown, 6 * SECOND)] {
                let lost = refused(false, &models, load, rates, from);
                println!("{name}, {load}, {rates:?}: {lost:.5}");
                assert!(lost < 0.0005, "{name}, {load}, {rates:?}: {lost}");
            }
        }
    }
}

#[test]
fn jitter_that_comes_with_the_load_is_no_queue() {
    for paced in PACED {
        let mut link = Model::new(10.0, 5).jitter(15);
        link.restless = BEGIN - 100 * MS;
        let models = [Model::new(10.0, 5), link];
        for load in [0.5, 0.7, 0.9] {
            let lost = refused(paced, &models, load, Rates::Stated, BEGIN);
            println!("{load}, paced {paced}: {lost}");
            assert!(lost < 0.02, "{load}: {lost}");
        }
    }
}

/// Nothing tells the difference while it lasts but that more comes through when more is sent.
#[test]
fn what_is_taken_for_a_queue_lowers_no_rate_for_long() {
    let mut link = Model::new(10.0, 5);
    link.detour = Some((BEGIN + SECOND, 20 * MS));
    let mut restless = Model::new(10.0, 5).jitter(15);
    restless.restless = BEGIN + SECOND;
    // Of what has never carried more, nobody can know that it does.
    let both = vec![(Rates::Stated, 14.0), (Rates::Unknown, 19.0)];
    for (slow, rates) in [(link, both), (restless, vec![(Rates::Stated, 14.0)])] {
        let models = [Model::new(10.0, 5), slow];
        for (rates, load) in rates {
            let mut world = World::new(&models, 1);
            if rates == Rates::Stated {
                world.cap(&models);
            }
            world.source(BEGIN, Source::constant(load, BEGIN, Time::MAX));
            world.run(20 * SECOND);
            let present = world.present(1);
            let rate = world
                .bond
                .estimate(&1, &present)
                .map(|known| known.rate * 8e-6);
            println!("{rates:?}: {rate:?}");
            assert!(rate.is_some_and(|rate| rate > 7.5), "{rates:?}: {rate:?}");
        }
    }
}

#[test]
fn little_is_refused_while_rates_are_found_out() {
    let models = [Model::new(10.0, 5), Model::new(10.0, 5)];
    let lost = refused(false, &models, 0.7, Rates::Unknown, BEGIN);
    println!("{lost:.5}");
    // Over twenty seconds.
    assert!(lost < 0.005, "{lost}");
}

/// A daemon that is killed says nothing, and its gateway goes on.
#[test]
fn nothing_is_refused_because_nobody_answers() {
    for models in [
        vec![Model::new(10.0, 5)],
        vec![Model::new(10.0, 5), Model::new(10.0, 30)],
    ] {
        let mut world = World::new(&models, 1);
        world.cap(&models);
        world.mute = 5 * SECOND;
        world.source(BEGIN, Source::constant(6.0, BEGIN, Time::MAX));
        world.run(10 * SECOND);
        assert_eq!((world.refused, world.overflowed), (0, 0));
    }
}
