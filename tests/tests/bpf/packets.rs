//! Packets, built by a library that knows nothing of Withy.

use std::net::Ipv4Addr;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, TcpHeader};

/// The length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// An IPv4 packet in an Ethernet frame, to be built.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) header: Ipv4Header,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// An ESP packet whose payload of `len` bytes counts up.
    pub(crate) fn esp(source: Ipv4Addr, destination: Ipv4Addr, len: usize) -> Self {
        let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Self::new(
            source,
            destination,
            IpNumber::ENCAPSULATING_SECURITY_PAYLOAD,
            payload,
        )
    }

    /// A packet of another protocol.
    pub(crate) fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: IpNumber,
        payload: Vec<u8>,
    ) -> Self {
        let len = u16::try_from(payload.len()).unwrap();
        let header =
            Ipv4Header::new(len, 64, protocol, source.octets(), destination.octets()).unwrap();
        let mut frame = Self { header, payload };
        frame.header.dont_fragment = false;
        frame
    }

    /// Makes it the fragment at `offset` (a multiple of 8).
    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.header.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
        self.header.more_fragments = more;
        self
    }

    /// Sets the identification.
    pub(crate) fn identified(mut self, identification: u16) -> Self {
        self.header.identification = identification;
        self
    }

    /// Writes the frame, with the checksum computed from scratch.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.header.total_len =
            u16::try_from(self.header.header_len() + self.payload.len()).unwrap();
        self.header.header_checksum = self.header.calc_header_checksum();
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        self.header.write_raw(&mut bytes).unwrap();
        bytes.extend(self.payload);
        bytes
    }
}

/// Reads the IPv4 header and payload of a frame, and asserts that its checksum and length hold.
pub(crate) fn parse(frame: &[u8]) -> (Ipv4Header, &[u8]) {
    let (header, payload) = Ipv4Header::from_slice(&frame[ETHERNET..]).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(usize::from(header.total_len), frame.len() - ETHERNET);
    (header, payload)
}

/// A TCP segment with the given options, in an Ethernet frame.
pub(crate) fn tcp(source: Ipv4Addr, destination: Ipv4Addr, syn: bool, options: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(40_000, 443, 1, 65_000);
    header.syn = syn;
    header.set_options_raw(options).unwrap();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(source.octets(), destination.octets(), 64)
        .tcp_header(header);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).unwrap();
    bytes
}
