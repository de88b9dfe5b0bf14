//! Numbers of packets that go apart from the others: nobody waits for them.
//!
//! What goes by one lane comes in the order of its numbers, by one IVC. So what has been told of and is overtaken there by another of its lane is lost.
//! What comes by another IVC has been sent again, or was told of a little before its flow moved.

use std::ops::Range;

use super::ring::Ring;
use crate::resend::LANES;

/// The numbers that are remembered. A packet that comes later than so many others is taken for one that is late.
type Told = Ring<1_024>;
const SPAN: u64 = Told::BITS;
/// How many numbers are looked through for lost ones at a time: fewer than come in a round trip, more than others' packets come between two of a lane.
const LOOK: u64 = 4_096;
/// So many in a row that come by another IVC are no strays.
const STRAYS: u32 = 16;

/// The numbers that have been told of and not come yet.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// Of most tunnels there are none.
    lanes: [Option<Lane>; LANES as usize],
}

/// What goes by one IVC.
#[derive(Debug)]
struct Lane {
    /// The highest.
    top: u64,
    told: Told,
    /// What is before it has come or is lost.
    passed: u64,
    /// The slot of the IVC, and how many in a row have come by another.
    slot: usize,
    strays: u32,
}

/// A number that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether it was taken for lost.
    pub(super) was_lost: bool,
    lane: usize,
    /// Those of its lane that it has overtaken are among these.
    overtaken: Range<u64>,
}

impl Apart {
    /// Takes note of a number that goes by a lane.
    pub(super) fn tell(&mut self, lane: u8, number: u64) {
        let lane = &mut self.lanes[usize::from(lane % LANES)];
        lane.get_or_insert_with(|| Lane::from(number)).tell(number);
    }

    /// Takes note of a number that will not come.
    pub(super) fn forget(&mut self, number: u64) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.forget(number);
        }
    }

    /// Takes a packet that comes by the IVC in `slot`, if it was told of.
    pub(super) fn take(&mut self, number: u64, slot: usize) -> Option<Taken> {
        let lanes = self.lanes.iter_mut().enumerate();
        let mut lanes = lanes.filter_map(|(at, lane)| Some((at, lane.as_mut()?)));
        lanes.find_map(|(at, lane)| {
            let overtaken = lane.take(number, slot)?;
            Some(Taken {
                was_lost: overtaken.start > number,
                lane: at,
                overtaken,
            })
        })
    }

    /// The numbers that a packet has overtaken: they are lost.
    pub(super) fn lost(&self, taken: &Taken) -> impl Iterator<Item = u64> {
        let lane = self.lanes[taken.lane].as_ref();
        let numbers = taken.overtaken.clone();
        numbers.filter(move |number| lane.is_some_and(|lane| lane.told.has(*number)))
    }
}

impl Lane {
    fn from(number: u64) -> Self {
        Self {
            top: number,
            told: Told::default(),
            passed: number,
            slot: usize::MAX,
            strays: STRAYS,
        }
    }

    fn tell(&mut self, number: u64) {
        if number > self.top {
            // What was told a round ago has not come, and will not.
            let first = (self.top + 1).max((number + 1).saturating_sub(SPAN));
            for old in first..=number {
                self.told.clear(old);
            }
            self.top = number;
        }
        if self.top - number < SPAN {
            self.told.set(number);
        }
    }

    /// Takes note of a number that is not to come any more; returns whether it was.
    fn forget(&mut self, number: u64) -> bool {
        let remembered = number <= self.top && self.top - number < SPAN;
        remembered && self.told.clear(number)
    }

    /// Takes a number if it was told of; returns those that it has passed, which begin behind it where it has been passed itself.
    fn take(&mut self, number: u64, slot: usize) -> Option<Range<u64>> {
        if !self.forget(number) {
            return None;
        }
        if number < self.passed {
            return Some(self.passed..number);
        }
        if slot != self.slot {
            self.strays += 1;
            if self.strays > STRAYS {
                (self.slot, self.strays, self.passed) = (slot, 0, number + 1);
            }
            return Some(number..number);
        }
        self.strays = 0;
        let first = self.passed.max(number.saturating_sub(LOOK));
        self.passed = number + 1;
        Some(first..number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The IVC of the lanes.
    const SLOT: usize = 3;

    fn lost(apart: &mut Apart, number: u64) -> Option<Vec<u64>> {
        let taken = apart.take(number, SLOT)?;
        Some(apart.lost(&taken).collect())
    }

    #[test]
    fn a_number_is_taken_once_and_not_for_one_a_round_later() {
        let mut apart = Apart::default();
        let takes = |apart: &mut Apart, number| apart.take(number, SLOT).is_some();
        assert!(!takes(&mut apart, 7));
        apart.tell(0, 7);
        assert!(!takes(&mut apart, 7 + SPAN));
        apart.tell(0, 9);
        assert!(takes(&mut apart, 7) && !takes(&mut apart, 7));
        apart.tell(0, 9 + SPAN);
        assert!(!takes(&mut apart, 9), "forgotten");
        assert!(takes(&mut apart, 9 + SPAN));
    }

    #[test]
    fn what_is_overtaken_by_another_of_its_lane_is_lost() {
        let mut apart = Apart::default();
        for (lane, number) in [
            (1, 10),
            (2, 11),
            (1, 12),
            (1, 14),
            (2, 13),
            (2, 15),
            (1, 16),
        ] {
            apart.tell(lane, number);
        }
        assert_eq!(lost(&mut apart, 10), Some(vec![]));
        assert_eq!(lost(&mut apart, 16), Some(vec![12, 14]), "once");
        assert_eq!(lost(&mut apart, 11), Some(vec![]));
        assert_eq!(lost(&mut apart, 15), Some(vec![13]));
        let again = apart.take(12, 0).unwrap();
        assert!(again.was_lost && apart.lost(&again).next().is_none());
        apart.tell(1, 20);
        let next = apart.take(20, SLOT).unwrap();
        assert!(
            !next.was_lost && apart.lost(&next).next().is_none(),
            "14 has been told"
        );
    }

    #[test]
    fn what_comes_by_another_way_overtakes_nothing_unless_all_do() {
        let mut apart = Apart::default();
        (0..60).for_each(|number| apart.tell(0, number));
        assert_eq!(lost(&mut apart, 0), Some(vec![]));
        // Of a flow that has yet to move.
        for number in 20..30 {
            let taken = apart.take(number, 0).unwrap();
            assert_eq!((taken.was_lost, apart.lost(&taken).count()), (false, 0));
        }
        assert_eq!(lost(&mut apart, 2), Some(vec![1]));
        // The IVC has another slot now.
        for number in 30..50 {
            apart.take(number, 7).unwrap();
        }
        let taken = apart.take(52, 7).unwrap();
        assert_eq!(apart.lost(&taken).collect::<Vec<_>>(), [50, 51]);
    }

    proptest! {
        #[test]
        fn remembers_what_a_set_would(steps in prop::collection::vec((0_u64..40_000, any::<bool>()), 1..200)) {
            let (mut apart, mut model) = (Apart::default(), BTreeSet::new());
            let mut top = 0;
            for (step, tells) in steps {
                if tells {
                    top += step;
                    apart.tell(5, top);
                    model.insert(top);
                    model.retain(|number| top - number < SPAN);
                } else {
                    let number = top.saturating_sub(step);
                    prop_assert_eq!(apart.take(number, 0).is_some(), model.remove(&number));
                }
            }
        }
    }
}
