//! A bit for each number, as far as those in question are no further apart than there are bits.

const WORD: u64 = u64::BITS as u64;

/// The bits, in so many words that go round.
#[derive(Debug)]
pub(super) struct Ring<const WORDS: usize>(Box<[u64; WORDS]>);

impl<const WORDS: usize> Default for Ring<WORDS> {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl<const WORDS: usize> Ring<WORDS> {
    /// How many bits there are.
    pub(super) const BITS: u64 = WORDS as u64 * WORD;

    /// Whether a number's bit is set.
    pub(super) fn has(&self, number: u64) -> bool {
        self.0[word::<WORDS>(number)] & bit(number) != 0
    }

    /// Sets a number's bit.
    pub(super) fn set(&mut self, number: u64) {
        self.0[word::<WORDS>(number)] |= bit(number);
    }

    /// Clears a number's bit; returns whether it was set.
    pub(super) fn clear(&mut self, number: u64) -> bool {
        let was = self.has(number);
        self.0[word::<WORDS>(number)] &= !bit(number);
        was
    }
}

fn word<const WORDS: usize>(number: u64) -> usize {
    usize::try_from(number / WORD).unwrap_or_default() % WORDS
}

const fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}
