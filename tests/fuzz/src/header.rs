//! Any packet to what the programs find out about it.

use withy_common::{
    checksum,
    header::{ESP, Ipv4Header, LEN, MORE_FRAGMENTS, OFFSET_MASK, UDP_LEN},
    inbound, keepalive,
    maps::{Ivc, IvcRx},
    mss,
    outbound::{self, Shim},
    split::Piece,
};

/// Examines `bytes` as a packet that arrives, as one that leaves, and as TCP options.
///
/// # Panics
///
/// A packet that is accepted is not legal, or stops being so when it is rewritten.
pub fn run(bytes: &[u8]) {
    options(&bytes[..bytes.len().min(mss::MAX_OPTIONS)]);
    let Some((header, payload)) = bytes.split_first_chunk::<{ LEN as usize }>() else {
        return;
    };
    let header = read(*header);
    for header in [header, sealed(header)] {
        arrive(header, payload);
        leave(header, payload);
    }
}

fn read(bytes: [u8; LEN as usize]) -> Ipv4Header {
    Ipv4Header(std::array::from_fn(|word| {
        u16::from_ne_bytes([bytes[2 * word], bytes[2 * word + 1]])
    }))
}

/// The header with the right checksum, which chance does not find.
fn sealed(mut header: Ipv4Header) -> Ipv4Header {
    header.0[5] = 0;
    header.0[5] = !checksum::fold(checksum::sum(&header.0));
    header
}

fn arrive(mut header: Ipv4Header, payload: &[u8]) {
    let available = u32::from(LEN) + u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if inbound::key(&header).is_none() || inbound::examine(&header, available).is_err() {
        return;
    }
    assert_eq!((header.version(), header.protocol()), (4, ESP));
    assert_eq!(header.header_len(), LEN);
    assert!(u32::from(header.total_len()) <= available);
    let offset = u32::from(header.fragment() & OFFSET_MASK) * 8;
    assert!(offset + u32::from(header.total_len()) <= 0xffff);
    assert_eq!(inbound::is_first(&header), offset == 0);
    let spi = payload.first_chunk().map(|spi| u32::from_be_bytes(*spi));
    if spi.is_some_and(|spi| keepalive::is(&header, spi)) {
        // Its length has been checked, so all of it is there.
        assert!(payload.len() >= keepalive::LEN && !header.is_fragment());
    }
    let ivc = IvcRx {
        source: 0x0102_0304,
        destination: 0xff00_00ff,
        counters: 0,
        slot: 3,
    };
    inbound::address(&mut header, &ivc);
    assert!(header.checksum_holds());
    assert_eq!(header.source(), ivc.source);
    assert_eq!(header.destination(), ivc.destination);
}

fn leave(mut header: Ipv4Header, payload: &[u8]) {
    let Ok(shim) = outbound::examine(&header) else {
        return;
    };
    assert!(header.total_len() > LEN && !header.is_fragment());
    let held = header.checksum_holds();
    if shim == Shim::Udp {
        let ports = payload.first_chunk::<4>();
        let is_shim = ports.is_some_and(|[a, b, c, d]| {
            outbound::is_shim([u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d])])
        });
        if !is_shim || header.total_len() <= LEN + UDP_LEN {
            return;
        }
        header.set_protocol(header.total_len() - UDP_LEN, ESP);
    }
    outbound::make_piece(&mut header, 7, 8, Piece::default(), false);
    outbound::address(&mut header, &Ivc::default());
    assert_eq!(header.fragment(), MORE_FRAGMENTS | 1);
    assert_eq!(header.total_len(), LEN);
    assert_eq!(header.checksum_holds(), held);
}

fn options(bytes: &[u8]) {
    let four = |at: usize| {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
        assert!(four.is_some(), "read at {at} of {}", bytes.len());
        four.copied()
    };
    if let Some((at, value)) = mss::find(bytes.len(), four) {
        assert_eq!(bytes[at..at + 2], value.to_be_bytes());
    }
}
