//! The suites' ciphers.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::{
    layout::{ICV, IV},
    refused::Refused,
};
use crate::{reconcile::objects::EspKey, suite::Suite};

/// Why there can be no SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The engine has AEADs only.
    #[error("Withy's own ESP engine does not have {0}")]
    Suite(Suite),
    /// The source of random numbers fails.
    #[error("there are no random numbers")]
    Random,
}

/// A key with its cipher.
#[derive(Debug)]
pub(super) struct Cipher {
    key: LessSafeKey,
    salt: [u8; 4],
}

impl Cipher {
    pub(super) fn new(key: &EspKey) -> Result<Self, Unusable> {
        let suite = key.suite();
        let algorithm = match suite {
            Suite::AesGcm128 => &AES_128_GCM,
            Suite::AesGcm256 => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::AesCbc128HmacSha256 | Suite::AesCbc256HmacSha256 => {
                return Err(Unusable::Suite(suite));
            }
        };
        // The salt comes last in the keying material (RFC 4106 section 8.1, RFC 7634 section 2).
        let (key, salt) = key
            .cipher()
            .split_last_chunk()
            .ok_or(Unusable::Suite(suite))?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| Unusable::Suite(suite))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt: *salt,
        })
    }

    /// Encrypts in place and returns the ICV. No `iv` may come twice.
    pub(super) fn seal(
        &self,
        iv: [u8; IV],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; ICV], Refused> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(associated), text);
        let tag = tag.map_err(|_| Refused::Oversized)?;
        tag.as_ref().try_into().map_err(|_| Refused::Oversized)
    }

    /// Decrypts in place what has its ICV behind it.
    pub(super) fn open(
        &self,
        iv: [u8; IV],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<(), Refused> {
        let opened = self
            .key
            .open_in_place(self.nonce(iv), Aad::from(associated), text);
        opened.map(drop).map_err(|_| Refused::Forged)
    }

    fn nonce(&self, iv: [u8; IV]) -> Nonce {
        let mut nonce = [0; 4 + IV];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }
}
