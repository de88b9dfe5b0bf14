//! Which sequence numbers have come: the anti-replay window of RFC 4303 section 3.4.3 as a ring of words (RFC 6479), over
//! 64-bit numbers of which packets carry the low half (RFC 4303 appendix A).

use super::refused::Refused;

/// The largest window, in packets.
pub const MAX_WINDOW: u32 = 65_536;
/// Bits in a word.
const WORD: u64 = u64::BITS as u64;

/// An anti-replay window.
#[derive(Debug)]
pub struct Window {
    /// The highest number that has come.
    top: u64,
    /// How many numbers count, the highest included.
    size: u64,
    /// A bit for each number, in words that go round; one word more than `size` takes, so that clearing whole words
    /// ahead never forgets a number that counts. Their count is a power of two.
    words: Box<[u64]>,
}

impl Window {
    /// Makes a window into which nothing has come. `size` is in packets, and taken for the nearest that there is of 1 to
    /// [`MAX_WINDOW`].
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = u64::from(size.clamp(1, MAX_WINDOW));
        let words = (size.div_ceil(WORD) + 1).next_power_of_two();
        Self {
            top: 0,
            size,
            words: (0..words).map(|_| 0).collect(),
        }
    }

    /// Takes everything up to `top` for old.
    pub fn resume(&mut self, top: u64) {
        self.top = top;
        self.words.fill(u64::MAX);
        let word = self.word(top);
        self.words[word] = u64::MAX >> (WORD - 1 - top % WORD);
    }

    /// Finds the whole sequence number of which a packet carries the low half: the one nearest to the window.
    ///
    /// # Errors
    ///
    /// It would be before the first number.
    pub fn infer(&self, low: u32) -> Result<u64, Refused> {
        let bottom = self.top.wrapping_sub(self.size - 1);
        // Appendix A2.1: the window may lie over a border of the low half. Counted from its bottom there is no border.
        let ahead = low.wrapping_sub(low_half(bottom));
        let number = bottom.wrapping_add(u64::from(ahead));
        // Below the first number, where the window reaches over it, and above the last.
        let below = bottom > self.top && number >= bottom;
        let above = bottom <= self.top && number < bottom;
        if below || above || number == 0 {
            return Err(Refused::Old);
        }
        Ok(number)
    }

    /// Checks that a number has not come yet.
    ///
    /// # Errors
    ///
    /// It has, or is too old to tell.
    pub fn check(&self, number: u64) -> Result<(), Refused> {
        if number > self.top {
            return Ok(());
        }
        if self.top - number >= self.size {
            return Err(Refused::Old);
        }
        if self.words[self.word(number)] & bit(number) != 0 {
            return Err(Refused::Replayed);
        }
        Ok(())
    }

    /// Remembers a number that was checked and whose packet is authentic.
    pub fn mark(&mut self, number: u64) {
        if number > self.top {
            let ahead = (number / WORD - self.top / WORD).min(self.words.len() as u64);
            for step in 0..ahead {
                let word = self.word(number - step * WORD);
                self.words[word] = 0;
            }
            self.top = number;
        }
        let word = self.word(number);
        self.words[word] |= bit(number);
    }

    fn word(&self, number: u64) -> usize {
        let word = number / WORD % self.words.len() as u64;
        usize::try_from(word).unwrap_or_default()
    }
}

/// The half of a number that packets carry.
const fn low_half(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

const fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn take(window: &mut Window, number: u64) -> Result<(), Refused> {
        window.check(number)?;
        window.mark(number);
        Ok(())
    }

    #[test]
    fn the_halves_of_numbers_around_a_border() {
        let mut window = Window::new(64);
        let border = 1 << 32;
        // Appendix A2.1, case A: the window is within one subspace.
        window.resume(border + 1000);
        assert_eq!(window.infer(1001), Ok(border + 1001));
        assert_eq!(window.infer(1000 - 63), Ok(border + 1000 - 63));
        assert_eq!(window.infer(1000 - 64), Ok(2 * border + 1000 - 64));
        // Case B: it spans two.
        window.resume(border + 10);
        assert_eq!(window.infer(0), Ok(border));
        assert_eq!(window.infer(u32::MAX), Ok(border - 1));
        assert_eq!(window.infer(u32::MAX - 52), Ok(border - 53));
        assert_eq!(window.infer(u32::MAX - 53), Ok(2 * border - 54));
    }

    #[test]
    fn nothing_is_before_the_first_number_or_after_the_last() {
        let mut window = Window::new(64);
        assert_eq!(window.infer(0), Err(Refused::Old));
        assert_eq!(window.infer(u32::MAX), Err(Refused::Old));
        assert_eq!(window.infer(1), Ok(1));
        window.resume(u64::MAX - 5);
        assert_eq!(window.infer(u32::MAX), Ok(u64::MAX));
        assert_eq!(window.infer(0), Err(Refused::Old));
    }

    proptest! {
        #[test]
        fn remembers_what_a_list_of_all_numbers_does(
            size in prop_oneof![1_u32..200, Just(4096), Just(MAX_WINDOW)],
            start in prop_oneof![Just(0_u64), Just((1 << 32) - 50), Just(u64::MAX / 2)],
            steps in prop::collection::vec((0_u64..300, any::<bool>(), 0_u64..40), 1..300),
        ) {
            let mut window = Window::new(size);
            window.resume(start);
            let (mut seen, mut top) = (BTreeSet::new(), start);
            for (back, far, ahead) in steps {
                let stride = if far { u64::from(size) } else { 1 };
                let number = (top + ahead * stride).saturating_sub(back);
                let old = number <= start || number + u64::from(size) <= top;
                let expected = if old || seen.contains(&number) { Err(()) } else { Ok(()) };
                if number > 0 {
                    prop_assert_eq!(take(&mut window, number).map_err(drop), expected, "{}", number);
                    let near = number + u64::from(size) > top;
                    if near {
                        prop_assert_eq!(window.infer(low_half(number)), Ok(number));
                    }
                }
                if expected.is_ok() {
                    seen.insert(number);
                    top = top.max(number);
                }
            }
        }
    }
}
