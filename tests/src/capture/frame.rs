//! Building frames to inject.

use std::net::Ipv4Addr;

use crate::traffic::icmp::checksum;

/// Fields of an IPv4 header. Its checksum is right, and its total length that of the packet;
/// whoever wants them wrong spoils the bytes afterwards.
#[derive(Clone, Debug)]
pub struct Ipv4Fields {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Identification.
    pub identification: u16,
    /// Time to live.
    pub ttl: u8,
    /// Flags (DF 0x4000, MF 0x2000) and the fragment offset in units of eight bytes.
    pub fragment: u16,
    /// Options, a multiple of four bytes and at most 40.
    pub options: Vec<u8>,
}

impl Ipv4Fields {
    /// A header without options and fragmentation, TTL 64.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            identification: 0,
            ttl: 64,
            fragment: 0,
            options: Vec::new(),
        }
    }
}

/// Builds an IPv4 packet.
///
/// # Panics
///
/// If the options are not a multiple of four bytes up to 40, or the packet is longer than 65,535.
#[must_use]
pub fn ipv4(fields: &Ipv4Fields, payload: &[u8]) -> Vec<u8> {
    let options = &fields.options;
    assert!(
        options.len() <= 40 && options.len().is_multiple_of(4),
        "options of odd length"
    );
    let header_length = 20 + options.len();
    let total = u16::try_from(header_length + payload.len()).expect("an IPv4 packet");
    let words = u8::try_from(header_length / 4).expect("at most 15");

    let mut packet = vec![0x40 | words, 0];
    packet.extend(total.to_be_bytes());
    packet.extend(fields.identification.to_be_bytes());
    packet.extend(fields.fragment.to_be_bytes());
    packet.extend([fields.ttl, fields.protocol, 0, 0]);
    packet.extend(fields.source.octets());
    packet.extend(fields.destination.octets());
    packet.extend(options);
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Puts an Ethernet header before an IPv4 packet.
#[must_use]
pub fn ethernet(source: [u8; 6], destination: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &[0x08, 0x00], packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_packet_has_a_valid_header() {
        let mut fields =
            Ipv4Fields::new(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), 50);
        fields.options = vec![1; 4];
        let packet = ipv4(&fields, &[0; 10]);
        assert_eq!(packet[0], 0x46);
        assert_eq!(packet[2..4], 34_u16.to_be_bytes());
        assert_eq!(checksum(&packet[..24]), 0);
    }
}
