//! The IPv4 header (RFC 791) as ten words in wire order.

use crate::checksum;

/// Protocol number of ESP (RFC 4303).
pub const ESP: u8 = 50;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Length in bytes of an IPv4 header without options.
pub const LEN: u16 = 20;
/// Length in bytes of a UDP header.
pub const UDP_LEN: u16 = 8;
/// The "more fragments" bit of the flags and offset word, in host order.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The ECN field in the second byte: none of its bits is set where ECN is not used, both where there is congestion.
const ECN: u8 = 3;
/// Mask of the fragment offset, in units of 8 bytes, in host order.
pub const OFFSET_MASK: u16 = 0x1fff;

/// The first 20 bytes of an IPv4 packet.
///
/// Words of 16 bits, because an IP header behind an Ethernet header is aligned to no more than that.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header(pub [u16; 10]);

impl Ipv4Header {
    /// The version field; 4 for IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[0].to_ne_bytes()[0] >> 4
    }

    /// The header's length in bytes, options included.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(&self) -> u16 {
        (self.0[0].to_ne_bytes()[0] & 0xf) as u16 * 4
    }

    /// The packet's length in bytes, header included.
    #[inline(always)]
    #[must_use]
    pub const fn total_len(&self) -> u16 {
        u16::from_be(self.0[1])
    }

    /// The code point of DSCP (RFC 2474).
    #[inline(always)]
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.0[0].to_ne_bytes()[1] >> 2
    }

    /// The identification, in host order.
    #[inline(always)]
    #[must_use]
    pub const fn identification(&self) -> u16 {
        u16::from_be(self.0[2])
    }

    /// The flags and the fragment offset, in host order.
    #[inline(always)]
    #[must_use]
    pub const fn fragment(&self) -> u16 {
        u16::from_be(self.0[3])
    }

    /// Tells whether this is a fragment, the first one included.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// The protocol of the payload.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.0[4].to_ne_bytes()[1]
    }

    /// The source address, in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> u32 {
        join(self.0[6], self.0[7])
    }

    /// The destination address, in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> u32 {
        join(self.0[8], self.0[9])
    }

    /// Tells whether the header checksum holds; only for headers without options.
    #[inline(always)]
    #[must_use]
    pub fn checksum_holds(&self) -> bool {
        checksum::holds(&self.0)
    }

    /// Replaces both addresses (wire order) and updates the checksum.
    #[inline(always)]
    pub fn set_addresses(&mut self, source: u32, destination: u32) {
        let (source, destination) = (split(source), split(destination));
        self.set([
            (6, source[0]),
            (7, source[1]),
            (8, destination[0]),
            (9, destination[1]),
        ]);
    }

    /// Replaces both addresses (wire order) and the time to live, and updates the checksum.
    #[inline(always)]
    pub fn set_arrival(&mut self, source: u32, destination: u32, ttl: u8) {
        let (source, destination) = (split(source), split(destination));
        self.set([
            (4, u16::from_ne_bytes([ttl, self.protocol()])),
            (6, source[0]),
            (7, source[1]),
            (8, destination[0]),
            (9, destination[1]),
        ]);
    }

    /// Replaces total length, identification, flags and offset (all in host order) and updates the
    /// checksum.
    #[inline(always)]
    pub fn set_piece(&mut self, total_len: u16, identification: u16, fragment: u16) {
        self.set([
            (1, total_len.to_be()),
            (2, identification.to_be()),
            (3, fragment.to_be()),
        ]);
    }

    /// Replaces total length (host order) and protocol, and updates the checksum.
    #[inline(always)]
    pub fn set_protocol(&mut self, total_len: u16, protocol: u8) {
        let ttl = self.0[4].to_ne_bytes()[0];
        self.set([
            (1, total_len.to_be()),
            (4, u16::from_ne_bytes([ttl, protocol])),
        ]);
    }

    /// Marks that there is congestion, and updates the checksum; returns `false`, and does nothing, where the ends of the transport do
    /// not use ECN (RFC 3168, section 5).
    #[inline(always)]
    #[must_use]
    pub fn mark_congestion(&mut self) -> bool {
        let [version, traffic] = self.0[0].to_ne_bytes();
        if traffic & ECN == 0 {
            return false;
        }
        self.set([(0, u16::from_ne_bytes([version, traffic | ECN]))]);
        true
    }

    /// Replaces words, given with their places, and updates the checksum.
    #[inline(always)]
    fn set<const N: usize>(&mut self, words: [(usize, u16); N]) {
        let mut change = checksum::Change::of(self.0[5]);
        for (at, new) in words {
            change.replace(self.0[at], new);
            self.0[at] = new;
        }
        self.0[5] = change.checksum();
    }
}

#[inline(always)]
const fn join(first: u16, second: u16) -> u32 {
    let (first, second) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([first[0], first[1], second[0], second[1]])
}

#[inline(always)]
const fn split(address: u32) -> [u16; 2] {
    let bytes = address.to_ne_bytes();
    [
        u16::from_ne_bytes([bytes[0], bytes[1]]),
        u16::from_ne_bytes([bytes[2], bytes[3]]),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::{fold, sum};

    /// Builds a header from its bytes.
    pub(crate) fn from_bytes(bytes: [u8; 20]) -> Ipv4Header {
        let mut words = [0; 10];
        for (word, pair) in words.iter_mut().zip(bytes.chunks(2)) {
            *word = u16::from_ne_bytes([pair[0], pair[1]]);
        }
        Ipv4Header(words)
    }

    /// Gives `header` the right checksum, computed from scratch.
    pub(crate) fn sealed(mut header: Ipv4Header) -> Ipv4Header {
        header.0[5] = 0;
        header.0[5] = !fold(sum(&header.0));
        header
    }

    #[test]
    fn fields_are_where_rfc_791_puts_them() {
        let header = from_bytes([
            0x45, 0, 0x05, 0xdc, 0x12, 0x34, 0x20, 0xb9, 64, 50, 0, 0, 192, 0, 2, 1, 198, 51, 100,
            7,
        ]);
        assert_eq!(header.version(), 4);
        assert_eq!(header.header_len(), 20);
        assert_eq!(header.total_len(), 1500);
        assert_eq!(header.fragment(), 0x20b9);
        assert!(header.is_fragment());
        assert_eq!(header.protocol(), ESP);
        assert_eq!(header.source(), u32::from_ne_bytes([192, 0, 2, 1]));
        assert_eq!(header.destination(), u32::from_ne_bytes([198, 51, 100, 7]));
    }

    proptest! {
        #[test]
        fn every_rewrite_keeps_the_checksum(
            bytes: [u8; 20], source: u32, destination: u32, len: u16, id: u16, fragment: u16, protocol: u8,
        ) {
            let mut header = sealed(from_bytes(bytes));
            header.set_addresses(source, destination);
            prop_assert!(header.checksum_holds());
            prop_assert_eq!(header.source(), source);
            prop_assert_eq!(header.destination(), destination);
            header.set_piece(len, id, fragment);
            prop_assert!(header.checksum_holds());
            prop_assert_eq!(header.total_len(), len);
            prop_assert_eq!(header.fragment(), fragment);
            header.set_protocol(len, protocol);
            prop_assert!(header.checksum_holds());
            prop_assert_eq!(header.protocol(), protocol);
            // RFC 1624 warns of the two zeros: a checksum recomputed from scratch must agree, but for them.
            let scratch = sealed(header);
            prop_assert!(header.0[5] == scratch.0[5] || (header.0[5] ^ scratch.0[5]) == 0xffff);
        }

        #[test]
        fn a_wrong_checksum_stays_wrong(bytes: [u8; 20], flip in 1_u16.., source: u32) {
            let mut header = sealed(from_bytes(bytes));
            header.0[5] ^= flip;
            let wrong = !header.checksum_holds();
            header.set_addresses(source, !source);
            prop_assert_eq!(!header.checksum_holds(), wrong);
        }
    }
}
