//! Sets of links, drawn at random: bundles that nobody has chosen.

use std::{fmt, ops::RangeInclusive, time::Duration};

use fastrand::Rng;
use serde::Serialize;

use crate::{lab::LinkSpec, profiles::Profile, shape::Shape};

/// How many links a set has.
const LINKS: RangeInclusive<usize> = 2..=8;

/// Rates in bits a second, and latencies one way in microseconds, from and to. Their logarithms are evenly distributed, so
/// slow and fast links, near and far ones are equally frequent. They are rounded to steps that can be written down.
const RATES: Range = Range {
    least: 1_000_000,
    most: 200_000_000,
    step: 10_000,
};
const LATENCIES: Range = Range {
    least: 2_000,
    most: 300_000,
    step: 100,
};

/// The largest loss of the links that lose any packets, which half of them do.
const MOST_LOSS: f64 = 0.02;

/// The largest jitter is this part of the latency.
const JITTER_OF_LATENCY: u64 = 4;

/// What the lab's emulator carries in sum. Sets that have more are drawn again, whole.
const MOST_SUM_BPS: u64 = 1_000_000_000;

/// From where to where something is drawn.
#[derive(Clone, Copy, Debug)]
struct Range {
    least: u64,
    most: u64,
    /// What `least` and `most` are multiples of, and what is drawn, too.
    step: u64,
}

/// A drawn link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Drawn {
    /// Bits a second.
    pub rate_bps: u64,
    /// One way, in microseconds.
    pub latency_us: u64,
    /// The largest deviation from it, in microseconds.
    pub jitter_us: u64,
    /// From 0 to 1.
    pub loss: f64,
}

/// Draws sets of links. The same seed gives the same sets, and more of them where more are asked for.
#[must_use]
pub(super) fn sets(seed: u64, count: usize) -> Vec<Vec<Drawn>> {
    let mut random = Rng::with_seed(seed);
    (0..count).map(|_| set(&mut random)).collect()
}

fn set(random: &mut Rng) -> Vec<Drawn> {
    loop {
        let count = random.usize(LINKS);
        let links: Vec<_> = (0..count).map(|_| Drawn::new(random)).collect();
        let sum: u64 = links.iter().map(|link| link.rate_bps).sum();
        if sum <= MOST_SUM_BPS {
            return links;
        }
    }
}

/// The profile of a set.
#[must_use]
pub(super) fn profile(name: &str, set: &[Drawn]) -> Profile {
    let link =
        |(number, drawn): (usize, &Drawn)| LinkSpec::new(&format!("wan{number}"), drawn.shape());
    Profile {
        name: name.to_owned(),
        about: describe(set),
        links: set.iter().enumerate().map(link).collect(),
    }
}

/// A set on one line.
fn describe(set: &[Drawn]) -> String {
    let links: Vec<_> = set.iter().map(Drawn::to_string).collect();
    links.join("; ")
}

impl Drawn {
    fn new(random: &mut Rng) -> Self {
        let latency_us = LATENCIES.draw(random);
        Self {
            rate_bps: RATES.draw(random),
            latency_us,
            jitter_us: random.u64(0..=latency_us / JITTER_OF_LATENCY),
            loss: if random.bool() {
                MOST_LOSS * random.f64()
            } else {
                0.0
            },
        }
    }

    fn shape(&self) -> Shape {
        let latency = Duration::from_micros(self.latency_us);
        let jitter = Duration::from_micros(self.jitter_us);
        let shape = Shape::new(self.rate_bps, latency).jitter(jitter);
        if self.loss > 0.0 {
            shape.loss(self.loss)
        } else {
            shape
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds and bits a second, far below 2^52"
)]
impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate_bps as f64 / 1e6;
        let [latency, jitter] = [self.latency_us, self.jitter_us].map(|time| time as f64 / 1e3);
        write!(f, "{rate:.2} Mbit/s {latency:.1}±{jitter:.1} ms")?;
        if self.loss > 0.0 {
            write!(f, " -{:.2}%", self.loss * 100.0)?;
        }
        Ok(())
    }
}

impl Range {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two integers far below 2^52"
    )]
    fn draw(self, random: &mut Rng) -> u64 {
        let (least, most) = ((self.least as f64).ln(), (self.most as f64).ln());
        let drawn = (least + (most - least) * random.f64()).exp() as u64;
        let rounded = drawn / self.step * self.step;
        rounded.clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_set_is_within_its_bounds(seed: u64) {
            for set in sets(seed, 20) {
                prop_assert!(LINKS.contains(&set.len()));
                prop_assert!(set.iter().map(|link| link.rate_bps).sum::<u64>() <= MOST_SUM_BPS);
                for link in &set {
                    prop_assert!((1_000_000..=200_000_000).contains(&link.rate_bps));
                    prop_assert!((2_000..=300_000).contains(&link.latency_us));
                    prop_assert!(link.jitter_us * 4 <= link.latency_us);
                    prop_assert!((0.0..=0.02).contains(&link.loss));
                    prop_assert!(link.shape().check().is_ok());
                }
            }
        }

        #[test]
        fn a_seed_tells_the_sets_and_more_of_them_begin_the_same(seed: u64, count in 1_usize..10) {
            let (few, many) = (sets(seed, count), sets(seed, count + 5));
            prop_assert_eq!(&few[..], &many[..count]);
            prop_assert_ne!(sets(seed.wrapping_add(1), count), few);
        }
    }

    #[test]
    fn draws_are_spread_as_they_should_be() {
        let links: Vec<_> = sets(1, 2_000).into_iter().flatten().collect();
        let part = |chosen: &dyn Fn(&Drawn) -> bool| {
            let chosen = links.iter().filter(|link| chosen(link)).count();
            chosen * 100 / links.len()
        };
        assert!((47..=53).contains(&part(&|link| link.loss > 0.0)));
        // As many below the geometric mean as above. Sets that are too fast were drawn again, which some fast links were in.
        assert!((48..=55).contains(&part(&|link| link.rate_bps < 14_142_136)));
        assert!((47..=53).contains(&part(&|link| link.latency_us < 24_495)));
        let sizes: std::collections::BTreeSet<_> = sets(1, 200).iter().map(Vec::len).collect();
        assert_eq!(sizes, (2..=8).collect());
    }

    #[test]
    fn a_set_is_a_profile_that_says_what_it_has() {
        let set = [
            Drawn {
                rate_bps: 34_210_000,
                latency_us: 12_300,
                jitter_us: 1_520,
                loss: 0.0,
            },
            Drawn {
                rate_bps: 1_000_000,
                latency_us: 300_000,
                jitter_us: 0,
                loss: 0.0123,
            },
        ];
        let profile = profile("random-1", &set);
        assert_eq!(
            profile.about,
            "34.21 Mbit/s 12.3±1.5 ms; 1.00 Mbit/s 300.0±0.0 ms -1.23%"
        );
        let names: Vec<_> = profile.links.iter().map(|link| &link.name[..]).collect();
        assert_eq!(names, ["wan0", "wan1"]);
        let shape = Shape::new(1_000_000, Duration::from_millis(300)).loss(0.0123);
        assert_eq!(profile.links[1].up, shape);
        assert_eq!(profile.links[0].down.jitter, Duration::from_micros(1_520));
    }
}
