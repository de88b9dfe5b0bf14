//! What is missing and has been asked for.

use std::{ops::Range, time::Duration};

use super::{RoundTrip, Time, gaps::Gaps};

/// How long a packet may wait at least and at most where what is missing is sent again.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(150));
/// How soon it is asked for once more where nobody knows yet whether there will be an answer: what is lost together is lost within less.
const BLIND: Duration = Duration::from_millis(8);
/// How many times are kept apart.
const MOST: usize = 64;

/// How long is waited for what is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// After which time it is asked for once more.
    pub(super) retry: Duration,
    /// After which time it is given up.
    pub(super) bound: Duration,
    /// Before which time after it was asked for it cannot have been sent again.
    pub(super) again: Duration,
}

impl Patience {
    /// What a round trip allows. Answers take that, and links are not always equally busy. Where there is no time to wait for an answer before it is
    /// asked again, that is done without: of what is asked for once, lossy links lose a part, of that or of the answers, that long streams notice.
    pub(super) fn new(trip: RoundTrip) -> Self {
        let bound = trip.usual * 5 / 2 + Duration::from_millis(20);
        let bound = bound.clamp(BOUNDS.0, BOUNDS.1);
        let answer = trip.usual * 5 / 4;
        let latest = bound.saturating_sub(answer).max(BLIND);
        Self {
            retry: latest.min(answer + Duration::from_millis(5)),
            bound,
            again: trip.least,
        }
    }
}

/// What was asked for, and when.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// What was missing before it has been asked for.
    end: u64,
    waiting: Vec<Ask>,
}

#[derive(Clone, Debug)]
struct Ask {
    numbers: Range<u64>,
    at: Time,
    again: bool,
}

impl Ask {
    fn due(&self, patience: &Patience) -> Time {
        if self.again {
            self.at + patience.bound
        } else {
            self.at + patience.retry
        }
    }
}

impl Asks {
    /// What was missing before this has been asked for.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a number has come by its time, or had been asked for.
    pub(super) fn cover(&self, number: u64) -> bool {
        number < self.end
    }

    /// Whether a packet that comes cannot have been sent again: it was not asked for, or just now.
    pub(super) fn is_original(&self, number: u64, now: Time, patience: &Patience) -> bool {
        let has = |ask: &&Ask| ask.numbers.contains(&number);
        !self.cover(number)
            || self
                .waiting
                .iter()
                .find(has)
                .is_some_and(|ask| now < ask.at + patience.again)
    }

    /// Asks for what is missing before a number, unless that has been done; returns how many they are.
    pub(super) fn before(
        &mut self,
        number: u64,
        now: Time,
        gaps: &Gaps,
        wanted: &mut Vec<u64>,
    ) -> usize {
        if number <= self.end {
            return 0;
        }
        let (numbers, known) = (self.end..number, wanted.len());
        self.end = number;
        wanted.extend(gaps.missing(numbers.clone()));
        let count = wanted.len() - known;
        if count > 0 {
            self.note(numbers, now);
        }
        count
    }

    fn note(&mut self, numbers: Range<u64>, now: Time) {
        let full = self.waiting.len() == MOST;
        match self.waiting.last_mut() {
            Some(last) if last.at == now || full => {
                last.numbers.end = numbers.end;
            }
            _ => self.waiting.push(Ask {
                numbers,
                at: now,
                again: false,
            }),
        }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self, patience: &Patience, gaps: &Gaps) -> Option<Time> {
        let open = self.waiting.iter();
        let open = open.filter(|ask| !gaps.settled_before(ask.numbers.end));
        open.map(|ask| ask.due(patience)).min()
    }

    /// Asks again for what is due; returns before which number everything is to be given up.
    pub(super) fn expire(
        &mut self,
        now: Time,
        patience: &Patience,
        gaps: &Gaps,
        wanted: &mut Vec<u64>,
    ) -> Option<u64> {
        let mut over = None;
        self.waiting.retain_mut(|ask| {
            if gaps.settled_before(ask.numbers.end) {
                return false;
            }
            if ask.due(patience) > now {
                return true;
            }
            if now >= ask.at + patience.bound {
                over = over.max(Some(ask.numbers.end));
                return false;
            }
            ask.again = true;
            wanted.extend(gaps.missing(ask.numbers.clone()));
            true
        });
        over
    }

    /// Waits for nothing any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}
