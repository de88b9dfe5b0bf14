//! Any bytes as an ESP packet, and as what an authentic one has inside.

use std::{net::Ipv4Addr, sync::LazyLock};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use withy::{
    esp::{HEADROOM, Opener, Refused},
    reconcile::objects::{EspKey, Spi},
    suite::Suite,
};

const KEY: [u8; 16] = [7; 16];
const SALT: [u8; 4] = [9; 4];
const IV: [u8; 8] = [1; 8];
const SPI: u32 = 0x1001;
const SEQUENCE: u64 = (1 << 32) + 5;
const FROM: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);

static CIPHER: LazyLock<Option<LessSafeKey>> =
    LazyLock::new(|| Some(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).ok()?)));

/// Opens `bytes`, and what has `bytes` inside.
///
/// # Panics
///
/// What nobody sealed is believed, or what comes out of an authentic packet is not what is in it, or it comes out twice.
pub fn run(bytes: &[u8]) {
    let Some(opener) = opener() else { return };
    let mut forged = bytes.to_vec();
    assert!(opener.open(&mut forged).is_err());
    let text = &bytes[..bytes.len() / 4 * 4];
    let (Some(packet), true) = (seal(text), !text.is_empty()) else {
        return;
    };
    let mut taken = packet.clone();
    if let Ok(inner) = opener.open(&mut taken) {
        assert!(inner.start == HEADROOM && inner.end <= HEADROOM + text.len() - 2);
        assert_eq!(taken[inner.clone()], text[..inner.len()]);
    }
    assert_eq!(opener.open(&mut packet.clone()), Err(Refused::Replayed));
}

fn opener() -> Option<Opener> {
    let key = EspKey::new(Suite::AesGcm128, [&KEY[..], &SALT].concat()).ok()?;
    let opener = Opener::new(FROM, TO, Spi::new(SPI).ok()?, &key, 64).ok()?;
    opener.resume(SEQUENCE - 1);
    Some(opener)
}

/// An authentic packet with `text` inside: payload, padding and trailer.
fn seal(text: &[u8]) -> Option<Vec<u8>> {
    let number = SEQUENCE.to_be_bytes();
    let nonce = [&SALT[..], &IV].concat();
    let nonce = Nonce::assume_unique_for_key(*nonce.first_chunk()?);
    let associated = [&SPI.to_be_bytes()[..], &number].concat();
    let mut sealed = text.to_vec();
    let cipher = CIPHER.as_ref()?;
    let icv = cipher.seal_in_place_separate_tag(nonce, Aad::from(&associated), &mut sealed);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 50, 0, 0];
    packet.extend([FROM.octets(), TO.octets()].concat());
    packet.extend([&SPI.to_be_bytes()[..], &number[4..], &IV, &sealed].concat());
    packet.extend(icv.ok()?.as_ref());
    Some(packet)
}
