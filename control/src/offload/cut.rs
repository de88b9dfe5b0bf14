//! Super-packets into packets.

use withy_common::{
    checksum::{fold, sum_bytes},
    header::{TCP, UDP},
};

use super::{
    Header, Kind, Uncuttable,
    segment::{Headers, flag, long, word, write_network},
};

/// A super-packet.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    packet: &'a [u8],
    headers: Headers,
    segment: usize,
    count: usize,
}

/// Takes what the device hands over: either a packet, whose checksum is made if it is not yet, or a super-packet to be cut.
///
/// # Errors
///
/// It is neither.
pub fn take<'a>(header: &Header, packet: &'a mut [u8]) -> Result<Option<Cut<'a>>, Uncuttable> {
    match header.kind {
        Kind::Packet => {
            if let Some((start, offset)) = header.checksum {
                complete(packet, start.into(), offset.into())?;
            }
            Ok(None)
        }
        Kind::Tcp => Cut::new(packet, TCP, header.segment).map(Some),
        Kind::Udp => Cut::new(packet, UDP, header.segment).map(Some),
    }
}

/// Makes a checksum in whose place there is the sum of the pseudo header.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Result<(), Uncuttable> {
    let checksum = !fold(sum_bytes(packet.get(start..).ok_or(Uncuttable)?));
    // The same for all protocols: for UDP zero means something else, and is equal to its complement.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    let place = packet.get_mut(start + offset..start + offset + 2);
    place
        .ok_or(Uncuttable)?
        .copy_from_slice(&checksum.to_ne_bytes());
    Ok(())
}

impl<'a> Cut<'a> {
    fn new(packet: &'a [u8], protocol: u8, segment: u16) -> Result<Self, Uncuttable> {
        let headers = Headers::read(packet).ok_or(Uncuttable)?;
        if headers.protocol != protocol || segment == 0 {
            return Err(Uncuttable);
        }
        let segment = usize::from(segment);
        Ok(Self {
            packet: &packet[..headers.total],
            headers,
            segment,
            count: (headers.total - headers.all).div_ceil(segment).max(1),
        })
    }

    /// All of it, with the headers of its first packet.
    #[must_use]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// How long the longest packet is that it stands for, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.headers.total.min(self.headers.all + self.segment)
    }

    /// How many packets it stands for; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes packet number `at` to the beginning of `out`; returns its length, or nothing if it does not fit. Segments are what
    /// `inet_gso_segment` and `tcp_gso_segment` in the kernel make of it.
    ///
    /// # Panics
    ///
    /// There is no such packet.
    #[must_use]
    pub fn write(&self, at: usize, out: &mut [u8]) -> Option<usize> {
        assert!(at < self.count, "one of {} packets", self.count);
        let Headers {
            network,
            all,
            total,
            ..
        } = self.headers;
        let from = all + at * self.segment;
        let payload = &self.packet[from..total.min(from + self.segment)];
        let length = all + payload.len();
        let out = out.get_mut(..length)?;
        out[..all].copy_from_slice(&self.packet[..all]);
        out[all..].copy_from_slice(payload);
        let count = u16::try_from(at).ok()?;
        let identification = word(self.packet, 4).wrapping_add(count);
        write_network(out, network, u16::try_from(length).ok()?, identification);
        if self.headers.protocol == TCP {
            self.write_tcp(at, out);
        } else {
            let datagram = u16::try_from(length - network).ok()?;
            out[network + 4..network + 6].copy_from_slice(&datagram.to_be_bytes());
        }
        let headers = Headers {
            total: length,
            ..self.headers
        };
        headers.write_checksum(out);
        Some(length)
    }

    /// Sequence number and flags: what ends the data is in the last packet only, that the window was reduced in the first.
    fn write_tcp(&self, at: usize, out: &mut [u8]) {
        let tcp = &mut out[self.headers.network..self.headers.all];
        #[expect(clippy::cast_possible_truncation, reason = "within one packet")]
        let sequence = long(tcp, 4).wrapping_add((at * self.segment) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if at + 1 < self.count {
            tcp[13] &= !(flag::FIN | flag::PSH);
        }
        if at > 0 {
            tcp[13] &= !flag::CWR;
        }
    }
}
