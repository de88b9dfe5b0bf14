//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! All words are in wire order: one's complement addition does not depend on the byte order.

/// Adds `words` without folding.
#[inline(always)]
#[must_use]
pub fn sum(words: &[u16]) -> u32 {
    let mut total = 0;
    for word in words {
        total += u32::from(*word);
    }
    total
}

/// Folds the carries of a sum of at most 65,536 words into 16 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    (twice & 0xffff) as u16
}

/// Tells whether words that include their checksum field sum up to "minus zero" (RFC 1071).
#[inline(always)]
#[must_use]
pub fn holds(words: &[u16]) -> bool {
    fold(sum(words)) == 0xffff
}

/// A checksum while words under it change (RFC 1624, equation 3); folded once, at the end.
#[derive(Clone, Copy, Debug)]
pub struct Change(u32);

impl Change {
    /// Begins with the checksum as it is.
    #[inline(always)]
    #[must_use]
    pub const fn of(checksum: u16) -> Self {
        Self(!checksum as u32)
    }

    /// Takes a word for another; no more than 32,767 times.
    #[inline(always)]
    pub const fn replace(&mut self, old: u16, new: u16) {
        self.0 += !old as u32 + new as u32;
    }

    /// Returns the checksum as it is now.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_1071_example() {
        let words = [0x0001, 0xf203, 0xf4f5, 0xf6f7].map(u16::to_be);
        assert_eq!(fold(sum(&words)), 0xddf2_u16.to_be());
    }

    proptest! {
        #[test]
        fn incremental_equals_recomputed(
            mut words: [u16; 10], changes in prop::collection::vec((0_usize..9, any::<u16>()), 0..20),
        ) {
            words[9] = 0;
            words[9] = !fold(sum(&words));
            prop_assert!(holds(&words));
            let mut change = Change::of(words[9]);
            for (at, new) in changes {
                change.replace(words[at], new);
                words[at] = new;
            }
            words[9] = change.checksum();
            prop_assert!(holds(&words));
        }
    }
}
