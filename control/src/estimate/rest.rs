//! Rests: for a moment nothing is sent on a link whose rate seems to have fallen.
//!
//! A way that has become longer, or begins to jitter, looks like a queue; then what is sent looks like what the link carries, and the less
//! is sent, the less it seems to carry. Only what becomes of the delay when nothing is sent tells the difference. A queue is gone by
//! then, so while it lasts the link has something to do.

/// How much longer a rest is than the queue, in seconds: enough for some marks.
const LONGER: f64 = 0.06;
/// The time between two rests, in seconds: twice as long after each that told nothing new.
const PAUSES: (f64, f64) = (1.0, 16.0);

/// The rests of a link.
#[derive(Debug)]
pub(super) struct Rests {
    until: f64,
    pause: f64,
}

impl Default for Rests {
    fn default() -> Self {
        Self {
            until: 0.0,
            pause: PAUSES.0,
        }
    }
}

impl Rests {
    /// There is a reason for a rest at `at`, in seconds, while there is a queue of so many.
    pub(super) fn wanted(&mut self, at: f64, queue: f64) {
        if at - self.until >= self.pause {
            self.until = at + queue + LONGER;
            self.pause = (2.0 * self.pause).min(PAUSES.1);
        }
    }

    /// There is none.
    pub(super) fn needless(&mut self) {
        self.pause = PAUSES.0;
    }

    /// How long it is until something may be sent again, in seconds.
    pub(super) fn left(&self, at: f64) -> f64 {
        (self.until - at).max(0.0)
    }
}
