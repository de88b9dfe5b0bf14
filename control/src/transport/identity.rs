//! Keys as TLS wants them.

use std::{fmt, sync::Arc};

use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use super::error::TransportError;
use crate::identity::{KEY_LEN, PrivateKey, PublicKey};

/// What stands before an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// What stands before an Ed25519 seed in a `PrivateKeyInfo` (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What this gateway proves to others. It holds the private key; clones share it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
}

impl Identity {
    /// Takes the gateway's key.
    ///
    /// # Errors
    ///
    /// The library refuses it.
    pub fn new(key: &PrivateKey) -> Result<Self, TransportError> {
        let public = key.public().map_err(|_| TransportError::Key)?;
        let mut pkcs8 = Zeroizing::new([0; PKCS8_PREFIX.len() + KEY_LEN]);
        pkcs8[..PKCS8_PREFIX.len()].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[PKCS8_PREFIX.len()..].copy_from_slice(key.seed());
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))
            .map_err(|_| TransportError::Key)?;
        let spki = CertificateDer::from(to_spki(&public));
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![spki], signing)),
            public,
        })
    }

    /// Returns the key by which others know this gateway.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// Writes a key as a `SubjectPublicKeyInfo`, which is what raw public keys are on the wire.
fn to_spki(key: &PublicKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), key.as_bytes()].concat()
}

/// Reads a `SubjectPublicKeyInfo`; none if it is not of an Ed25519 key.
pub(super) fn from_spki(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(PublicKey::new)
}
