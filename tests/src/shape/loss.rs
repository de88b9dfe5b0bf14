//! How links lose packets.

use anyhow::{Result, ensure};

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each with this probability, from 0 to 1, whatever became of the one before.
    Independent(f64),
    /// Several in a row, after the model of Gilbert (E. N. Gilbert, "Capacity of a Burst-Noise
    /// Channel", 1960): a link is good and loses nothing, or bad and loses everything, and changes
    /// between the two by chance, with each packet.
    Bursts {
        /// What part of all packets is lost, from 0 to 1.
        mean: f64,
        /// How many packets are lost in a row, on average; 1 or more.
        length: f64,
    },
}

impl Loss {
    /// No loss.
    pub const NONE: Self = Self::Independent(0.0);

    /// What part of all packets is lost, from 0 to 1.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::Independent(mean) | Self::Bursts { mean, .. } => mean,
        }
    }

    /// Checks that there can be such a loss.
    pub(crate) fn check(self) -> Result<()> {
        let mean = self.mean();
        ensure!(
            (0.0..=1.0).contains(&mean),
            "a loss of {mean} is no probability"
        );
        if let Self::Bursts { length, .. } = self {
            ensure!(length >= 1.0, "a burst of {length} packets is none");
            // At least one packet between two bursts arrives.
            ensure!(
                self.odds().bad <= 1.0,
                "bursts of {length} packets cannot add up to a loss of {mean}"
            );
        }
        Ok(())
    }

    /// The chances of changes. A loss that is not in bursts is one that has no memory: whether the
    /// link turns or stays bad is equally likely.
    pub(super) fn odds(self) -> Odds {
        match self {
            Self::Independent(mean) => Odds {
                bad: mean,
                good: 1.0 - mean,
            },
            // Bad times end after 1/good packets on average, and the link is bad for
            // bad / (bad + good) of all packets.
            Self::Bursts { mean, length } => Odds {
                bad: mean / (length * (1.0 - mean)),
                good: 1.0 / length,
            },
        }
    }
}

/// The chances, with each packet, that a link changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Odds {
    /// That a good one turns bad.
    pub(super) bad: f64,
    /// That a bad one turns good.
    pub(super) good: f64,
}

/// A link that loses packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Losing {
    odds: Odds,
    bad: bool,
}

impl Losing {
    pub(super) fn new(loss: Loss) -> Self {
        Self {
            odds: loss.odds(),
            bad: false,
        }
    }

    /// Whether the next packet is lost.
    pub(super) fn next(&mut self, random: &mut fastrand::Rng) -> bool {
        if self.odds.bad > 0.0 {
            let stays_or_turns_bad = if self.bad {
                1.0 - self.odds.good
            } else {
                self.odds.bad
            };
            self.bad = random.f64() < stays_or_turns_bad;
        } else {
            self.bad = false;
        }
        self.bad
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKETS: usize = 200_000;

    /// How many of `PACKETS` packets are lost, and in how many bursts.
    fn lost(loss: Loss, seed: u64) -> (usize, usize) {
        let mut losing = Losing::new(loss);
        let mut random = fastrand::Rng::with_seed(seed);
        let fates: Vec<bool> = (0..PACKETS).map(|_| losing.next(&mut random)).collect();
        let bursts = fates.windows(2).filter(|pair| pair == &[false, true]);
        (
            fates.iter().filter(|&&lost| lost).count(),
            bursts.count() + usize::from(fates[0]),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bursts_are_as_frequent_and_as_long_as_asked(
            mean in 0.02_f64..0.5, length in 1.0_f64..10.0, seed: u64,
        ) {
            let loss = Loss::Bursts { mean, length };
            loss.check().unwrap();
            let (lost, bursts) = lost(loss, seed);
            // Cycles of a good and a bad time are independent, and the lengths of both are
            // geometrically distributed: with C cycles the length's relative deviation is at most
            // 1/sqrt(C), the mean's sqrt(2/C). Six of them: about one false alarm in 10^9 cases.
            let cycles = PACKETS as f64 * mean / length;
            let tolerance = 6.0 / cycles.sqrt();
            let measured = lost as f64 / bursts.max(1) as f64;
            prop_assert!((measured / length - 1.0).abs() < tolerance, "{measured} of {length}");
            let measured = lost as f64 / PACKETS as f64;
            let tolerance = tolerance * 2.0_f64.sqrt();
            prop_assert!((measured / mean - 1.0).abs() < tolerance, "{measured} of {mean}");
        }

        #[test]
        fn independent_losses_are_as_frequent_as_asked(loss in 0.0_f64..=1.0, seed: u64) {
            let (lost, _) = lost(Loss::Independent(loss), seed);
            // Six standard deviations: about one false alarm in 10^9 cases.
            let deviation = (PACKETS as f64 * loss * (1.0 - loss)).sqrt();
            let expected = PACKETS as f64 * loss;
            prop_assert!((lost as f64 - expected).abs() <= 6.0 * deviation + 1.0);
        }

        #[test]
        fn independent_losses_come_in_bursts_by_chance_only(loss in 0.01_f64..=0.9, seed: u64) {
            let (lost, bursts) = lost(Loss::Independent(loss), seed);
            let (length, expected) = (lost as f64 / bursts as f64, 1.0 / (1.0 - loss));
            let tolerance = 6.0 / (bursts as f64).sqrt();
            prop_assert!((length / expected - 1.0).abs() < tolerance, "{length} of {expected}");
        }
    }

    #[test]
    fn impossible_losses_are_refused() {
        let problem = |loss: Loss| loss.check().unwrap_err().to_string();
        assert_eq!(
            problem(Loss::Independent(1.5)),
            "a loss of 1.5 is no probability"
        );
        assert_eq!(
            problem(Loss::Bursts {
                mean: 0.1,
                length: 0.5
            }),
            "a burst of 0.5 packets is none"
        );
        assert_eq!(
            problem(Loss::Bursts {
                mean: 0.9,
                length: 2.0
            }),
            "bursts of 2 packets cannot add up to a loss of 0.9"
        );
        assert!(
            Loss::Bursts {
                mean: 1.0,
                length: 3.0
            }
            .check()
            .is_err()
        );
        assert!(Loss::Independent(f64::NAN).check().is_err());
        assert!(
            Loss::Bursts {
                mean: 0.0,
                length: f64::NAN
            }
            .check()
            .is_err()
        );
    }
}
