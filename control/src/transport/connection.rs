//! An established connection.

use std::{
    fmt, io,
    net::{SocketAddr, SocketAddrV4},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;
use zeroize::Zeroizing;

use super::{Refusals, TransportError, identity, tls};
use crate::{
    identity::PublicKey,
    wire::{Decoder, Frame},
};

/// The length in bytes of a connection's secret.
pub const SECRET_LEN: usize = 32;
/// The label of the secret for TLS's exporter (RFC 8446 section 7.5); there is no context.
const SECRET_LABEL: &[u8] = b"EXPORTER-withy-connection-1";
/// How long what has been sent may wait for an acknowledgement before the connection counts as broken.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read at once in bytes.
const CHUNK: usize = 4096;

/// A connection with a gateway that has proved its key. Dropping it breaks it off.
pub struct Connection {
    /// The other gateway's key.
    pub peer: PublicKey,
    /// This end.
    pub local: SocketAddrV4,
    /// The other end.
    pub remote: SocketAddrV4,
    /// What only the two gateways know, and is of this connection alone.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
    /// Where it is counted that it ends because of what the other gateway sends.
    pub(super) refusals: Arc<Refusals>,
    stream: TlsStream<TcpStream>,
}

/// The half of a connection that receives.
#[derive(Debug)]
pub struct FrameReader {
    half: ReadHalf<TlsStream<TcpStream>>,
    remote: SocketAddrV4,
    decoder: Decoder,
    chunk: Box<[u8; CHUNK]>,
}

/// The half of a connection that sends.
#[derive(Debug)]
pub struct FrameWriter {
    half: WriteHalf<TlsStream<TcpStream>>,
    remote: SocketAddrV4,
}

/// The longest TCP segment in bytes: nearly every path carries it (IPv6's smallest MTU less the headers of IPv4 and TCP). What the path does
/// carry is found out only when the connection stands, and a first flight with a post-quantum key is longer than one segment.
const SEGMENT: u32 = 1240;

/// Sets what both sides want of TCP: short segments, which cross narrow paths from which no ICMP comes; small messages leave at once, and what is not acknowledged ends the connection. Whether an idle
/// one lives is found out above.
pub(super) fn prepare(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(false)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

impl Connection {
    /// Takes over a stream after its handshake.
    pub(super) fn over(
        stream: TlsStream<TcpStream>,
        remote: SocketAddrV4,
        refusals: Arc<Refusals>,
    ) -> Result<Self, TransportError> {
        let weak = |lacking| TransportError::Weak { remote, lacking };
        let (socket, state) = stream.get_ref();
        if let Some(lacking) = tls::lacking(state) {
            return Err(weak(lacking));
        }
        let peer = match state.peer_certificates() {
            Some([key]) => identity::from_spki(key),
            _ => None,
        };
        let local = match socket.local_addr() {
            Ok(SocketAddr::V4(local)) => local,
            Ok(SocketAddr::V6(_)) => return Err(weak("an IPv4 address")),
            Err(source) => return Err(TransportError::Lost { remote, source }),
        };
        Ok(Self {
            peer: peer.ok_or(weak("the other gateway's key"))?,
            local,
            remote,
            secret: export(&stream).map_err(|error| TransportError::Handshake {
                remote,
                source: io::Error::other(error),
            })?,
            refusals,
            stream,
        })
    }

    /// Returns both directions. The connection ends when both are dropped.
    #[must_use]
    pub fn split(self) -> (FrameReader, FrameWriter) {
        let (reading, writing) = tokio::io::split(self.stream);
        let reader = FrameReader {
            half: reading,
            remote: self.remote,
            decoder: Decoder::default(),
            chunk: Box::new([0; CHUNK]),
        };
        let writer = FrameWriter {
            half: writing,
            remote: self.remote,
        };
        (reader, writer)
    }
}

fn export(stream: &TlsStream<TcpStream>) -> Result<Zeroizing<[u8; SECRET_LEN]>, rustls::Error> {
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    let output = secret.as_mut_slice();
    match stream {
        TlsStream::Client(stream) => {
            let (_, state) = stream.get_ref();
            state.export_keying_material(output, SECRET_LABEL, None)?;
        }
        TlsStream::Server(stream) => {
            let (_, state) = stream.get_ref();
            state.export_keying_material(output, SECRET_LABEL, None)?;
        }
    }
    Ok(secret)
}

impl FrameReader {
    /// Awaits the next message; none when the other gateway has closed the connection in order. Giving up the wait loses nothing.
    ///
    /// # Errors
    ///
    /// The connection broke off, what comes is no message, or the other gateway has refused this one's key. Nothing
    /// comes after an error.
    pub async fn next(&mut self) -> Result<Option<Frame>, TransportError> {
        loop {
            let polled = self.decoder.poll();
            if let Some(frame) = polled.map_err(|source| self.unreadable(source))? {
                return Ok(Some(frame));
            }
            let length = self.fill().await?;
            if length == 0 {
                return Ok(None);
            }
            self.decoder.push(&self.chunk[..length]);
        }
    }

    /// Throws away what comes until nothing comes any more.
    pub(super) async fn discard(&mut self) {
        while !matches!(self.fill().await, Ok(0) | Err(_)) {}
    }

    async fn fill(&mut self) -> Result<usize, TransportError> {
        let read = self.half.read(self.chunk.as_mut_slice()).await;
        read.map_err(|source| TransportError::in_use(self.remote, source))
    }

    fn unreadable(&self, source: crate::wire::WireError) -> TransportError {
        TransportError::Wire {
            remote: self.remote,
            source,
        }
    }
}

impl FrameWriter {
    /// Sends bytes, as [`crate::wire::encode`] makes them. Giving up the wait may leave a part of them sent.
    ///
    /// # Errors
    ///
    /// The connection broke off.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let sent = match self.half.write_all(bytes).await {
            // TLS keeps what TCP does not take at once.
            Ok(()) => self.half.flush().await,
            Err(error) => Err(error),
        };
        sent.map_err(|source| TransportError::in_use(self.remote, source))
    }

    /// Tells the other gateway that no more comes.
    ///
    /// # Errors
    ///
    /// The connection broke off.
    pub async fn close(&mut self) -> Result<(), TransportError> {
        let closed = self.half.shutdown().await;
        closed.map_err(|source| TransportError::in_use(self.remote, source))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}
