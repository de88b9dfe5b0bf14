//! Keepalives: how the two gateways of an IVC learn what it carries, and how well.
//!
//! A keepalive takes the way of the data: an IP packet of protocol ESP between the IVC's addresses, with
//! an SPI from the range that no security association has (RFC 4303, section 2.1, reserves 1 to 255).
//! The programs hand it to the controller, which alone can tell whether it is genuine. Behind its fixed part there
//! may be padding, which stays in the kernel: only how long the packet was is told.

use crate::header::{Ipv4Header, LEN as HEADER};

/// The SPI, in host order.
pub const SPI: u32 = 0x57;
/// The SPI of filler, in host order: packets that go the way of the data, so that it can be seen how many come through, and have nothing
/// in them.
pub const FILLER: u32 = 0x58;
/// The length in bytes of a keepalive behind its IP header, without padding.
pub const LEN: usize = 112;

/// What the programs tell the controller. Ring buffer `KEEPALIVES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// When it came: `bpf_ktime_get_ns`, which is `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The counters' slot of the IVC on which it came.
    pub counters: u32,
    /// The length in bytes of the whole IP packet, in host order.
    pub total: u32,
    /// What is behind the IP header, without padding.
    pub bytes: [u8; LEN],
}

/// Tells whether a checked piece that begins with this SPI (host order) is a keepalive.
#[inline(always)]
#[must_use]
pub fn is(header: &Ipv4Header, spi: u32) -> bool {
    spi == SPI && header.total_len() as usize >= HEADER as usize + LEN && !header.is_fragment()
}

/// Tells whether a checked piece that begins with this SPI (host order) is filler: it counts as what was received, and goes no further.
#[inline(always)]
#[must_use]
pub fn is_filler(header: &Ipv4Header, spi: u32) -> bool {
    spi == FILLER && !header.is_fragment()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_no_hidden_padding() {
        assert_eq!(size_of::<Keepalive>(), 8 + 4 + 4 + LEN);
    }
}
