//! What TLS may and must do here.

use std::sync::Arc;

use rustls::{
    ClientConfig, CommonState, Error, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    client::{AlwaysResolvesClientRawPublicKeys, Resumption},
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage},
    version::TLS13,
};

use super::{
    Identity, KnownKeys,
    verify::{ExpectedServer, KnownClients},
};
use crate::identity::PublicKey;

/// The name of the protocol inside TLS (ALPN).
pub(super) const ALPN: &[u8] = b"withy/1";

/// The library's primitives without any key exchange but the hybrid one.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

/// Configures the side that connects: it accepts the key `expect` only.
pub(super) fn client(
    provider: Arc<CryptoProvider>,
    identity: &Identity,
    expect: PublicKey,
) -> Result<ClientConfig, Error> {
    let verifier = ExpectedServer {
        key: expect,
        algorithms: provider.signature_verification_algorithms,
    };
    let resolver = AlwaysResolvesClientRawPublicKeys::new(identity.certified());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Keys name gateways; what could be said here would only tell listeners on the way.
    config.enable_sni = false;
    Ok(config)
}

/// Configures the side that is connected to: it accepts known keys only.
pub(super) fn server(
    provider: Arc<CryptoProvider>,
    identity: &Identity,
    known: KnownKeys,
) -> Result<ServerConfig, Error> {
    let verifier = KnownClients {
        keys: known,
        algorithms: provider.signature_verification_algorithms,
    };
    let resolver = AlwaysResolvesServerRawPublicKeys::new(identity.certified());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Returns what a handshake's result lacks of what is demanded. The configurations above leave it no choice but in one point: a client
/// that names no protocol is let through by the library. The rest is asserted because so much hangs on it.
pub(super) fn lacking(state: &CommonState) -> Option<&'static str> {
    let group = state
        .negotiated_key_exchange_group()
        .map(SupportedKxGroup::name);
    if state.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        Some("TLS 1.3")
    } else if group != Some(NamedGroup::X25519MLKEM768) {
        Some("the hybrid key exchange X25519MLKEM768")
    } else if state.alpn_protocol() != Some(ALPN) {
        Some("the protocol name \"withy/1\"")
    } else if state.handshake_kind() == Some(HandshakeKind::Resumed) {
        Some("a handshake of its own")
    } else {
        None
    }
}
