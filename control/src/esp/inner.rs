//! The packets inside.

use std::net::Ipv4Addr;

use withy_common::checksum::Change;

use super::{
    layout::{NEXT_IPV4, NEXT_IPV6},
    refused::Refused,
};

/// The shortest IPv4 header, in bytes.
const IPV4_HEADER: usize = 20;
/// The IPv6 header, in bytes.
const IPV6_HEADER: usize = 40;

/// What is to be known of a packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// Its protocol number as ESP's next header.
    pub(super) next_header: u8,
    /// How long it is by its own account, in bytes.
    pub(super) length: usize,
    /// DSCP and ECN.
    pub(super) traffic_class: u8,
}

impl Inner {
    /// Reads the header of a packet, behind which there may be more.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Refused> {
        let inner = match packet.first().map(|first| first >> 4) {
            Some(4) => Self::ipv4(packet),
            Some(6) => Self::ipv6(packet),
            _ => None,
        };
        inner
            .filter(|inner| inner.length <= packet.len())
            .ok_or(Refused::NotIp)
    }

    fn ipv4(packet: &[u8]) -> Option<Self> {
        let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        (header_len >= IPV4_HEADER && length >= header_len).then_some(Self {
            next_header: NEXT_IPV4,
            length,
            traffic_class: header[1],
        })
    }

    fn ipv6(packet: &[u8]) -> Option<Self> {
        let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
        let payload = u16::from_be_bytes([header[4], header[5]]);
        Some(Self {
            next_header: NEXT_IPV6,
            length: IPV6_HEADER + usize::from(payload),
            traffic_class: header[0] << 4 | header[1] >> 4,
        })
    }
}

/// Gives a packet that [`Inner::read`] has read another octet of DSCP and ECN.
pub(super) fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        let word = |packet: &[u8], at| u16::from_ne_bytes([packet[at], packet[at + 1]]);
        let mut change = Change::of(word(packet, 10));
        let old = word(packet, 0);
        packet[1] = class;
        change.replace(old, word(packet, 0));
        packet[10..12].copy_from_slice(&change.checksum().to_ne_bytes());
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 0xf;
    }
}

/// Returns the source and the destination of an IPv4 packet that [`Inner::read`] has read.
pub(super) fn ipv4_addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let at = |from: usize| Some(Ipv4Addr::from(*packet.get(from..)?.first_chunk::<4>()?));
    let is_ipv4 = packet.first()? >> 4 == 4;
    is_ipv4.then_some((at(12)?, at(16)?))
}
