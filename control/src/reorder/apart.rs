//! Numbers of packets that go apart from the others: nobody waits for them.

use super::ring::Ring;

/// The numbers that are remembered. A packet that comes later than so many others is taken for one that is late.
type Told = Ring<1_024>;
const SPAN: u64 = Told::BITS;

/// The numbers that have been told of and not come yet.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// The highest.
    top: u64,
    /// Of most tunnels there are none.
    told: Option<Told>,
}

impl Apart {
    /// Takes note of a number.
    pub(super) fn tell(&mut self, number: u64) {
        let told = self.told.get_or_insert_default();
        if number > self.top {
            // What was told a round ago has not come, and will not.
            let first = (self.top + 1).max((number + 1).saturating_sub(SPAN));
            for old in first..=number {
                told.clear(old);
            }
            self.top = number;
        }
        if self.top - number < SPAN {
            told.set(number);
        }
    }

    /// Whether a packet that comes was told of.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let remembered = number <= self.top && self.top - number < SPAN;
        remembered && self.told.as_mut().is_some_and(|told| told.clear(number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_taken_once_and_not_for_one_a_round_later() {
        let mut apart = Apart::default();
        assert!(!apart.take(7));
        apart.tell(7);
        assert!(!apart.take(7 + SPAN));
        apart.tell(9);
        assert!(apart.take(7) && !apart.take(7));
        apart.tell(9 + SPAN);
        assert!(!apart.take(9), "forgotten");
        assert!(apart.take(9 + SPAN));
    }

    proptest! {
        #[test]
        fn remembers_what_a_set_would(steps in prop::collection::vec((0_u64..40_000, any::<bool>()), 1..200)) {
            let (mut apart, mut model) = (Apart::default(), BTreeSet::new());
            let mut top = 0;
            for (step, tells) in steps {
                if tells {
                    top += step;
                    apart.tell(top);
                    model.insert(top);
                    model.retain(|number| top - number < SPAN);
                } else {
                    let number = top.saturating_sub(step);
                    prop_assert_eq!(apart.take(number), model.remove(&number));
                }
            }
        }
    }
}
