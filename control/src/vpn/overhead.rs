//! What ESP in tunnel mode adds to a packet (RFC 4303).

use withy_common::header;

use crate::config::Suite;

/// SPI and sequence number, in bytes.
const ESP_HEADER: u32 = 8;
/// Pad length and next header, in bytes.
const ESP_TRAILER: u32 = 2;
/// IPv4 and TCP headers without options, in bytes.
const TCP_HEADERS: u32 = 40;

/// Returns the length in bytes of the longest inner packet whose ESP packet is no longer than `outer`
/// bytes, outer IPv4 header included; 0 where not even an empty one fits.
#[must_use]
pub fn inner(suite: Suite, outer: u32) -> u32 {
    let around = expansion(suite) - ESP_TRAILER;
    let block = block(suite);
    (outer.saturating_sub(around) / block * block).saturating_sub(ESP_TRAILER)
}

/// Returns the length in bytes of the ESP packet, outer IPv4 header included, around an inner packet of `inner` bytes.
#[must_use]
pub fn outer(suite: Suite, inner: u32) -> u32 {
    expansion(suite) - ESP_TRAILER + (inner + ESP_TRAILER).next_multiple_of(block(suite))
}

/// Returns by how many bytes an ESP packet, outer IPv4 header included, is longer at least than the one inside.
#[must_use]
pub fn expansion(suite: Suite) -> u32 {
    let fields = bytes(suite.iv_len()) + bytes(suite.icv_len());
    u32::from(header::LEN) + ESP_HEADER + fields + ESP_TRAILER
}

/// Returns TCP's largest segment in bytes for inner packets of at most `inner` bytes.
#[must_use]
pub fn segment(inner: u32) -> u16 {
    u16::try_from(inner.saturating_sub(TCP_HEADERS)).unwrap_or(u16::MAX)
}

/// What ciphertext is padded to, in bytes: the cipher's block, and 4 at least.
fn block(suite: Suite) -> u32 {
    bytes(suite.block_size()).max(4)
}

/// A suite's lengths are small numbers.
fn bytes(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sizes() {
        // As the kernel says them for a path of 1500 bytes.
        assert_eq!(inner(Suite::AesGcm128, 1500), 1446);
        assert_eq!(inner(Suite::ChaCha20Poly1305, 1500), 1446);
        assert_eq!(inner(Suite::AesCbc256HmacSha256, 1500), 1438);
        assert_eq!(inner(Suite::AesGcm128, 50), 0);
        assert_eq!(segment(1446), 1406);
        assert_eq!(expansion(Suite::AesGcm128), 1500 - 1446);
    }

    #[test]
    fn the_longest_fits_and_one_more_does_not() {
        for suite in Suite::ALL {
            for limit in 100..2000 {
                let longest = inner(suite, limit);
                assert!(
                    outer(suite, longest) <= limit && outer(suite, longest + 1) > limit,
                    "{suite:?} {limit}"
                );
            }
        }
    }
}
