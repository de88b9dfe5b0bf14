//! From an ESP packet at the bundle device to pieces on links.

use crate::{
    drops::DropReason,
    header::{ESP, Ipv4Header, LEN, MORE_FRAGMENTS, UDP},
    maps::{Ivc, SHIM_PORT},
    split::Piece,
};

/// What stands between the IP header and ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shim {
    /// Nothing: an ESP packet as it is.
    None,
    /// A UDP header, if its ports are [`SHIM_PORT`].
    Udp,
}

/// Checks that a packet at the bundle device can be cut: IPv4 without options, whole, carrying ESP.
///
/// # Errors
///
/// Says why the packet must be dropped.
#[inline(always)]
pub fn examine(header: &Ipv4Header) -> Result<Shim, DropReason> {
    if header.version() != 4 {
        return Err(DropReason::TxNotEsp);
    }
    let shim = match header.protocol() {
        ESP => Shim::None,
        UDP => Shim::Udp,
        _ => return Err(DropReason::TxNotEsp),
    };
    if header.header_len() != LEN || header.is_fragment() || header.total_len() <= LEN {
        return Err(DropReason::TxMalformed);
    }
    Ok(shim)
}

/// Tells whether a UDP header's ports (wire order) are those of the shim.
#[inline(always)]
#[must_use]
pub const fn is_shim(ports: [u16; 2]) -> bool {
    ports[0] == SHIM_PORT.to_be() && ports[1] == SHIM_PORT.to_be()
}

/// Makes `header`, the whole packet's, the header of one piece.
///
/// `identification` is the packet's sequence number, `offset` the piece's first byte in the payload.
#[inline(always)]
pub fn make_piece(
    header: &mut Ipv4Header,
    identification: u16,
    offset: u16,
    piece: Piece,
    last: bool,
) {
    let more = if last { 0 } else { MORE_FRAGMENTS };
    header.set_piece(LEN + piece.payload(), identification, offset >> 3 | more);
}

/// Gives a piece the addresses of the IVC that carries it.
#[inline(always)]
pub fn address(header: &mut Ipv4Header, ivc: &Ivc) {
    header.set_addresses(ivc.local, ivc.remote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::{from_bytes, sealed};

    fn header(first: u8, total_len: u16, fragment: u16, protocol: u8) -> Ipv4Header {
        let (len, fragment) = (total_len.to_be_bytes(), fragment.to_be_bytes());
        sealed(from_bytes([
            first,
            0,
            len[0],
            len[1],
            0,
            0,
            fragment[0],
            fragment[1],
            64,
            protocol,
            0,
            0,
            10,
            255,
            0,
            1,
            10,
            255,
            0,
            2,
        ]))
    }

    #[test]
    fn verdicts() {
        let cases = [
            ("ESP", header(0x45, 100, 0, ESP), Ok(Shim::None)),
            ("ESP behind UDP", header(0x45, 100, 0, UDP), Ok(Shim::Udp)),
            (
                "don't fragment is no obstacle",
                header(0x45, 100, 0x4000, ESP),
                Ok(Shim::None),
            ),
            (
                "plaintext TCP",
                header(0x45, 100, 0, 6),
                Err(DropReason::TxNotEsp),
            ),
            (
                "version 6",
                header(0x65, 100, 0, ESP),
                Err(DropReason::TxNotEsp),
            ),
            (
                "first fragment",
                header(0x45, 100, 0x2000, ESP),
                Err(DropReason::TxMalformed),
            ),
            (
                "last fragment",
                header(0x45, 100, 9, ESP),
                Err(DropReason::TxMalformed),
            ),
            (
                "options",
                header(0x46, 100, 0, ESP),
                Err(DropReason::TxMalformed),
            ),
            (
                "no payload",
                header(0x45, 20, 0, ESP),
                Err(DropReason::TxMalformed),
            ),
        ];
        for (name, header, expected) in cases {
            assert_eq!(examine(&header), expected, "{name}");
        }
    }
}
