//! After which time what is missing before a packet that waits is asked for although an IVC has not passed it.
//!
//! An IVC that is further away than the others brings its packets later than they, by what the sender let them be later. That is no reason to ask for
//! them: how long it takes shows when they come.

use std::time::Duration;

use super::{Time, asks::Patience};

/// The least.
pub(super) const LEAST: Duration = Duration::from_millis(25);
/// After which time without a packet that late it becomes shorter again.
const CALM: Duration = Duration::from_secs(2);

/// How long is hesitated.
#[derive(Debug)]
pub(super) struct Hesitation {
    length: Duration,
    /// When that was last found to be needed, or made shorter.
    since: Time,
}

impl Default for Hesitation {
    fn default() -> Self {
        Self {
            length: LEAST,
            since: Time::ZERO,
        }
    }
}

impl Hesitation {
    /// How long it is.
    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    /// A packet has come that was not sent again, for which another has waited so long. Whatever is asked for must have the time to come.
    pub(super) fn waited(&mut self, late: Duration, now: Time, patience: &Patience) {
        let most = patience
            .bound
            .saturating_sub(patience.again * 3 / 2)
            .min(patience.bound / 2);
        let needed = if late < most {
            (late + late / 4).min(most)
        } else {
            // What comes that late is not worth to wait for.
            Duration::ZERO
        };
        if needed >= self.length * 3 / 4 {
            self.since = now;
        } else if now.saturating_sub(self.since) > CALM {
            self.length = (self.length * 3 / 4).max(LEAST);
            self.since = now;
        }
        self.length = self.length.max(needed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reorder::RoundTrip;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn it_is_as_long_as_packets_are_late() {
        let patience = Patience::new(RoundTrip {
            usual: ms(200),
            least: ms(20),
        });
        let mut hesitation = Hesitation::default();
        let mut waited = |late, at| {
            hesitation.waited(ms(late), ms(at), &patience);
            hesitation.length().as_millis()
        };
        assert_eq!(waited(10, 1_000), 25);
        assert_eq!(waited(40, 1_001), 50);
        // What is asked for later would come too late.
        assert_eq!(waited(70, 1_002), 75);
        assert_eq!(waited(90, 1_003), 75);
        let last = (2..20).map(|second| waited(1, 1_000 * second)).last();
        assert_eq!(last, Some(25));
    }
}
