//! Packets at the bundle device and on links.

use withy_common::{
    header::{ESP, LEN, MORE_FRAGMENTS, UDP},
    keepalive,
    maps::SHIM_PORT,
};

use crate::Seeds;

/// Whole packets, fragments, a keepalive, and TCP options.
pub(crate) fn all() -> Seeds {
    let ports = [SHIM_PORT.to_be_bytes(); 2].concat();
    let keepalive = [&keepalive::SPI.to_be_bytes()[..], &[9; keepalive::LEN - 4]].concat();
    let seeds = [
        ("esp", packet(ESP, 0, &[1; 60])),
        ("first", packet(ESP, MORE_FRAGMENTS, &[1; 64])),
        ("last", packet(ESP, 94, &[1; 3])),
        ("udp", packet(UDP, 0, &[&ports[..], &[1; 40]].concat())),
        ("keepalive", packet(ESP, 0, &keepalive)),
        (
            "options",
            vec![
                4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7, 2, 4, 5, 0xb4,
            ],
        ),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec()
}

/// An IPv4 packet; the target sets the checksum.
fn packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let total = LEN + u16::try_from(payload.len()).unwrap_or(0);
    let mut bytes = vec![0x45, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 7]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    bytes.extend(payload);
    bytes
}

/// What ESP packets have inside, padding and trailer included.
pub(crate) fn inside() -> Seeds {
    let trailer = |padding: u8, next_header: u8| {
        let mut bytes: Vec<_> = (1..=padding).collect();
        bytes.extend([padding, next_header]);
        bytes
    };
    let six = [&[0x60, 0, 0, 0, 0, 4, 17, 64], &[0xfd; 36][..]].concat();
    let seeds = [
        ("ipv4", packet(UDP, 0, &[1; 10]), trailer(0, 4)),
        ("ipv6", six, trailer(2, 41)),
        (
            "hidden_length",
            [packet(UDP, 0, &[1; 10]), vec![0; 20]].concat(),
            trailer(4, 4),
        ),
        ("dummy", vec![0; 6], trailer(0, 59)),
        ("padding", Vec::new(), vec![1, 2, 9, 4]),
    ];
    seeds
        .map(|(name, inner, trailer)| (name.to_owned(), [inner, trailer].concat()))
        .to_vec()
}
