//! From a connection's handshake to the keys of an SVC: HKDF-SHA-256 (RFC 5869).

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::suite::Suite;

/// The salt of all derivations.
const SALT: &[u8] = b"withy control protocol 1";

/// A secret that only the two ends of a connection have: from the TLS exporter (RFC 8446 section 7.5).
#[derive(Clone)]
pub struct ConnectionSecret(Zeroizing<[u8; 32]>);

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the initiator to the responder.
    ToResponder,
    /// From the responder to the initiator.
    ToInitiator,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl ConnectionSecret {
    /// Takes what the exporter gave.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// The secret of the SVC whose keys come from this connection.
    pub(super) fn svc(&self) -> Zeroizing<[u8; 32]> {
        self.derive_array(&[b"svc"])
    }

    /// What ties a proof to this connection.
    pub(super) fn binding(&self) -> Zeroizing<[u8; 32]> {
        self.derive_array(&[b"binding"])
    }

    /// The key material of an SA.
    pub(super) fn esp(&self, suite: Suite, way: Way, spi: u32) -> Zeroizing<Vec<u8>> {
        let way: &[u8] = match way {
            Way::ToResponder => b"to responder",
            Way::ToInitiator => b"to initiator",
        };
        let mut material = Zeroizing::new(vec![0; suite.material_len()]);
        self.derive(
            &[b"esp", suite.name().as_bytes(), way, &spi.to_be_bytes()],
            &mut material,
        );
        material
    }

    fn derive_array(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.derive(info, bytes.as_mut());
        bytes
    }

    fn derive(&self, purpose: &[&[u8]], into: &mut [u8]) {
        let key = Salt::new(HKDF_SHA256, SALT).extract(self.0.as_ref());
        // It fails for more than 255 blocks of 32 bytes only.
        let filled = key
            .expand(purpose, Length(into.len()))
            .and_then(|output| output.fill(into));
        debug_assert!(filled.is_ok(), "a key of at most 64 bytes");
    }
}

impl fmt::Debug for ConnectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let secret = ConnectionSecret::new(Zeroizing::new([7; 32]));
        let other = ConnectionSecret::new(Zeroizing::new([8; 32]));
        let esp = |secret: &ConnectionSecret, way, spi| {
            secret.esp(Suite::AesGcm256, way, spi)[..32].to_vec()
        };
        let keys = [
            secret.svc().to_vec(),
            secret.binding().to_vec(),
            other.svc().to_vec(),
            esp(&secret, Way::ToResponder, 300),
            esp(&secret, Way::ToInitiator, 300),
            esp(&secret, Way::ToInitiator, 301),
            esp(&other, Way::ToInitiator, 301),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key) && key.iter().any(|byte| *byte != 0));
        }
        for suite in Suite::ALL {
            let material = secret.esp(suite, Way::ToResponder, 300);
            assert_eq!(material.len(), suite.material_len());
        }
        assert_eq!(format!("{secret:?}"), "ConnectionSecret(hidden)");
    }
}
