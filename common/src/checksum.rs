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

/// Adds the words of `bytes`, behind which there is a zero if their number is odd. What comes back is folded: it may be added to a
/// few other sums, and folded again.
#[must_use]
pub fn sum_bytes(bytes: &[u8]) -> u32 {
    // Words of 32 bits add up to the same, modulo 65,535, and compilers make vectors of them. 2^32 of them have room.
    let mut words = bytes.chunks_exact(4);
    let mut total: u64 = 0;
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    let half = (total & 0xffff_ffff) + (total >> 32);
    let parts = [half & 0xffff, half >> 16 & 0xffff, half >> 32];
    let sum = parts[0] + parts[1] + parts[2];
    #[expect(clippy::cast_possible_truncation, reason = "three times 16 bits")]
    u32::from(fold(sum as u32))
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
    fn the_longest_packet_of_ones_does_not_overflow() {
        assert_eq!(fold(sum_bytes(&vec![0xff; 65_535])), !0xff_u16.to_be());
        assert_eq!(sum_bytes(&[]), 0);
    }

    #[test]
    fn rfc_1071_example() {
        let words = [0x0001, 0xf203, 0xf4f5, 0xf6f7].map(u16::to_be);
        assert_eq!(fold(sum(&words)), 0xddf2_u16.to_be());
    }

    proptest! {
        #[test]
        fn bytes_add_up_as_their_words_do(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let words: Vec<_> = bytes
                .chunks(2)
                .map(|word| u16::from_ne_bytes([word[0], word.get(1).copied().unwrap_or(0)]))
                .collect();
            // Zero has two forms.
            prop_assert_eq!(fold(sum_bytes(&bytes)) % 0xffff, fold(sum(&words)) % 0xffff);
        }

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
