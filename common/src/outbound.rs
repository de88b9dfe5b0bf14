//! From an ESP packet at the bundle device to pieces on links.

use crate::{
    drops::DropReason,
    header::{ESP, Ipv4Header, LEN, MORE_FRAGMENTS, UDP},
    maps::{Ivc, SHIM_PORT, SLOT_MASK, Svc},
    schedule::{Clocks, start},
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

/// Marks or drops a packet early if a random number says so: its sender is to slow down before queues are full. The other gateway's
/// IPsec carries the mark over to the inner packet (RFC 6040), as this one's has carried over that the inner packet may be marked.
///
/// # Errors
///
/// It must be dropped.
#[inline(always)]
pub fn slow_down<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    now: u64,
    header: &mut Ipv4Header,
    random: u32,
) -> Result<(), DropReason> {
    if is_early(svc, clocks, now, random) && !header.mark_congestion() {
        return Err(DropReason::TxEarly);
    }
    Ok(())
}

/// Tells whether a packet is to be marked or dropped early, by a random number.
///
/// What finds not even half the queue that there may be is spared (RFC 8033, section 4.1): those who have made it too long may have gone
/// meanwhile.
#[inline(always)]
#[must_use]
pub fn is_early<C: Clocks>(svc: &Svc, clocks: &C, now: u64, random: u32) -> bool {
    if random >= svc.early {
        return false;
    }
    let slot = (svc.near & SLOT_MASK) as usize;
    let ivc = &svc.ivcs[slot];
    let mut most = svc.calm_ns.saturating_sub(ivc.latency_ns);
    if ivc.most_ns != 0 && ivc.most_ns < most {
        most = ivc.most_ns;
    }
    start(ivc, clocks.read(slot), now) >= most / 2
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
    use crate::{
        header::tests::{from_bytes, sealed},
        maps::{MAX_IVCS, Split},
        schedule::tests::{TestClocks, svc},
    };

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

    #[test]
    fn packets_that_allow_it_are_marked_and_others_dropped() {
        let ivcs = [Ivc::default(); MAX_IVCS];
        let mut svc = Svc::new(1, 0, Split::Mtu, 0, ivcs);
        let marked = |svc: &Svc, ecn: u8, random| {
            let mut header = header(0x45, 100, 0, ESP);
            let [version, _] = header.0[0].to_ne_bytes();
            header.0[0] = u16::from_ne_bytes([version, 0xb8 | ecn]);
            let mut header = sealed(header);
            slow_down(svc, &TestClocks::default(), 0, &mut header, random)?;
            assert!(header.checksum_holds());
            Ok(header.0[0].to_ne_bytes()[1] & 3)
        };
        for ecn in 0..4 {
            assert_eq!(marked(&svc, ecn, 0), Ok(ecn));
        }
        svc.early = 10;
        assert_eq!(marked(&svc, 0, 9), Err(DropReason::TxEarly));
        for ecn in 1..4 {
            assert_eq!(marked(&svc, ecn, 9), Ok(3));
            assert_eq!(marked(&svc, ecn, 10), Ok(ecn));
        }
    }

    #[test]
    fn what_finds_less_than_half_a_queue_is_spared() {
        let mut svc = svc(&[(8_000_000, 10), (8_000_000, 40)], Split::Mtu);
        (svc.early, svc.calm_ns) = (10, 65_000_000);
        let clocks = TestClocks::default();
        let spared = |queue: u64| {
            clocks.0[0].set(queue);
            !is_early(&svc, &clocks, 0, 9)
        };
        assert_eq!(
            [0, 27_000_000, 28_000_000, 70_000_000].map(spared),
            [true, true, false, false]
        );
        assert!(!is_early(&svc, &clocks, 0, 10));
    }
}
