//! Keepalives: how the two gateways of an IVC learn that it carries anything.
//!
//! A keepalive takes the way of the data: an IP packet of protocol ESP between the IVC's addresses, with
//! an SPI from the range that no security association has (RFC 4303, section 2.1, reserves 1 to 255).
//! The programs hand it to the controller, which alone can tell whether it is genuine.

use crate::header::{Ipv4Header, LEN as HEADER};

/// The SPI, in host order.
pub const SPI: u32 = 0x57;
/// The length in bytes of a keepalive behind its IP header.
pub const LEN: usize = 48;

/// What the programs tell the controller. Ring buffer `KEEPALIVES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The counters' slot of the IVC on which it came.
    pub counters: u32,
    /// Everything behind the IP header.
    pub bytes: [u8; LEN],
}

/// Tells whether a checked piece has a keepalive's length, so that it is worth to look at its SPI.
#[inline(always)]
#[must_use]
pub fn may_be(header: &Ipv4Header) -> bool {
    header.total_len() as usize == HEADER as usize + LEN && !header.is_fragment()
}

/// Tells whether these bytes behind an IP header are a keepalive.
#[inline(always)]
#[must_use]
pub fn is(bytes: &[u8; LEN]) -> bool {
    [bytes[0], bytes[1], bytes[2], bytes[3]] == SPI.to_be_bytes()
}
