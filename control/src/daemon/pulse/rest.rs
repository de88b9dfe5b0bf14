//! How long the thread of keepalives rests after each round.

use std::time::Duration;

/// The shortest and the longest rest: a thousand IVCs are not to make a thousand rounds, and keepalives not to come too late.
const RESTS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// For each part of a processor's time that it takes it leaves so many to others: where rounds are long, be it because there are very many IVCs or because the
/// machine is slow, keepalives are sent less often rather than data.
const OTHERS: u32 = 19;
/// The part that a round has in what they count as taking.
const SHARE: u32 = 8;

/// What rounds take of a processor's time.
#[derive(Debug, Default)]
pub(super) struct Effort(Duration);

impl Effort {
    /// A round has taken so much.
    pub(super) fn note(&mut self, took: Duration) {
        self.0 = (self.0 * (SHARE - 1) + took) / SHARE;
    }

    /// How long to rest after it.
    pub(super) fn rest(&self) -> Duration {
        (self.0 * OTHERS).clamp(RESTS.0, RESTS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_take_a_twentieth_of_a_processor() {
        let rest = |took: u64, rounds: usize| {
            let mut effort = Effort::default();
            (0..rounds).for_each(|_| effort.note(Duration::from_micros(took)));
            effort.rest()
        };
        let near = |rest: Duration, ms: u64| {
            rest.abs_diff(Duration::from_millis(ms)) < Duration::from_micros(100)
        };
        assert!(near(rest(1_000, 100), 19), "{:?}", rest(1_000, 100));
        assert_eq!(rest(80, 100), RESTS.0);
        assert_eq!(rest(100_000, 100), RESTS.1);
        // A single long one is no reason.
        assert!(rest(1_000, 1) < Duration::from_millis(3));
    }
}
