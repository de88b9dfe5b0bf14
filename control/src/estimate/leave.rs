//! At which rate pieces leave where something holds them until then.
//!
//! The link itself is to have a queue, but a short one: long enough that it is seen, and that the link has something to do while this
//! machine, or the way to the link, is late. So pieces leave a little faster than the link carries them while its queue is shorter than that,
//! and a little more slowly while it is longer. How late they are by chance is learnt from what marks met, as against what they
//! were expected to meet.

/// How many times what may be none the queue is to be, and by how much longer, in seconds.
const SHOWS: (f64, f64) = (1.2, 0.002);
/// For so many seconds it is to be shorter, and for as many longer by so many seconds. What never changes would be taken for no queue, and for
/// the latency of the link.
const SWING: (f64, f64) = (0.5, 0.002);
/// By how many mean errors it is to be longer, and for how many seconds at most.
const SURPRISES: (f64, f64) = (3.0, 0.03);
/// The largest error that counts, in seconds.
const LARGEST: f64 = 0.06;
/// How much a larger and a smaller error than those before counts for.
const WEIGHTS: (f64, f64) = (0.1, 0.03);
/// In which time a queue is to become what it should be, in seconds.
const MENDED: f64 = 0.25;
/// At how much of the link's rate pieces leave for that, at least and at the most.
const BOUNDS: (f64, f64) = (0.9, 1.25);

/// How pieces leave for a link.
#[derive(Debug, Default)]
pub(super) struct Leave {
    /// By how much a queue was longer or shorter than expected, on the average, in seconds.
    error: f64,
}

impl Leave {
    /// The queue on the link was longer than expected by so many seconds, or shorter.
    pub(super) fn note(&mut self, error: f64) {
        let error = error.abs().min(LARGEST);
        let weight = if error > self.error {
            WEIGHTS.0
        } else {
            WEIGHTS.1
        };
        self.error += (error - self.error) * weight;
    }

    /// At how much of the link's rate pieces are to leave at the time `at` if the next will find a queue of `ahead` seconds there; what is
    /// shorter than `noise` may be none.
    pub(super) fn part(&self, ahead: f64, noise: f64, at: f64) -> f64 {
        let difference = self.target(noise, at) - ahead;
        (1.0 + difference / MENDED).clamp(BOUNDS.0, BOUNDS.1)
    }

    /// How long the queue on the link is to be, in seconds.
    fn target(&self, noise: f64, at: f64) -> f64 {
        let longer = (at / SWING.0).rem_euclid(2.0) >= 1.0;
        SHOWS.0 * noise
            + SHOWS.1
            + (SURPRISES.0 * self.error).min(SURPRISES.1)
            + if longer { SWING.1 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What chance makes a queue, in seconds.
    const NOISE: f64 = 0.002;

    #[test]
    fn a_queue_becomes_as_long_as_it_should_be() {
        let leave = Leave::default();
        let part = |ahead, at| leave.part(ahead, NOISE, at);
        assert!((part(0.0044, 10.0) - 1.0).abs() < 1e-9);
        assert!((part(0.0044, 10.5) - 1.008).abs() < 1e-9);
        assert!((part(0.0094, 11.0) - 0.98).abs() < 1e-9);
        assert!((part(1.0, 0.0) - BOUNDS.0).abs() < 1e-9);
        assert!((leave.part(0.0, 0.1, 0.0) - BOUNDS.1).abs() < 1e-9);
    }

    #[test]
    fn who_is_late_has_a_longer_one() {
        let mut leave = Leave::default();
        let calm = leave.target(NOISE, 0.0);
        for _ in 0..100 {
            leave.note(0.004);
            leave.note(-0.004);
        }
        assert!((leave.target(NOISE, 0.0) - calm - 0.012).abs() < 1e-4);
        leave.note(f64::MAX);
        assert!(leave.target(NOISE, 0.0) - calm < 0.03);
        for _ in 0..100 {
            leave.note(1.0);
        }
        assert!((leave.target(NOISE, 0.0) - calm - SURPRISES.1).abs() < 1e-9);
    }
}
