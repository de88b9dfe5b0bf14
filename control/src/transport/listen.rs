//! The side that is connected to. Anyone can reach it.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{
    Connection, Identity, KnownKeys, Limits, Refusals, TransportError,
    connection::prepare,
    error::is_unknown_key,
    gate::{Gate, Pass},
    refusals::Refusal,
    tls,
};

/// How many connections wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait where the system cannot accept, being out of file descriptors for one.
const RECOVERY: Duration = Duration::from_millis(100);
/// How long a refused client may take to read why.
const GOODBYE: Duration = Duration::from_secs(1);

/// Awaits connections from gateways with known keys.
pub struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    limits: Limits,
    refusals: Arc<Refusals>,
}

impl Listener {
    /// Listens on a TCP port of all addresses, and counts what it refuses. Must be called in a runtime.
    ///
    /// # Errors
    ///
    /// The port cannot be had.
    pub fn bind(
        port: u16,
        identity: &Identity,
        known: KnownKeys,
        limits: Limits,
        refusals: Arc<Refusals>,
    ) -> Result<Self, TransportError> {
        let config = tls::server(Arc::new(tls::provider()), identity, known)
            .map_err(TransportError::Setup)?;
        Ok(Self {
            socket: listen(port).map_err(|source| TransportError::Bind { port, source })?,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            limits,
            refusals,
        })
    }

    /// Returns the port, which the system chooses where 0 was asked for.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn port(&self) -> io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }

    /// Hands over connections until nobody takes them any more. Giving up the wait ends the handshakes that are under way.
    pub async fn accept(self, connections: mpsc::Sender<Connection>) {
        let gate = Gate::new(&self.limits, Instant::now());
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                () = connections.closed() => return,
                Some(_) = handshakes.join_next() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, SocketAddr::V4(remote))) => {
                        match gate.admit(*remote.ip(), Instant::now()) {
                            Ok(pass) => {
                                let handshake = self.handshake(stream, remote);
                                handshakes.spawn(handshake.run(pass, connections.clone()));
                            }
                            Err(refusal) => self.turn_away(&stream, refusal),
                        }
                    }
                    Ok((_, SocketAddr::V6(_))) => {}
                    Err(error) => {
                        warn!("cannot accept connections: {error}");
                        sleep(RECOVERY).await;
                    }
                },
            }
        }
    }

    fn handshake(&self, stream: TcpStream, remote: SocketAddrV4) -> Handshake {
        Handshake {
            stream,
            remote,
            acceptor: self.acceptor.clone(),
            time: self.limits.time,
            refusals: Arc::clone(&self.refusals),
        }
    }

    /// Refuses a connection before its handshake.
    fn turn_away(&self, stream: &TcpStream, refusal: Refusal) {
        self.refusals.count(refusal);
        reset(stream);
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

/// Lets a connection be closed by a reset, which leaves no state behind in the kernel; if that fails it is closed all the same.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A handshake that is under way.
struct Handshake {
    stream: TcpStream,
    remote: SocketAddrV4,
    acceptor: TlsAcceptor,
    time: Duration,
    refusals: Arc<Refusals>,
}

impl Handshake {
    async fn run(self, mut pass: Pass, connections: mpsc::Sender<Connection>) {
        let deadline = tokio::time::Instant::now() + self.time;
        let (refusals, remote) = (Arc::clone(&self.refusals), self.remote);
        let (refusal, stream) = match timeout_at(deadline, self.shake(&mut pass)).await {
            Ok(Ok(connection)) => {
                pass.proved();
                // Without a receiver the listener ends.
                let _ = connections.send(connection).await;
                return;
            }
            Ok(Err(refused)) => refused,
            Err(_) => (Refusal::Timeout, None),
        };
        refusals.count(refusal);
        debug!(%remote, ?refusal, "refused");
        pass.failed();
        if let Some(stream) = stream {
            let _ = timeout(GOODBYE, part(stream)).await;
        }
    }

    /// Leads to a connection, or tells why not, with the socket where the client is to read it.
    async fn shake(self, pass: &mut Pass) -> Result<Connection, (Refusal, Option<TcpStream>)> {
        if let Err(error) = prepare(&self.stream) {
            debug!("cannot set up a socket: {error}");
        }
        if let Err(refusal) = self.first_byte(pass).await {
            reset(&self.stream);
            return Err((refusal, None));
        }
        let remote = self.remote;
        let accepting = self.acceptor.accept(self.stream).into_fallible();
        let accepted = tokio::select! {
            _ = &mut pass.out => return Err((Refusal::HalfOpen, None)),
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(stream) => Connection::over(stream.into(), remote, self.refusals).map_err(|error| {
                debug!("{error}");
                (Refusal::Tls, None)
            }),
            Err((error, stream)) => {
                debug!(%remote, "no TLS: {error}");
                let refusal = if is_unknown_key(&error) {
                    Refusal::UnknownKey
                } else {
                    Refusal::Tls
                };
                Err((refusal, Some(stream)))
            }
        }
    }

    /// Awaits that the client says something, for as long as its place is not needed.
    async fn first_byte(&self, pass: &mut Pass) -> Result<(), Refusal> {
        let mut byte = [0];
        let came = tokio::select! {
            _ = &mut pass.out => return Err(Refusal::HalfOpen),
            came = self.stream.peek(&mut byte) => came,
        };
        match came {
            Ok(1) => pass.speaks(Instant::now()),
            Ok(_) | Err(_) => Err(Refusal::Tls),
        }
    }
}

/// Lets a refused client read the alert: a socket that is closed with something unread in it resets the connection.
async fn part(mut stream: TcpStream) {
    let mut unread = [0; 1024];
    if stream.shutdown().await.is_ok() {
        while !matches!(stream.read(&mut unread).await, Ok(0) | Err(_)) {}
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("socket", &self.socket)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
