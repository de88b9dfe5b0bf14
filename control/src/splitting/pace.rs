//! How many packets there are each second.

use std::time::Duration;

use super::REASSEMBLY_SECONDS;

/// By how much later than it could a piece may arrive, in seconds: queues and links of unequal latency.
const LATE_SECONDS: u16 = 1;
/// The most packets a second that can be split so that no identification comes again while pieces of that number may wait.
pub const MOST: f64 = 65_536.0 / (REASSEMBLY_SECONDS + LATE_SECONDS) as f64;
/// For how long packets are counted before that tells how many there are each second.
const WINDOW: Duration = Duration::from_secs(1);

/// A counter, and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    begun: Option<(Duration, u64)>,
    per_second: f64,
}

impl Pace {
    /// Takes in what has been counted by now. A counter that begins anew, as after a restart, is no pace.
    #[expect(clippy::cast_precision_loss, reason = "a count of packets")]
    pub fn note(&mut self, count: u64, now: Duration) {
        let Some((at, before)) = self.begun.filter(|(_, before)| *before <= count) else {
            *self = Self {
                begun: Some((now, count)),
                per_second: 0.0,
            };
            return;
        };
        let time = now.saturating_sub(at);
        if time >= WINDOW {
            self.per_second = (count - before) as f64 / time.as_secs_f64();
            self.begun = Some((now, count));
        }
    }

    /// By how much it grows each second, as of the last second that is over.
    #[must_use]
    pub const fn per_second(&self) -> f64 {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_are_over_count() {
        let mut pace = Pace::default();
        for (count, ms, wanted) in [
            (700, 500, 0.0),
            (1_700, 1_400, 0.0),
            (2_700, 2_500, 1_000.0),
            (2_700, 3_000, 1_000.0),
            (2_700, 4_500, 0.0),
            // It begins anew.
            (3, 5_600, 0.0),
            (103, 6_600, 100.0),
        ] {
            pace.note(count, Duration::from_millis(ms));
            let found = pace.per_second();
            assert!((found - wanted).abs() < 1e-9, "{found} at {ms} ms");
        }
    }

    #[test]
    fn so_many_leave_each_number_time() {
        let seconds = 65_536.0 / MOST;
        assert!(seconds >= f64::from(REASSEMBLY_SECONDS) + 1.0, "{seconds}");
    }
}
