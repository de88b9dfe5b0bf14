//! From a piece on a link to an ESP packet, or fragment, between tunnel endpoints.

use crate::{
    drops::DropReason,
    header::{ESP, Ipv4Header, LEN, MORE_FRAGMENTS, OFFSET_MASK},
    maps::{IvcKey, IvcRx},
};

/// The shortest ESP packet that the fields of RFC 4303 allow: SPI, sequence number and four bytes of trailer.
const ESP_MIN: u16 = 12;

/// Returns the pair of addresses to look up, or `None` for a packet that is not ESP over IPv4 and
/// passes untouched.
#[inline(always)]
#[must_use]
pub fn key(header: &Ipv4Header) -> Option<IvcKey> {
    if header.version() != 4 || header.protocol() != ESP {
        return None;
    }
    Some(IvcKey {
        source: header.source(),
        destination: header.destination(),
    })
}

/// Checks a piece of a known IVC, of which `available` bytes arrived from the IP header on.
///
/// # Errors
///
/// Says why the piece must be dropped.
#[inline(always)]
pub fn examine(header: &Ipv4Header, available: u32) -> Result<(), DropReason> {
    if header.header_len() < LEN {
        return Err(DropReason::RxTruncated);
    }
    if header.header_len() != LEN {
        return Err(DropReason::RxOptions);
    }
    if !header.checksum_holds() {
        return Err(DropReason::RxChecksum);
    }
    let total = header.total_len();
    if total < LEN || u32::from(total) > available {
        return Err(DropReason::RxTruncated);
    }
    let payload = total - LEN;
    let more = header.fragment() & MORE_FRAGMENTS != 0;
    let offset = u32::from(header.fragment() & OFFSET_MASK) * 8;
    if more && (payload & 7 != 0 || payload == 0) || offset != 0 && payload == 0 {
        return Err(DropReason::RxBadFragment);
    }
    // RFC 791: no packet is longer than 65,535 bytes, its header included.
    if offset + u32::from(payload) + u32::from(LEN) > 0xffff {
        return Err(DropReason::RxOversized);
    }
    if offset == 0 && !more && payload < ESP_MIN {
        return Err(DropReason::RxTruncated);
    }
    Ok(())
}

/// Tells whether a piece holds the first byte of its packet.
#[inline(always)]
#[must_use]
pub const fn is_first(header: &Ipv4Header) -> bool {
    header.fragment() & OFFSET_MASK == 0
}

/// Gives a piece the addresses of the tunnel endpoints, and a time to live, which means nothing here any more, that tells by which IVC it
/// came.
#[inline(always)]
pub fn address(header: &mut Ipv4Header, ivc: &IvcRx) {
    header.set_arrival(ivc.source, ivc.destination, ivc.mark());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::tests::{from_bytes, sealed};

    /// Builds a header between documentation addresses.
    fn header(first: u8, total_len: u16, fragment: u16) -> Ipv4Header {
        let (len, fragment) = (total_len.to_be_bytes(), fragment.to_be_bytes());
        sealed(from_bytes([
            first,
            0,
            len[0],
            len[1],
            0,
            7,
            fragment[0],
            fragment[1],
            1,
            ESP,
            0,
            0,
            192,
            0,
            2,
            1,
            198,
            51,
            100,
            7,
        ]))
    }

    #[test]
    fn verdicts() {
        let cases = [
            ("whole", header(0x45, 1500, 0), 1500, Ok(())),
            ("with Ethernet padding", header(0x45, 40, 0), 46, Ok(())),
            (
                "first fragment",
                header(0x45, 20 + 752, 0x2000),
                772,
                Ok(()),
            ),
            (
                "last fragment of odd length",
                header(0x45, 20 + 3, 94),
                23,
                Ok(()),
            ),
            (
                "cut off",
                header(0x45, 1500, 0),
                1499,
                Err(DropReason::RxTruncated),
            ),
            (
                "shorter than its header",
                header(0x45, 19, 0),
                60,
                Err(DropReason::RxTruncated),
            ),
            (
                "header of four words",
                header(0x44, 100, 0),
                100,
                Err(DropReason::RxTruncated),
            ),
            (
                "no room for ESP",
                header(0x45, 31, 0),
                31,
                Err(DropReason::RxTruncated),
            ),
            (
                "options",
                header(0x46, 100, 0),
                100,
                Err(DropReason::RxOptions),
            ),
            (
                "odd middle fragment",
                header(0x45, 20 + 9, 0x2000),
                29,
                Err(DropReason::RxBadFragment),
            ),
            (
                "empty middle fragment",
                header(0x45, 20, 0x2001),
                20,
                Err(DropReason::RxBadFragment),
            ),
            (
                "empty last fragment",
                header(0x45, 20, 1),
                20,
                Err(DropReason::RxBadFragment),
            ),
            (
                "beyond the largest packet",
                header(0x45, 20 + 16, 0x1fff),
                36,
                Err(DropReason::RxOversized),
            ),
        ];
        for (name, header, available, expected) in cases {
            assert_eq!(examine(&header, available), expected, "{name}");
        }
        let mut wrong = header(0x45, 100, 0);
        wrong.0[5] ^= 1;
        assert_eq!(examine(&wrong, 100), Err(DropReason::RxChecksum));
    }

    proptest! {
        #[test]
        fn accepted_pieces_are_legal(bytes: [u8; 20], available in 0_u32..70_000) {
            let header = sealed(from_bytes(bytes));
            if examine(&header, available).is_ok() {
                let end = u32::from(header.fragment() & OFFSET_MASK) * 8 + u32::from(header.total_len());
                prop_assert!(end <= 65_535);
                prop_assert!(u32::from(header.total_len()) <= available);
                prop_assert!(header.header_len() == LEN);
            }
        }
    }
}
