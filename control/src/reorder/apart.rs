//! Numbers of packets that go apart from the others: nobody waits for them.

/// How many numbers are remembered; a power of two. A packet that comes later than so many others is taken for one that is late.
const SPAN: u64 = 65_536;
const WORD: u64 = u64::BITS as u64;
const WORDS: usize = (SPAN / WORD) as usize;

/// The numbers that have been told of and not come yet.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// The highest.
    top: u64,
    /// In words that go round; of most tunnels there are none.
    told: Option<Box<[u64; WORDS]>>,
}

impl Apart {
    /// Takes note of a number.
    pub(super) fn tell(&mut self, number: u64) {
        let told = self.told.get_or_insert_with(|| Box::new([0; WORDS]));
        if number > self.top {
            // What was told a round ago has not come, and will not.
            let first = (self.top + 1).max((number + 1).saturating_sub(SPAN));
            for old in first..=number {
                told[word(old)] &= !bit(old);
            }
            self.top = number;
        }
        if self.top - number < SPAN {
            told[word(number)] |= bit(number);
        }
    }

    /// Whether a packet that comes was told of.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let Some(told) = &mut self.told else {
            return false;
        };
        if number > self.top || self.top - number >= SPAN {
            return false;
        }
        let was = told[word(number)] & bit(number) != 0;
        told[word(number)] &= !bit(number);
        was
    }
}

fn word(number: u64) -> usize {
    usize::try_from(number / WORD).unwrap_or_default() % WORDS
}

const fn bit(number: u64) -> u64 {
    1 << (number % WORD)
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
