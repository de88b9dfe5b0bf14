//! Whom to trust: whoever holds a key that is known here, and nobody else.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use tracing::debug;

use super::{error::UNKNOWN_KEY, identity};
use crate::identity::PublicKey;

/// The keys of the gateways that may connect. Clones share the set, so that it can be replaced while a listener uses it.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys(Arc<RwLock<BTreeSet<PublicKey>>>);

impl KnownKeys {
    /// Starts with these keys.
    #[must_use]
    pub fn new(keys: BTreeSet<PublicKey>) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Accepts these keys and no others from the next handshake on. Established connections stay.
    pub fn replace(&self, keys: BTreeSet<PublicKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether the key is among them.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }
}

/// Accepts servers with one key.
#[derive(Debug)]
pub(super) struct ExpectedServer {
    pub(super) key: PublicKey,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Accepts clients with a known key.
#[derive(Debug)]
pub(super) struct KnownClients {
    pub(super) keys: KnownKeys,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Reads the one key that a side presents.
fn presented(
    entity: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Result<PublicKey, Error> {
    identity::from_spki(entity)
        .filter(|_| others.is_empty())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Checks that the handshake is signed by the key in `entity`, which has been accepted before.
fn check_signature(
    message: &[u8],
    entity: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = SubjectPublicKeyInfoDer::from(entity.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

fn no_tls12<T>() -> Result<T, Error> {
    Err(Error::General("TLS 1.2 is not spoken".to_owned()))
}

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if presented(entity, others)? == self.key {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(UNKNOWN_KEY)
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _entity: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        entity: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, entity, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KnownClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = presented(entity, others)?;
        if self.keys.contains(&key) {
            Ok(ClientCertVerified::assertion())
        } else {
            debug!(%key, "refused: no tunnel has this key");
            Err(UNKNOWN_KEY)
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _entity: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        entity: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, entity, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
