//! Clients and servers that demand less than they should.

use rustls::{
    ClientConfig, HandshakeKind, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::*;
use crate::{
    transport::{tls, verify::ExpectedServer},
    wire::{self, Echo, Message},
};

/// A server and the configuration of a client that it accepts.
fn good(provider: CryptoProvider) -> (Server, ClientConfig) {
    let client = identity();
    let server = Server::start(keys([&client]), patient());
    let config = tls::client(Arc::new(provider), &client, server.identity.public()).unwrap();
    (server, config)
}

async fn dial(
    server: &Server,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = std::net::IpAddr::from(*server.address.ip()).into();
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

/// Checks that a client gets nowhere, and is counted.
async fn assert_refused(server: &mut Server, config: ClientConfig) {
    let before = server.refused("tls");
    if let Ok(mut stream) = dial(server, &Arc::new(config)).await {
        let read = timeout(HANGS, stream.read_u8()).await.unwrap();
        assert!(read.is_err());
    }
    assert_eq!(server.refused("tls"), before + 1);
    assert!(server.connections.try_recv().is_err());
}

fn classical() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

#[tokio::test]
async fn a_client_without_the_hybrid_key_exchange() {
    let (mut server, config) = good(classical());
    assert_refused(&mut server, config).await;
}

#[tokio::test]
async fn a_client_with_all_key_exchanges_gets_the_hybrid_one() {
    let (mut server, config) = good(aws_lc_rs::default_provider());
    dial(&server, &Arc::new(config)).await.unwrap();
    server.accepted().await;
}

#[tokio::test]
async fn a_server_without_the_hybrid_key_exchange() {
    let (ours, theirs) = (identity(), identity());
    let known = KnownKeys::new(keys([&ours]));
    let config = tls::server(Arc::new(classical()), &theirs, known).unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let remote = SocketAddrV4::new(Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await
    });
    let connector = Connector::new(&ours, Arc::default());
    let error = connector
        .connect(HERE, remote, theirs.public(), HANGS)
        .await;
    assert!(matches!(error, Err(TransportError::Handshake { .. })));
}

/// The `ClientHello` of a client that speaks TLS 1.2 and nothing newer.
fn hello_of_tls12() -> Vec<u8> {
    let head = [0x16, 3, 1, 0, 59, 1, 0, 0, 55, 3, 3];
    let random = [0x42; 32];
    // No session, one suite, no compression.
    let choices = [0, 0, 2, 0xc0, 0x2b, 1, 0];
    // The schemes of signatures: Ed25519; and the extended master secret.
    let extensions = [0, 12, 0, 13, 0, 4, 0, 2, 8, 7, 0, 23, 0, 0];
    [&head[..], &random, &choices, &extensions].concat()
}

#[tokio::test]
async fn a_client_with_tls_1_2_only() {
    let (server, _) = good(tls::provider());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&hello_of_tls12()).await.unwrap();
    let mut answer = [0; 7];
    let read = timeout(HANGS, stream.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
    // A fatal alert, protocol_version.
    assert_eq!((answer[0], &answer[5..]), (21, [2, 70].as_slice()));
    assert_eq!(server.refused("tls"), 1);
}

/// A key that is presented as a client sees fit.
#[derive(Debug)]
struct Presents {
    key: Option<Arc<CertifiedKey>>,
    raw: bool,
}

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.clone()
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_without_a_raw_public_key() {
    let client = identity();
    let mut server = Server::start(keys([&client]), patient());
    let certificate = Presents {
        key: Some(client.certified()),
        raw: false,
    };
    let nothing = Presents {
        key: None,
        raw: true,
    };
    for resolver in [certificate, nothing] {
        let key = server.identity.public();
        let mut config = tls::client(Arc::new(tls::provider()), &client, key).unwrap();
        config.client_auth_cert_resolver = Arc::new(resolver);
        assert_refused(&mut server, config).await;
    }
    let provider = Arc::new(tls::provider());
    let verifier = ExpectedServer {
        key: server.identity.public(),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut anonymous = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    anonymous.alpn_protocols = vec![tls::ALPN.to_vec()];
    assert_refused(&mut server, anonymous).await;
}

/// A client that has seen another's key, and has not its secret.
#[tokio::test]
async fn a_client_with_a_key_that_is_not_its_own() {
    let (client, thief) = (identity(), identity());
    let mut server = Server::start(keys([&client]), patient());
    let mut forged = CertifiedKey::clone(&client.certified());
    forged.key = Arc::clone(&thief.certified().key);
    let key = server.identity.public();
    let mut config = tls::client(Arc::new(tls::provider()), &thief, key).unwrap();
    config.client_auth_cert_resolver = Arc::new(Presents {
        key: Some(Arc::new(forged)),
        raw: true,
    });
    assert_refused(&mut server, config).await;
}

#[tokio::test]
async fn a_client_of_another_protocol() {
    for protocols in [vec![], vec![b"h2".to_vec()]] {
        let (mut server, mut config) = good(tls::provider());
        config.alpn_protocols = protocols;
        assert_refused(&mut server, config).await;
    }
}

#[tokio::test]
async fn a_client_that_wants_to_resume() {
    let (mut server, mut config) = good(tls::provider());
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..2 {
        let mut stream = dial(&server, &config).await.unwrap();
        let (_reader, mut writer) = server.accepted().await.split();
        let bytes = wire::encode(1, &Message::Echo(Echo {}));
        writer.send(&bytes).await.unwrap();
        let mut received = vec![0; bytes.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, bytes);
        let (_, state) = stream.get_ref();
        assert_eq!(state.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(state.tls13_tickets_received(), 0);
    }
}
