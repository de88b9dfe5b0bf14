//! What can go wrong between gateways.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use rustls::{AlertDescription, CertificateError};

use crate::wire::WireError;

/// Why there is no control connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The library refuses the gateway's own key.
    #[error("this gateway's private key cannot be used: make another one with `withy genkey`")]
    Key,
    /// The library refuses what it is asked for.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
    /// The port cannot be listened on.
    #[error(
        "cannot listen on TCP port {port}: {source}; `ss -ltnp sport = {port}` shows what holds it"
    )]
    Bind {
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// A link's address cannot be used.
    #[error("cannot connect from {local}: {source}; is it an address of this gateway?")]
    Source {
        /// The link's address.
        local: Ipv4Addr,
        /// The system's error.
        source: io::Error,
    },
    /// Nothing listens there, or it cannot be reached.
    #[error(
        "cannot connect from {local} to {remote}: {source}; is the other gateway's daemon running?"
    )]
    Connect {
        /// The link's address.
        local: Ipv4Addr,
        /// The other gateway.
        remote: SocketAddrV4,
        /// The system's error.
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "the gateway at {remote} did not answer {local} within {limit:?}; does something on the way drop TCP?"
    )]
    Timeout {
        /// The link's address.
        local: Ipv4Addr,
        /// The other gateway.
        remote: SocketAddrV4,
        /// How long it may take.
        limit: Duration,
    },
    /// The other gateway is not the one that it should be.
    #[error("the gateway at {0} has another key than the tunnel's `peer.key`")]
    WrongKey(SocketAddrV4),
    /// This gateway is not the one that the other one expects.
    #[error(
        "the gateway at {0} refuses this gateway's key: what `withy pubkey` prints here must stand as a `peer.key` there"
    )]
    Refused(SocketAddrV4),
    /// TLS failed.
    #[error("no TLS with {remote}: {source}; do both gateways run the same version of Withy?")]
    Handshake {
        /// The other gateway.
        remote: SocketAddrV4,
        /// The library's error.
        source: io::Error,
    },
    /// The handshake went through with less than is demanded.
    #[error("the connection with {remote} lacks {lacking}")]
    Weak {
        /// The other gateway.
        remote: SocketAddrV4,
        /// What it lacks.
        lacking: &'static str,
    },
    /// An established connection broke off.
    #[error("the connection with {remote} broke off: {source}")]
    Lost {
        /// The other gateway.
        remote: SocketAddrV4,
        /// The system's or the library's error.
        source: io::Error,
    },
    /// The other gateway sends what is no message.
    #[error("the gateway at {remote} does not speak the protocol: {source}")]
    Wire {
        /// The other gateway.
        remote: SocketAddrV4,
        /// What is wrong.
        source: WireError,
    },
}

impl TransportError {
    /// Tells what an error of a handshake with `remote` means.
    pub(super) fn in_handshake(remote: SocketAddrV4, source: io::Error) -> Self {
        about_keys(remote, &source).unwrap_or(Self::Handshake { remote, source })
    }

    /// Tells what an error of an established connection with `remote` means. In TLS 1.3 a client learns only there that it
    /// has been refused.
    pub(super) fn in_use(remote: SocketAddrV4, source: io::Error) -> Self {
        about_keys(remote, &source).unwrap_or(Self::Lost { remote, source })
    }
}

fn about_keys(remote: SocketAddrV4, error: &io::Error) -> Option<TransportError> {
    if is_unknown_key(error) {
        return Some(TransportError::WrongKey(remote));
    }
    let refused = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    (of_tls(error) == Some(&refused)).then_some(TransportError::Refused(remote))
}

/// Whether this side has refused the other's key.
pub(super) fn is_unknown_key(error: &io::Error) -> bool {
    of_tls(error) == Some(&UNKNOWN_KEY)
}

/// What verifiers say of a key that is not to be accepted. The other side gets it as the alert `access_denied`.
pub(super) const UNKNOWN_KEY: rustls::Error =
    rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
