//! The frames that are measured.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header};
use withy_common::{header, maps::SHIM_PORT};

/// The length of the Ethernet and IPv4 headers.
pub(super) const HEADERS: usize = 34;
/// The shortest Ethernet frame, less its checksum.
const SHORTEST: usize = 60;

/// An ESP packet of `len` bytes, IP header included, without "don't fragment".
pub(super) fn esp(source: Ipv4Addr, destination: Ipv4Addr, len: u16) -> Result<Vec<u8>> {
    packet(
        IpNumber::ENCAPSULATING_SECURITY_PAYLOAD,
        (source, destination),
        len,
    )
}

/// ESP behind the UDP header that the kernel's outbound SA puts there; `len` as in [`esp`], UDP
/// header included.
pub(super) fn shimmed(source: Ipv4Addr, destination: Ipv4Addr, len: u16) -> Result<Vec<u8>> {
    let mut frame = packet(IpNumber::UDP, (source, destination), len)?;
    let fields = [SHIM_PORT, SHIM_PORT, len - header::LEN, 0];
    let bytes = fields.into_iter().flat_map(u16::to_be_bytes);
    for (to, from) in frame.iter_mut().skip(HEADERS).zip(bytes) {
        *to = from;
    }
    Ok(frame)
}

/// A frame that every program passes at once.
pub(super) fn arp() -> Vec<u8> {
    let mut frame = ethernet(EtherType::ARP);
    frame.resize(SHORTEST, 0);
    frame
}

fn packet(
    protocol: IpNumber,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    len: u16,
) -> Result<Vec<u8>> {
    let payload = len
        .checked_sub(header::LEN)
        .context("shorter than its header")?;
    let mut header = Ipv4Header::new(payload, 64, protocol, source.octets(), destination.octets())?;
    header.dont_fragment = false;
    header.header_checksum = header.calc_header_checksum();
    let mut frame = ethernet(EtherType::IPV4);
    header.write_raw(&mut frame)?;
    frame.resize(HEADERS + usize::from(payload), 0x5a);
    Ok(frame)
}

/// An Ethernet header to the address of a loopback device, which is where test runs happen.
fn ethernet(ether_type: EtherType) -> Vec<u8> {
    let header = Ethernet2Header {
        source: [2, 0, 0, 0, 0, 1],
        destination: [0; 6],
        ether_type,
    };
    header.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn frames_have_the_lengths_that_their_headers_say() {
        let whole = esp(ENDS.0, ENDS.1, 1500).unwrap();
        let (header, payload) = Ipv4Header::from_slice(&whole[14..]).unwrap();
        assert_eq!(usize::from(header.total_len), whole.len() - 14);
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(
            (payload.len(), header.protocol.0, header.dont_fragment),
            (1480, header::ESP, false)
        );
        let shimmed = shimmed(ENDS.0, ENDS.1, 1500).unwrap();
        assert_eq!(shimmed.len(), whole.len());
        assert_eq!(shimmed[34..42], [0x11, 0x94, 0x11, 0x94, 0x05, 0xc8, 0, 0]);
        assert!(esp(ENDS.0, ENDS.1, 19).is_err());
    }
}
