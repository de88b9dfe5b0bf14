//! What the scheduler has booked on an IVC, and when it had nothing to do.

use super::{Present, ivc::precise};

/// What the scheduler has done, by its clock and counters.
#[derive(Debug)]
pub(super) struct Account {
    /// The bytes sent, and the virtual clock in seconds, when last seen.
    last: Option<(f64, f64)>,
    /// At which rate it books, in bytes per second.
    pub(super) pace: f64,
    /// What it adds to the clock, in nanoseconds.
    shift: i64,
    /// For how long it has had nothing to do, as far as the clock tells, in seconds.
    pub(super) idle: f64,
}

impl Account {
    pub(super) const fn new(pace: f64) -> Self {
        Self {
            last: None,
            pace,
            shift: 0,
            idle: 0.0,
        }
    }

    /// Keeps account of how long there was nothing to do; returns the time, the bytes, and the virtual queue, which is negative
    /// while that lasts.
    pub(super) fn note(&mut self, present: &Present) -> (f64, f64, f64) {
        let (at, bytes) = (present.at.as_secs_f64(), precise(present.bytes));
        let clock = at + seconds(present.ahead);
        if let Some((before, then)) = self.last.replace((bytes, clock)) {
            // The clock advances by what is booked, and jumps when that begins after a pause.
            self.idle += (clock - then - (bytes - before) / self.pace).max(0.0);
        }
        (at, bytes, self.queue(present))
    }

    /// The scheduler is told to add another shift from now on. A clock that nothing has been booked on tells no more how long it has been behind.
    pub(super) fn programmed(&mut self, shift: i64, present: &Present) {
        self.note(present);
        self.idle -= self.queue(present).min(0.0);
        self.shift = shift;
        self.idle += self.queue(present).min(0.0);
    }

    /// The virtual queue in seconds.
    pub(super) fn queue(&self, present: &Present) -> f64 {
        seconds(present.ahead.saturating_add(self.shift))
    }

    /// What is to be added to the clock, in nanoseconds, to have it end `free` seconds from now.
    ///
    /// A clock that has nothing to do stands still until something is booked, and then jumps to where time is, by the shift of then. If the shift
    /// made up for the standstill and something was booked between the reading of the clock and the writing of the shift, both would, and as long
    /// as the clock had stood still there would seem to be a queue. So a clock that has nothing to do, and is to have nothing, is left alone.
    pub(super) fn corrected(&self, free: f64, present: &Present) -> i64 {
        if free <= 0.0 && self.queue(present) <= 0.0 {
            self.shift
        } else {
            nanoseconds(free).saturating_sub(present.ahead)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[expect(clippy::cast_possible_truncation, reason = "queues are short")]
pub(super) const fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A link that carries nothing has nothing to do, however often the scheduler is programmed meanwhile.
    #[test]
    fn what_nothing_is_booked_on_is_idle() {
        let mut account = Account::new(1e6);
        let clock = Duration::from_secs(5);
        let present = |ms| {
            let at = Duration::from_secs(5) + Duration::from_millis(ms);
            Present {
                at,
                bytes: 0,
                ahead: i64::try_from(clock.as_nanos()).unwrap()
                    - i64::try_from(at.as_nanos()).unwrap(),
                leaves: at,
            }
        };
        for step in 0..40 {
            let present = present(25 * step);
            account.programmed(-present.ahead, &present);
        }
        // And then a packet of 10 ms is booked.
        let now = Duration::from_secs(6);
        let booked = Present {
            at: now,
            bytes: 10_000,
            ahead: nanoseconds(0.010) - account.shift,
            leaves: now,
        };
        let (.., queue) = account.note(&booked);
        assert!((queue - 0.010).abs() < 1e-6, "{queue}");
        assert!((account.idle - 1.0).abs() < 1e-6, "{}", account.idle);
    }
}
