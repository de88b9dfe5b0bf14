//! Bytes over time, as a receiver sees them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Width of a sample.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What arrived in one tick of 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Start of the tick, counted from the start of the measurement.
    pub at: Duration,
    /// Bytes received in it.
    pub bytes: u64,
}

/// When how much arrived.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    longest_gap: Duration,
    longest_gap_at: Option<Instant>,
    bytes: u64,
    /// Bytes of each tick since `start`.
    ticks: Vec<u64>,
}

impl Timeline {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            first: None,
            last: None,
            longest_gap: Duration::ZERO,
            longest_gap_at: None,
            bytes: 0,
            ticks: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, now: Instant, bytes: usize) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last);
            if gap > self.longest_gap {
                self.longest_gap = gap;
                self.longest_gap_at = Some(last);
            }
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.bytes += bytes as u64;
        let tick =
            (now.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos()) as usize;
        if tick >= self.ticks.len() {
            self.ticks.resize(tick + 1, 0);
        }
        self.ticks[tick] += bytes as u64;
    }

    /// Start of the measurement.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Bytes received in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From the first bytes received to the last.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        }
    }

    /// The longest time without new bytes between the first and the last, and when it began.
    #[must_use]
    pub fn longest_gap(&self) -> (Duration, Option<Instant>) {
        (self.longest_gap, self.longest_gap_at)
    }

    /// What arrived in each 100 ms.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        (0_u32..).zip(&self.ticks).map(|(tick, &bytes)| Sample {
            at: TICK * tick,
            bytes,
        })
    }

    /// Bits a second from the first bytes received to the last.
    #[must_use]
    pub fn goodput_bps(&self) -> f64 {
        self.goodput_bps_after(Duration::ZERO)
    }

    /// Bits a second from `skip` after the first bytes received to the last, in whole ticks; what
    /// comes before, slow start for example, does not count.
    #[must_use]
    pub fn goodput_bps_after(&self, skip: Duration) -> f64 {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return 0.0;
        };
        if skip.is_zero() {
            return rate(self.bytes, last.saturating_duration_since(first));
        }
        let begin = first.saturating_duration_since(self.start) + skip;
        let tick = begin.as_nanos().div_ceil(TICK.as_nanos()) as usize;
        let bytes = self.ticks.iter().skip(tick).sum();
        let ticks = u32::try_from(tick).unwrap_or(u32::MAX);
        rate(
            bytes,
            last.saturating_duration_since(self.start + TICK * ticks),
        )
    }

    /// Bits a second between two times, in whole ticks.
    #[must_use]
    pub fn goodput_bps_between(&self, from: Instant, to: Instant) -> f64 {
        let tick = |time: Instant| {
            (time.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos()) as usize
        };
        let (from, to) = (tick(from), tick(to));
        let bytes = self.ticks.iter().take(to).skip(from).sum();
        let ticks = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        rate(bytes, TICK * ticks)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement; 2^52 bytes are exact"
)]
fn rate(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        bytes as f64 * 8.0 / time.as_secs_f64()
    }
}

/// A timeline that several receivers write and a display reads.
pub(super) struct Meter(Mutex<Timeline>);

impl Meter {
    pub(super) fn new(start: Instant) -> Self {
        Self(Mutex::new(Timeline::new(start)))
    }

    pub(super) fn record(&self, bytes: usize) {
        let mut timeline = self.lock();
        // Read under the lock, so that times never run backwards.
        timeline.record(Instant::now(), bytes);
    }

    pub(super) fn timeline(&self) -> Timeline {
        self.lock().clone()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Timeline> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn rates_and_gaps_follow_from_what_arrived() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        // A slow second, a silence of 600 ms, then a fast second.
        for n in 1..=10 {
            timeline.record(at(start, n * 100), 1_000);
        }
        for n in 16..=26 {
            timeline.record(at(start, n * 100), 10_000);
        }
        assert_eq!(timeline.bytes(), 120_000);
        assert_eq!(timeline.duration(), Duration::from_millis(2_500));
        let (gap, began) = timeline.longest_gap();
        assert_eq!(
            (gap, began),
            (Duration::from_millis(600), Some(at(start, 1_000)))
        );
        assert!((timeline.goodput_bps() - 384_000.0).abs() < 1.0);
        // From 1.6 s on: 11 records in the second that ends with the last of them.
        let late = timeline.goodput_bps_after(Duration::from_millis(1_500));
        assert!((late - 880_000.0).abs() < 1.0, "{late}");
        let between = timeline.goodput_bps_between(at(start, 1_600), at(start, 2_600));
        assert!((between - 800_000.0).abs() < 1.0, "{between}");
        assert_eq!(timeline.samples().nth(17).unwrap().bytes, 10_000);
    }

    #[test]
    fn nothing_received_is_no_rate() {
        let timeline = Timeline::new(Instant::now());
        assert_eq!(timeline.goodput_bps().to_bits(), 0.0_f64.to_bits());
        assert_eq!(timeline.longest_gap().0, Duration::ZERO);
    }
}
