//! The side that connects.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use rustls::{crypto::CryptoProvider, pki_types::ServerName};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Connection, Identity, Refusals, TransportError, connection::prepare, tls};
use crate::identity::PublicKey;

/// Connects to other gateways.
#[derive(Clone, Debug)]
pub struct Connector {
    identity: Identity,
    provider: Arc<CryptoProvider>,
    refusals: Arc<Refusals>,
}

impl Connector {
    /// Connects as `identity`; counts connections that end because of what the other gateway sends.
    #[must_use]
    pub fn new(identity: &Identity, refusals: Arc<Refusals>) -> Self {
        Self {
            identity: identity.clone(),
            provider: Arc::new(tls::provider()),
            refusals,
        }
    }

    /// Connects from a link's address to the gateway that has the key `expect`; TCP and TLS together may take `limit`.
    ///
    /// In TLS 1.3 the client is through before the server has seen its key: that the other gateway refuses it shows at the
    /// first [`super::FrameReader::next`].
    ///
    /// # Errors
    ///
    /// Any that [`TransportError`] has for the way to a connection.
    pub async fn connect(
        &self,
        local: Ipv4Addr,
        remote: SocketAddrV4,
        expect: PublicKey,
        limit: Duration,
    ) -> Result<Connection, TransportError> {
        timeout(limit, self.establish(local, remote, expect))
            .await
            .unwrap_or(Err(TransportError::Timeout {
                local,
                remote,
                limit,
            }))
    }

    async fn establish(
        &self,
        local: Ipv4Addr,
        remote: SocketAddrV4,
        expect: PublicKey,
    ) -> Result<Connection, TransportError> {
        let config = tls::client(Arc::clone(&self.provider), &self.identity, expect)
            .map_err(TransportError::Setup)?;
        let stream = reach(local, remote).await?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(
                ServerName::from(std::net::IpAddr::from(*remote.ip())),
                stream,
            )
            .await
            .map_err(|source| TransportError::in_handshake(remote, source))?;
        Connection::over(stream.into(), remote, Arc::clone(&self.refusals))
    }
}

async fn reach(local: Ipv4Addr, remote: SocketAddrV4) -> Result<TcpStream, TransportError> {
    let from = |source| TransportError::Source { local, source };
    let socket = TcpSocket::new_v4().map_err(from)?;
    prepare(&socket).map_err(from)?;
    // The address chooses the link: each has a routing rule for its own.
    socket
        .bind(SocketAddrV4::new(local, 0).into())
        .map_err(from)?;
    socket
        .connect(remote.into())
        .await
        .map_err(|source| TransportError::Connect {
            local,
            remote,
            source,
        })
}
