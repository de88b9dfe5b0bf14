//! What stands before each packet of a device with offloads.

use super::Uncuttable;

/// `sizeof(struct virtio_net_hdr)`, in bytes.
pub const LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_ECN`: the first segment has CWR, which [`super::cut`] sees by itself.
const ECN: u8 = 0x80;

/// What a packet stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Itself.
    #[default]
    Packet,
    /// Segments of a TCP connection.
    Tcp,
    /// Datagrams of equal length, but for the last.
    Udp,
}

/// `struct virtio_net_hdr` (`include/uapi/linux/virtio_net.h`), in the machine's byte order as TUN devices have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What the packet stands for.
    pub kind: Kind,
    /// Where the words begin that the checksum is over, and where behind that it belongs, in bytes: if it is still to be made. The
    /// sum of the pseudo header is in its place.
    pub checksum: Option<(u16, u16)>,
    /// The length of IP and transport header, in bytes.
    pub headers: u16,
    /// The payload of each segment but the last, in bytes.
    pub segment: u16,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It is none, or of a kind that was not asked for.
    pub fn read(bytes: &[u8; LEN]) -> Result<Self, Uncuttable> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let kind = match bytes[1] & !ECN {
            0 => Kind::Packet,
            // VIRTIO_NET_HDR_GSO_TCPV4
            1 => Kind::Tcp,
            // VIRTIO_NET_HDR_GSO_UDP_L4
            5 => Kind::Udp,
            _ => return Err(Uncuttable),
        };
        Ok(Self {
            kind,
            checksum: (bytes[0] & NEEDS_CHECKSUM != 0).then(|| (word(6), word(8))),
            headers: word(2),
            segment: word(4),
        })
    }

    /// Writes it.
    #[must_use]
    pub fn bytes(&self) -> [u8; LEN] {
        let kind = match self.kind {
            Kind::Packet => 0,
            Kind::Tcp => 1,
            Kind::Udp => 5,
        };
        let flags = self.checksum.map_or(0, |_| NEEDS_CHECKSUM);
        let (start, offset) = self.checksum.unwrap_or_default();
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&[flags, kind]);
        for (at, word) in [
            (2, self.headers),
            (4, self.segment),
            (6, start),
            (8, offset),
        ] {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}
