//! The headers of a TCP segment or a UDP datagram over IPv4.

use withy_common::{
    checksum::{fold, sum_bytes},
    header::{MORE_FRAGMENTS, OFFSET_MASK, TCP, UDP},
};

use crate::reorder::Kin;

/// The shortest IPv4 header, in bytes.
const IPV4: usize = 20;
/// The shortest TCP header, in bytes.
const TCP_HEADER: usize = 20;
/// The UDP header, in bytes.
const UDP_HEADER: usize = 8;

/// Bits in [`Headers::flags`].
pub(super) mod flag {
    pub(in crate::offload) const FIN: u8 = 0x01;
    pub(in crate::offload) const SYN: u8 = 0x02;
    pub(in crate::offload) const PSH: u8 = 0x08;
    pub(in crate::offload) const ACK: u8 = 0x10;
    pub(in crate::offload) const ECE: u8 = 0x40;
    pub(in crate::offload) const CWR: u8 = 0x80;
}

/// Where what is in a packet: lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) protocol: u8,
    /// The IP header.
    pub(super) network: usize,
    /// IP and transport header.
    pub(super) all: usize,
    /// The whole packet by its own account.
    pub(super) total: usize,
}

impl Headers {
    /// Reads a packet that is no fragment.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let first: &[u8; IPV4] = packet.first_chunk()?;
        let network = usize::from(first[0] & 0xf) * 4;
        let total = usize::from(word(packet, 2));
        if first[0] >> 4 != 4
            || network < IPV4
            || word(packet, 6) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
        {
            return None;
        }
        let protocol = first[9];
        let transport = match protocol {
            TCP => usize::from(packet.get(network + 12)? >> 4) * 4,
            UDP => UDP_HEADER,
            _ => return None,
        };
        let all = network + transport;
        let legal =
            (protocol == UDP || transport >= TCP_HEADER) && all <= total && total <= packet.len();
        legal.then_some(Self {
            protocol,
            network,
            all,
            total,
        })
    }

    /// Where the transport's checksum lies behind the beginning of its header, in bytes.
    pub(super) fn checksum_offset(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// Writes the transport's checksum.
    pub(super) fn write_checksum(&self, packet: &mut [u8]) {
        let at = self.network + self.checksum_offset();
        packet[at..at + 2].fill(0);
        let checksum = match !fold(self.sum(packet)) {
            // RFC 768: zero says that there is none.
            0 if self.protocol == UDP => 0xffff,
            checksum => checksum,
        };
        packet[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
    }

    /// Tells whether the transport's checksum is there and holds.
    pub(super) fn checksum_holds(&self, packet: &[u8]) -> bool {
        let at = self.network + self.checksum_offset();
        let there = self.protocol != UDP || word(packet, at) != 0;
        there && fold(self.sum(packet)) == 0xffff
    }

    /// The sum that the transport's checksum is over, that itself included.
    fn sum(&self, packet: &[u8]) -> u32 {
        pseudo_header(packet, self.protocol, self.total - self.network)
            + sum_bytes(&packet[self.network..self.total])
    }
}

/// The sum of the pseudo header (RFC 9293 section 3.1, RFC 768) for a transport header with payload of `length` bytes.
pub(super) fn pseudo_header(packet: &[u8], protocol: u8, length: usize) -> u32 {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    sum_bytes(&packet[12..IPV4])
        + u32::from(u16::from(protocol).to_be())
        + u32::from(length.to_be())
}

/// Gives a packet another total length and identification, and the IP header its checksum.
pub(super) fn write_network(packet: &mut [u8], network: usize, total: u16, identification: u16) {
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[10..12].fill(0);
    let checksum = !fold(sum_bytes(&packet[..network]));
    packet[10..12].copy_from_slice(&checksum.to_ne_bytes());
}

/// Finds out what a packet is to the connection that it belongs to. Of what has no ports, or is a fragment, that is all between the same
/// addresses.
#[must_use]
pub fn kin(packet: &[u8]) -> Kin {
    let headers = Headers::read(packet);
    let bytes = headers
        .filter(|headers| headers.protocol == TCP)
        .map(|headers| {
            let tcp = &packet[headers.network..headers.all];
            let first = long(tcp, 4);
            // SYN and FIN have a number each (RFC 9293 section 3.4).
            let marks = u32::from(tcp[13] & flag::SYN != 0) + u32::from(tcp[13] & flag::FIN != 0);
            let length = u32::try_from(headers.total - headers.all).unwrap_or_default();
            (first, first.wrapping_add(length + marks))
        });
    Kin {
        flow: flow(packet, headers.as_ref()),
        bytes,
    }
}

fn flow(packet: &[u8], headers: Option<&Headers>) -> u32 {
    let Some(headers) = headers else {
        let addresses = packet.get(12..IPV4).unwrap_or_default();
        return mix(sum_bytes(addresses));
    };
    let ports = long(packet, headers.network);
    mix(long(packet, 12) ^ long(packet, 16).rotate_left(16) ^ ports.rotate_left(8))
}

/// Fibonacci hashing: neighbours go far apart.
fn mix(word: u32) -> u32 {
    word.wrapping_mul(0x9e37_79b9).rotate_left(16)
}

/// Two words in wire order, as a number.
pub(super) fn long(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// A word in wire order, as a number.
pub(super) fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}
