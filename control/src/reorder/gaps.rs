//! Which numbers are still to come.

use std::{ops::Range, time::Duration};

use withy_common::maps::MAX_IVCS;

use super::{Arrival, Time, ring::Ring};

/// The numbers that have come.
type Come = Ring<128>;
/// How far ahead of what is missing numbers are looked at; a power of two.
const WINDOW: u64 = Come::BITS;

/// An IVC that has brought nothing for so long carries nothing just now.
const QUIET: Duration = Duration::from_millis(100);
/// One that has brought nothing for so long is not taken to have been given something where it is only asked for what is missing.
const UNUSED: Duration = Duration::from_secs(1);

/// What the numbers so far say.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Everything before it has come or is given up. Nothing until the first packet.
    next: Option<u64>,
    /// The highest number that has come.
    top: u64,
    /// Which numbers from `next` on have come.
    come: Come,
    /// What each IVC has brought last, and when.
    newest: [Option<(u64, Time)>; MAX_IVCS],
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// How far it is behind the highest so far; 0 for that itself.
    pub(super) behind: u64,
    /// It had been given up.
    pub(super) too_late: bool,
    /// How many numbers are given up because of it.
    pub(super) given_up: u64,
    /// Whether an IVC is quiet that may have been given something just now.
    pub(super) quiet: bool,
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            next: None,
            top: 0,
            come: Come::default(),
            newest: [None; MAX_IVCS],
        }
    }
}

impl Gaps {
    /// Takes note of a packet that came by one of so many IVCs. What is lost is given up at once unless `patient`, or one of them is
    /// quiet.
    pub(super) fn see(&mut self, arrival: &Arrival, ivcs: usize, patient: bool) -> Seen {
        let Arrival {
            number, slot, time, ..
        } = *arrival;
        self.top = self.top.max(number);
        let behind = self.top - number;
        let next = *self.next.get_or_insert(number);
        let place = &mut self.newest[slot % MAX_IVCS];
        *place = Some((place.map_or(number, |(last, _)| last.max(number)), time));
        let alive = self.heard(time, QUIET);
        let quiet = if patient {
            alive < self.heard(time, UNUSED)
        } else {
            alive < ivcs
        };
        let mut given_up = 0;
        if number >= next.saturating_add(WINDOW) {
            given_up += self.give_up_before(number - WINDOW + 1);
        }
        let too_late = number < next;
        if !too_late {
            self.come.set(number);
            self.advance();
            // In order, which is nearly always, there is nothing to give up.
            if !patient && !quiet && self.next.is_some_and(|next| next <= self.top) {
                given_up += self.give_up_before(self.floor(time));
            }
        }
        Seen {
            behind,
            too_late,
            given_up,
            quiet,
        }
    }

    /// Whether nothing before a number is still to come.
    pub(super) fn settled_before(&self, number: u64) -> bool {
        // What `next` names has not come.
        self.next.is_none_or(|next| number <= next)
    }

    /// Gives up what is missing before a number; returns how many.
    pub(super) fn give_up_before(&mut self, number: u64) -> u64 {
        let Some(next) = self.next.filter(|next| *next < number) else {
            return 0;
        };
        let mut missing = number - next;
        for old in next..number.min(next + WINDOW) {
            // What is forgotten makes room at the other end.
            missing -= u64::from(self.come.clear(old));
        }
        self.next = Some(number);
        self.advance();
        missing
    }

    /// The number of which this is the lower half, if it is among those that are looked at.
    pub(super) fn number(&self, low: u32) -> Option<u64> {
        let next = self.next?;
        let [.., a, b, c, d] = next.to_be_bytes();
        let ahead = u64::from(low.wrapping_sub(u32::from_be_bytes([a, b, c, d])));
        (ahead < WINDOW).then(|| next.saturating_add(ahead))
    }

    /// Takes note of a number that is not waited for. Returns whether it was.
    pub(super) fn settle(&mut self, number: u64) -> bool {
        let Some(next) = self.next else { return false };
        if number < next || number - next >= WINDOW || self.come.has(number) {
            return false;
        }
        self.come.set(number);
        self.advance();
        true
    }

    /// Tells the numbers in a range that have not come and are not given up.
    pub(super) fn missing(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let next = self.next.unwrap_or(u64::MAX);
        let end = range.end.min(next.saturating_add(WINDOW));
        (range.start.max(next)..end).filter(|number| !self.come.has(*number))
    }

    /// What every IVC that is alive has passed: each keeps the order of what it carries.
    pub(super) fn floor(&self, now: Time) -> u64 {
        let alive = self.newest.iter().flatten();
        let alive = alive.filter(|(_, last)| now.saturating_sub(*last) < QUIET);
        alive.map(|(number, _)| *number).min().unwrap_or_default()
    }

    /// How many IVCs have brought something for less than so long.
    fn heard(&self, now: Time, within: Duration) -> usize {
        let places = self.newest.iter().flatten();
        places
            .filter(|(_, last)| now.saturating_sub(*last) < within)
            .count()
    }

    /// Goes over what has come.
    fn advance(&mut self) {
        let Some(mut next) = self.next else { return };
        while self.come.clear(next) {
            next += 1;
        }
        self.next = Some(next);
    }
}
