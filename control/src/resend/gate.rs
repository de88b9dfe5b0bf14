//! Whether keeping packets is worth it.

use std::time::Duration;

/// So much lost by chance halves what TCP gets out of a fast link.
const ON: f64 = 0.001;
/// So little does not matter.
const OFF: f64 = 0.000_3;
/// For so long. Who loads a link once in a while is not to find out each time.
const CALM: Duration = Duration::from_mins(10);
/// A tunnel that carries more, in bytes per second, keeps nothing on suspicion: it costs the processor some 3%, and what is kept lasts for less time than answers
/// take.
const FAST: f64 = 62_500_000.0;

/// Whether a tunnel's packets are kept: while some are lost, and at first, as a stream that loses some in its slow start is slow for long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// When there was last a reason to keep them.
    reason: Option<Duration>,
    /// Since when nothing was lost that is known of.
    since: Option<Duration>,
    open: bool,
}

impl Gate {
    /// Takes in which part is lost by chance on the worst IVC, from 0 to 1, and what all carry, in bytes per second.
    pub fn note(&mut self, random: f64, rate: f64, now: Duration) {
        if random >= ON || self.reason.is_some() && random >= OFF {
            self.reason = Some(now);
        }
        let since = *self.since.get_or_insert(now);
        let recent = |at: Duration| now.saturating_sub(at) < CALM;
        self.reason = self.reason.filter(|reason| recent(*reason));
        self.open = self.reason.is_some() || rate <= FAST && recent(since);
    }

    /// Whether they are.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gate says to losses at a time in seconds.
    fn says(gate: &mut Gate, random: f64, rate: f64, seconds: u64) -> bool {
        gate.note(random, rate, Duration::from_secs(seconds));
        gate.is_open()
    }

    #[test]
    fn opens_at_once_and_closes_late() {
        let mut gate = Gate::default();
        let mut says = |random, seconds| says(&mut gate, random, 2.0 * FAST, seconds);
        assert!(!says(0.0009, 0));
        assert!(says(0.001, 1));
        assert!(says(0.0004, 500), "still some");
        assert!(says(0.0, 1_099));
        assert!(!says(0.0, 1_100));
        assert!(!says(0.0009, 1_101));
    }

    #[test]
    fn where_it_costs_little_it_is_open_until_nothing_was_lost_for_long() {
        let mut gate = Gate::default();
        assert!(says(&mut gate, 0.0, FAST, 7_000));
        assert!(!says(&mut gate, 0.0, 1.1 * FAST, 7_001));
        assert!(says(&mut gate, 0.0, FAST, 7_599));
        assert!(!says(&mut gate, 0.0, FAST, 7_600));
    }
}
