//! The physical limit: encrypting alone, on one thread, with nothing to carry.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of each packet.
const PACKET: u16 = 1400;

/// Packets between two looks at the clock.
const BATCH: u32 = 256;

/// Seals packets with AES-256-GCM for `time` and returns bits a second of what is sealed.
pub(super) fn goodput_bps(time: Duration) -> Result<f64> {
    let key = UnboundKey::new(&AES_256_GCM, &[0x42; 32]).map_err(|_| anyhow!("no key"))?;
    let key = LessSafeKey::new(key);
    let mut packet = vec![0x5a; usize::from(PACKET)];
    let (start, mut sealed) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        for _ in 0..BATCH {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&sealed.to_be_bytes());
            // ESP authenticates its header: SPI and sequence number.
            let aad = Aad::from([0; 8]);
            let tag = key
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut packet)
                .map_err(|_| anyhow!("cannot seal"))?;
            let _tag = std::hint::black_box(tag);
            sealed += 1;
        }
    }
    Ok(f64::from(sealed) * f64::from(PACKET) * 8.0 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_gets_somewhere() {
        assert!(goodput_bps(Duration::from_millis(20)).unwrap() > 1e6);
    }
}
