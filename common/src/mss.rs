//! Finding the maximum segment size option in a TCP SYN (RFC 9293, section 3.2).

/// The most bytes that TCP options take.
pub const MAX_OPTIONS: usize = 40;

/// Returns the offset of the MSS option's value in `len` bytes of options, and the value in host
/// order; `None` where there is no well-formed one.
///
/// `read` returns the four bytes at an offset: the options are read where they are, because a copy
/// indexed by its own contents is more than the eBPF verifier can follow in reasonable time.
#[inline(always)]
pub fn find(len: usize, read: impl Fn(usize) -> Option<[u8; 4]>) -> Option<(usize, u16)> {
    let mut at = 0;
    for _ in 0..MAX_OPTIONS {
        if at + 4 > len {
            return None;
        }
        match read(at)? {
            [1, ..] => at += 1,
            [2, 4, high, low] => return Some((at + 2, u16::from_be_bytes([high, low]))),
            [0 | 2, ..] | [_, 0 | 1, ..] => return None,
            [_, length, ..] => at += usize::from(length),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads from `bytes`, and fails the test where they end.
    fn find_in(bytes: &[u8]) -> Option<(usize, u16)> {
        find(bytes.len(), |at| {
            Some(*bytes[at..].first_chunk().expect("inside the options"))
        })
    }

    #[test]
    fn finds_it_first_and_behind_others() {
        // As Linux sends it.
        let linux = [
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        assert_eq!(find_in(&linux), Some((2, 1460)));
        assert_eq!(find_in(&[1, 1, 4, 2, 2, 4, 2, 0x18]), Some((6, 536)));
    }

    #[test]
    fn refuses_what_is_cut_off_or_malformed() {
        let cases: [&[u8]; 5] = [
            &[2, 4, 5],
            &[2, 3, 5, 0xb4],
            &[0, 2, 4, 5, 0xb4],
            &[8, 0, 2, 4, 5, 0xb4],
            &[8, 1],
        ];
        for bytes in cases {
            assert_eq!(find_in(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn never_reads_past_the_end(bytes in prop::collection::vec(any::<u8>(), 0..=MAX_OPTIONS)) {
            if let Some((at, _)) = find_in(&bytes) {
                prop_assert!(at + 2 <= bytes.len());
            }
        }
    }
}
