//! How well an emulator keeps its times, for callers that have to know whether a run was honest.

use std::{fmt, time::Duration};

/// Parts of an octave that are told apart, as a power of two: figures are right within an eighth.
const FINENESS: u32 = 3;

/// Enough for 2^40 ns, which is 18 minutes.
const BUCKETS: usize = 38 << FINENESS;

/// What an emulator has done since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// How many frames were sent how late, in buckets of [`bucket`].
    lateness: Box<[u64; BUCKETS]>,
    /// Frames that came and that the emulator did not get to see: it was away for too long.
    pub missed: u64,
    /// Frames that could not be sent because their device was down or gone.
    pub unsent: u64,
    /// Processor time that its thread has used, and the kernel on its account.
    pub processor: Duration,
}

impl Conduct {
    pub(super) fn new() -> Self {
        Self {
            lateness: Box::new([0; BUCKETS]),
            missed: 0,
            unsent: 0,
            processor: Duration::ZERO,
        }
    }

    /// Notes that a frame was sent so late.
    pub(super) fn sent(&mut self, late: Duration) {
        self.lateness[bucket(late)] += 1;
    }

    /// Frames that were sent.
    #[must_use]
    pub fn sent_frames(&self) -> u64 {
        self.lateness.iter().sum()
    }

    /// The lateness that a share of the frames sent, from 0 to 1, did not exceed; rounded up by an
    /// eighth at most. None if no frame was sent.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count far below 2^52"
    )]
    pub fn lateness(&self, share: f64) -> Option<Duration> {
        let frames = self.sent_frames();
        let wanted = (share.clamp(0.0, 1.0) * frames as f64).ceil() as u64;
        let mut counted = 0;
        for (bucket, count) in self.lateness.iter().enumerate() {
            counted += count;
            if *count > 0 && counted >= wanted {
                return Some(end(bucket));
            }
        }
        None
    }

    /// Whether the links were what they claim to be: it saw every frame, and 99% of them left no
    /// later than `tolerance`.
    #[must_use]
    pub fn is_honest(&self, tolerance: Duration) -> bool {
        self.missed == 0 && self.lateness(0.99).is_none_or(|late| late <= tolerance)
    }

    /// What it has done since an earlier report.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut lateness = self.lateness.clone();
        for (count, before) in lateness.iter_mut().zip(earlier.lateness.iter()) {
            *count -= before;
        }
        Self {
            lateness,
            missed: self.missed - earlier.missed,
            unsent: self.unsent - earlier.unsent,
            processor: self.processor.saturating_sub(earlier.processor),
        }
    }
}

impl fmt::Display for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = |share| self.lateness(share).unwrap_or_default();
        write!(
            f,
            "{} frames, late by {:.0?} (median), {:.0?} (99%), {:.0?} (worst), {} missed, {} unsent",
            self.sent_frames(),
            late(0.5),
            late(0.99),
            late(1.0),
            self.missed,
            self.unsent
        )
    }
}

/// Buckets are as wide as an eighth of the power of two below them, and 1 ns at first.
fn bucket(time: Duration) -> usize {
    let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let Some(shift) = time
        .checked_ilog2()
        .and_then(|log| log.checked_sub(FINENESS))
    else {
        return usize::try_from(time).unwrap_or(0);
    };
    let number = (u64::from(shift) << FINENESS) + (time >> shift);
    usize::try_from(number).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest time that falls into a bucket.
fn end(bucket: usize) -> Duration {
    let part = 1 << FINENESS;
    if bucket < part {
        return Duration::from_nanos(bucket as u64);
    }
    let shift = bucket / part - 1;
    let first = (part + bucket % part) as u64;
    Duration::from_nanos(((first + 1) << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_ends_within_an_eighth_of_what_is_in_it(time in 0_u64..1 << 40) {
            let time = Duration::from_nanos(time);
            let end = end(bucket(time));
            prop_assert!(end >= time && end <= time + time / 8, "{end:?}");
        }

        #[test]
        fn buckets_are_in_order(time in 0_u64..1 << 40, more in 0_u64..1 << 40) {
            let bucket = |time| bucket(Duration::from_nanos(time));
            prop_assert!(bucket(time) <= bucket(time + more));
        }
    }

    #[test]
    fn shares_and_differences() {
        let ms = Duration::from_millis;
        let mut conduct = Conduct::new();
        assert_eq!(conduct.lateness(1.0), None);
        for _ in 0..98 {
            conduct.sent(Duration::from_nanos(7));
        }
        let before = conduct.clone();
        conduct.sent(ms(1));
        conduct.sent(ms(50));
        conduct.missed = 3;
        assert_eq!(conduct.lateness(0.98), Some(Duration::from_nanos(7)));
        let near = |late: Option<Duration>, ms| late >= Some(ms) && late <= Some(ms + ms / 8);
        assert!(near(conduct.lateness(0.99), ms(1)));
        assert!(near(conduct.lateness(1.0), ms(50)));
        let later = conduct.since(&before);
        assert_eq!((later.sent_frames(), later.missed), (2, 3));
        assert!(near(later.lateness(0.0), ms(1)));
        assert!(before.is_honest(ms(1)) && !conduct.is_honest(ms(60)));
        conduct.missed = 0;
        assert!(conduct.is_honest(ms(60)));
        // One frame of 98 is more than 1%.
        conduct.sent(ms(50));
        assert!(!conduct.is_honest(ms(40)));
    }

    #[test]
    fn what_takes_forever_is_late_all_the_same() {
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
