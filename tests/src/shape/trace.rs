//! Links whose rate follows a recording.
//!
//! A recording tells when a link could carry a packet: each line of a file in Mahimahi's format is
//! a time in milliseconds, at which 1500 bytes may leave; it begins anew where it ends.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::ETHERNET_HEADER;

/// What an opportunity carries, in bytes of IP packets.
pub const OPPORTUNITY: usize = 1500;

/// The largest file that is taken for a recording, in bytes.
const LARGEST: u64 = 64 << 20;

/// A recording.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// When there are opportunities, in milliseconds, in order.
    opportunities: Vec<u32>,
}

impl Trace {
    /// Reads a file. It is read once and then kept for the life of the process, so that shapes can
    /// be copied about.
    ///
    /// Errors name the file and the line.
    pub fn read(path: &Path) -> Result<&'static Self> {
        static READ: Mutex<Option<HashMap<PathBuf, &'static Trace>>> = Mutex::new(None);
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read.get_or_insert_default();
        if let Some(trace) = read.get(path) {
            return Ok(trace);
        }
        let trace = Self::load(path).with_context(|| format!("cannot read {}", path.display()))?;
        let trace: &'static Self = Box::leak(Box::new(trace));
        read.insert(path.to_owned(), trace);
        Ok(trace)
    }

    fn load(path: &Path) -> Result<Self> {
        let length = fs::metadata(path)?.len();
        ensure!(length <= LARGEST, "{length} bytes are more than {LARGEST}");
        Self::parse(&fs::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut opportunities = Vec::new();
        let mut last = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let time = line.trim().parse();
            let time: u32 = time.with_context(|| format!("line {number}: no time: {line:.20?}"))?;
            ensure!(time >= last, "line {number}: {time} comes after {last}");
            last = time;
            opportunities.push(time);
        }
        ensure!(last > 0, "it takes no time");
        Ok(Self { opportunities })
    }

    /// How long it is.
    #[must_use]
    pub fn period(&self) -> Duration {
        let last = self.opportunities.last().copied().unwrap_or(1);
        Duration::from_millis(last.into())
    }

    /// What it carries on average, in bits a second of Ethernet frames that are full.
    #[must_use]
    pub fn mean_bps(&self) -> u64 {
        let bytes =
            self.opportunities.len() as u128 * (OPPORTUNITY as u128 + u128::from(ETHERNET_HEADER));
        let rate = bytes * 8 * 1_000_000_000 / self.period().as_nanos();
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// A link that follows a recording, from the first packet on.
#[derive(Clone, Debug)]
pub(super) struct Playback {
    trace: &'static Trace,
    start: Option<Instant>,
    /// The next opportunity, counted through all repetitions.
    next: u64,
    /// What that one has left, in bytes.
    left: usize,
}

impl Playback {
    pub(super) fn new(trace: &'static Trace) -> Self {
        Self {
            trace,
            start: None,
            next: 0,
            left: OPPORTUNITY,
        }
    }

    /// When the last byte of a frame leaves that may leave at `now` or later, after all before it.
    pub(super) fn send(&mut self, now: Instant, frame_length: usize) -> Instant {
        let start = *self.start.get_or_insert(now);
        // What passed while there was nothing to send is gone.
        if self.time(self.next) < now.saturating_duration_since(start) {
            self.next = self.first_from(now.saturating_duration_since(start));
            self.left = OPPORTUNITY;
        }
        // An opportunity may carry several small packets, and a large one takes several.
        let mut length = frame_length.saturating_sub(ETHERNET_HEADER as usize).max(1);
        loop {
            if self.left == 0 {
                self.next += 1;
                self.left = OPPORTUNITY;
            }
            let part = length.min(self.left);
            self.left -= part;
            length -= part;
            if length == 0 {
                return start + self.time(self.next);
            }
        }
    }

    /// How many opportunities there are between two times, the first of them included; nobody knows before the first packet.
    pub(super) fn opportunities(&self, from: Instant, to: Instant) -> Option<u64> {
        let start = self.start?;
        let before = |time: Instant| self.first_from(time.saturating_duration_since(start));
        Some(before(to).saturating_sub(before(from)))
    }

    /// When an opportunity is, from the start on.
    fn time(&self, opportunity: u64) -> Duration {
        let all = self.trace.opportunities.len() as u64;
        let within = usize::try_from(opportunity % all).unwrap_or(0);
        let whole = self.trace.period().as_nanos() * u128::from(opportunity / all);
        let whole = Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX));
        whole + Duration::from_millis(self.trace.opportunities[within].into())
    }

    /// The first opportunity that is no earlier than a time from the start on.
    fn first_from(&self, time: Duration) -> u64 {
        let period = self.trace.period().as_nanos();
        let (rounds, within) = (time.as_nanos() / period, time.as_nanos() % period);
        let earlier = |&ms: &u32| u128::from(ms) * 1_000_000 < within;
        let index = self.trace.opportunities.partition_point(earlier);
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
        rounds * self.trace.opportunities.len() as u64 + index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> &'static Trace {
        Box::leak(Box::new(Trace::parse(text).unwrap()))
    }

    /// When frames leave, in milliseconds, that come at these times.
    fn departures(text: &str, frames: &[(u64, usize)]) -> Vec<u128> {
        let mut playback = Playback::new(trace(text));
        let start = Instant::now();
        let send = |&(ms, length): &(u64, usize)| {
            let now = start + Duration::from_millis(ms);
            (playback.send(now, length) - start).as_millis()
        };
        frames.iter().map(send).collect()
    }

    #[test]
    fn a_full_frame_takes_an_opportunity_and_the_recording_repeats() {
        let frames = [(0, 1514); 7];
        assert_eq!(departures("2\n2\n5\n", &frames), [2, 2, 5, 7, 7, 10, 12]);
    }

    #[test]
    fn what_passes_unused_is_gone() {
        let frames = [(0, 1514), (6, 1514), (6, 1514), (23, 1514)];
        assert_eq!(departures("2\n4\n8\n10\n", &frames), [2, 8, 10, 24]);
    }

    #[test]
    fn small_frames_share_an_opportunity_and_large_ones_take_several() {
        // 500 bytes of IP each, the third of them after the first opportunity.
        let small = [(0, 514), (0, 514), (3, 514), (3, 514)];
        assert_eq!(departures("2\n4\n6\n", &small), [2, 2, 4, 4]);
        assert_eq!(departures("2\n4\n6\n", &[(0, 3_014), (0, 1_515)]), [4, 8]);
    }

    #[test]
    fn a_time_that_has_come_is_not_missed() {
        assert_eq!(
            departures("1\n2\n", &[(0, 1514), (1, 1514), (2, 1514)]),
            [1, 2, 3]
        );
    }

    #[test]
    fn what_was_there_is_counted_whether_or_not_it_was_used() {
        let mut playback = Playback::new(trace("2\n4\n4\n8\n10\n"));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(playback.opportunities(start, at(10)), None);
        playback.send(start, 1514);
        let between = |from, to| playback.opportunities(at(from), at(to)).unwrap();
        assert_eq!((between(0, 9), between(0, 11)), (4, 5));
        assert_eq!((between(4, 8), between(5, 8), between(8, 4)), (2, 0, 0));
        // The second repetition has its times 10 ms later.
        assert_eq!((between(11, 21), between(0, 1_001)), (5, 500));
    }

    #[test]
    fn rates_are_means() {
        let trace = trace("0\n250\n500\n1000\n");
        assert_eq!(trace.mean_bps(), 4 * 1514 * 8);
        assert_eq!(trace.period(), Duration::from_secs(1));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let problem = |text| format!("{:#}", Trace::parse(text).unwrap_err());
        assert!(problem("1\nx\n").starts_with("line 2: no time: \"x\""));
        assert_eq!(problem("3\n1\n"), "line 2: 1 comes after 3");
        assert_eq!(problem(""), "it takes no time");
        assert_eq!(problem("0\n0\n"), "it takes no time");
        let nowhere = Trace::read(Path::new("/nonexistent/x.up")).unwrap_err();
        assert!(nowhere.to_string().contains("/nonexistent/x.up"));
    }

    #[test]
    fn the_recordings_that_come_along_can_be_played() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
        for (name, least, most) in [
            ("ATT-LTE-driving-2016.down", 3, 6),
            ("ATT-LTE-driving-2016.up", 1, 3),
            ("Verizon-LTE-short.down", 4, 7),
            ("Verizon-LTE-short.up", 5, 8),
        ] {
            let trace = Trace::read(&folder.join(name)).unwrap();
            let megabits = trace.mean_bps() / 1_000_000;
            assert!((least..=most).contains(&megabits), "{name}: {megabits}");
            // A link that is always full carries the mean over each repetition.
            let mut playback = Playback::new(trace);
            let start = Instant::now();
            let all = trace.opportunities.len();
            let last = (0..3 * all).map(|_| playback.send(start, 1514)).last();
            assert_eq!(last, Some(start + trace.period() * 3));
            assert!(std::ptr::eq(
                trace,
                Trace::read(&folder.join(name)).unwrap()
            ));
        }
    }
}
