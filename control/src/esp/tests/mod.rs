//! Both directions of an SA.

mod properties;
mod vectors;

use std::net::Ipv4Addr;

use super::{HEADROOM, Opener, Refused, Sealer, TAILROOM};
use crate::{
    reconcile::objects::{EspKey, Spi},
    suite::Suite,
};

const FROM: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
const SUITES: [Suite; 3] = [Suite::AesGcm128, Suite::AesGcm256, Suite::ChaCha20Poly1305];

fn spi() -> Spi {
    Spi::new(0x1001).unwrap()
}

fn key(suite: Suite) -> EspKey {
    EspKey::new(suite, (1..).take(suite.material_len()).collect()).unwrap()
}

/// The two ends of an SA that has sent `last` packets before.
fn pair(suite: Suite, window: u32, last: u64) -> (Sealer, Opener) {
    let sealer = Sealer::new(FROM, TO, spi(), &key(suite)).unwrap();
    let opener = Opener::new(FROM, TO, spi(), &key(suite), window).unwrap();
    sealer.resume(last);
    opener.resume(last);
    (sealer, opener)
}

fn seal(sealer: &Sealer, inner: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut buffer = [&[0; HEADROOM], inner, &[0; TAILROOM]].concat();
    let length = sealer.seal(&mut buffer, inner.len())?;
    buffer.truncate(length);
    Ok(buffer)
}

fn open(opener: &Opener, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut packet = packet.to_vec();
    let inner = opener.open(&mut packet)?;
    Ok(packet[inner].to_vec())
}

/// An IPv4 packet with a right checksum.
fn ipv4(class: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = [
        0x45, class, high, low, 0, 1, 0x40, 0, 64, 17, 0, 0, 192, 168, 1, 1, 192, 168, 2, 1,
    ];
    let words: Vec<_> = header
        .chunks(2)
        .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
        .collect();
    let checksum = !withy_common::checksum::fold(withy_common::checksum::sum(&words));
    header[10..12].copy_from_slice(&checksum.to_ne_bytes());
    [&header, payload].concat()
}

fn ipv6(class: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let first = [0x60 | class >> 4, class << 4 | 0xa, 0xbc, 0xde];
    [&first, &length[..], &[17, 64], &[0xfd; 32], payload].concat()
}

#[test]
fn the_outer_header_is_one_that_can_be_cut() {
    let (sealer, _) = pair(Suite::AesGcm128, 64, 0);
    let packet = seal(&sealer, &ipv4(0xb8, b"x")).unwrap();
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    assert_eq!(packet[..2], [0x45, 0xb8]);
    assert_eq!(packet[2..4], length);
    // No identification yet, and no DF.
    assert_eq!(packet[4..10], [0, 0, 0, 0, 64, 50]);
    let words: Vec<_> = packet[..20]
        .chunks(2)
        .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
        .collect();
    assert!(withy_common::checksum::holds(&words));
    assert_eq!(packet[12..20], [10, 255, 0, 1, 10, 255, 0, 2]);
    assert_eq!(packet[20..28], [0, 0, 0x10, 1, 0, 0, 0, 1]);
    assert_eq!(packet.len() % 4, 0);
}

#[test]
fn congestion_is_handed_on_and_the_checksum_stays_right() {
    for class in [1, 2] {
        let (sealer, opener) = pair(Suite::AesGcm128, 64, 0);
        for make in [ipv4, ipv6] {
            let mut packet = seal(&sealer, &make(0xb8 | class, b"data")).unwrap();
            packet[1] |= 3;
            assert_eq!(open(&opener, &packet), Ok(make(0xb8 | 3, b"data")));
        }
    }
    let (sealer, opener) = pair(Suite::AesGcm128, 64, 0);
    let mut packet = seal(&sealer, &ipv4(0, b"data")).unwrap();
    packet[1] = 3;
    assert_eq!(open(&opener, &packet), Err(Refused::Congestion));
}

#[test]
fn the_last_sequence_number_is_the_last() {
    let (sealer, opener) = pair(Suite::AesGcm256, 64, u64::MAX - 1);
    let inner = ipv4(0, b"last");
    let packet = seal(&sealer, &inner).unwrap();
    assert_eq!(open(&opener, &packet).as_ref(), Ok(&inner));
    for _ in 0..2 {
        assert_eq!(seal(&sealer, &inner), Err(Refused::Exhausted));
    }
    assert_eq!(sealer.traffic().packets, 1);
}

#[test]
fn what_is_no_packet_is_not_sealed_and_takes_no_number() {
    let (sealer, _) = pair(Suite::ChaCha20Poly1305, 64, 0);
    let whole = ipv4(0, b"data");
    for bad in [&[][..], &[0x45; 19], &[0x60; 39], &[0x55; 60], &whole[..23]] {
        assert_eq!(seal(&sealer, bad), Err(Refused::NotIp), "{bad:x?}");
    }
    let longest = 65_535 - 20 - 8 - 8 - 16 - 2;
    // Ciphertext is a multiple of four.
    let fitting = (longest + 2) / 4 * 4 - 2;
    let packet = |length: usize| ipv4(0, &vec![7; length - 20]);
    assert_eq!(seal(&sealer, &packet(fitting + 1)), Err(Refused::Oversized));
    assert_eq!(sealer.sequence(), 0);
    assert!(seal(&sealer, &packet(fitting)).is_ok());
    // No room behind it.
    let mut buffer = [&[0; HEADROOM], &whole[..], &[0; TAILROOM - 4]].concat();
    assert_eq!(
        sealer.seal(&mut buffer, whole.len()),
        Err(Refused::Oversized)
    );
    assert_eq!(sealer.sequence(), 1);
}

#[test]
fn packets_of_other_endpoints_or_spis_are_not_for_this_sa() {
    let (sealer, opener) = pair(Suite::AesGcm128, 64, 0);
    let packet = seal(&sealer, &ipv4(0, b"data")).unwrap();
    for at in [12, 19, 23] {
        let mut other = packet.clone();
        other[at] ^= 1;
        assert_eq!(open(&opener, &other), Err(Refused::UnknownSpi), "byte {at}");
    }
    assert_eq!(Opener::spi_of(&packet), Some(0x1001));
    assert_eq!(Opener::spi_of(&packet[..23]), None);
}
