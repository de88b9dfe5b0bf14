//! The estimates at work, in virtual time.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a simulation"
)]

mod changes;
mod far;
mod figures;
mod link;
mod paced;
mod properties;
mod senders;
mod spare;
mod steady;
mod streams;
mod tcp;
mod traces;
mod world;

use figures::Outcome;
use link::{MS, Model, SECOND, Time};
use senders::Source;
use world::World;

/// When load begins: until then there are keepalives only.
const BEGIN: Time = SECOND;

/// The sum of what the links carry, in Mbit/s, at a moment.
fn sum(models: &[Model], at: Time) -> f64 {
    let carries = |model: &Model| model.capacity(at, at + SECOND) * 8.0 / 1e6;
    models.iter().map(carries).sum()
}

/// Packets leave as they come, or at the links' rates.
const PACED: [bool; 2] = [false, true];

/// Runs links under a load of packets at regular intervals, with no regard for what becomes of them: `load` Mbit/s.
fn flooded(paced: bool, models: &[Model], load: f64, seconds: u64) -> Outcome {
    let mut world = World::new(models, 1).paced(paced);
    world.source(BEGIN, Source::constant(load, BEGIN, Time::MAX));
    world.run(seconds * SECOND);
    Outcome::new(world, models)
}

/// Runs links with so many TCP streams, whose acknowledgements take so many milliseconds.
fn streamed(paced: bool, models: &[Model], streams: u64, back: u64, seconds: u64) -> Outcome {
    let mut world = World::new(models, 1).paced(paced);
    for stream in 0..streams {
        world.source(BEGIN + stream * 37 * MS, Source::stream(back * MS));
    }
    world.run(seconds * SECOND);
    Outcome::new(world, models)
}
