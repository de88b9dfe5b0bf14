//! TCP segments in frames.

use std::net::SocketAddrV4;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// A TCP segment, as far as anyone here looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Who is to receive it.
    pub destination: SocketAddrV4,
    /// The number of its first byte.
    pub sequence: u32,
    /// The number of the byte that comes after it: `SYN` and `FIN` count as one each (RFC 9293, section 3.4).
    pub next: u32,
    /// Whether it begins the flow.
    pub syn: bool,
    /// Whether it resets the connection.
    pub rst: bool,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Segment {
    /// Reads an Ethernet frame; none if it holds no whole segment.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
            (&packet.net, &packet.transport)
        else {
            return None;
        };
        let payload = tcp.payload().to_vec();
        let length = u32::try_from(payload.len()).ok()?;
        let header = ip.header();
        Some(Self {
            source: SocketAddrV4::new(header.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(header.destination_addr(), tcp.destination_port()),
            sequence: tcp.sequence_number(),
            next: tcp
                .sequence_number()
                .wrapping_add(length + u32::from(tcp.syn()) + u32::from(tcp.fin())),
            syn: tcp.syn(),
            rst: tcp.rst(),
            payload,
        })
    }
}
