//! TCP as fast as it goes: the same block again and again, with nothing hashed, so that what lies between is the limit.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_tcp_congestion;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    netns::{Netns, joined},
    sys,
};

/// What is written and read at once.
const BLOCK: usize = 128 * 1024;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// After this long without progress a sender looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// RFC 9293.
    #[default]
    Tcp,
    /// Multipath TCP, version 1 (RFC 8684).
    Mptcp,
}

impl Flavour {
    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Mptcp => Protocol::MPTCP,
        }
    }
}

/// Where streams go.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Where the sender is.
    pub from: Netns,
    /// Where the receiver is.
    pub to: Netns,
    /// An address of the receiver's.
    pub address: Ipv4Addr,
    /// The senders' and the receivers' TCP.
    pub flavour: Flavour,
}

/// Streams under way. They end when this is dropped.
pub struct Bulk {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    receivers: Vec<JoinHandle<Result<()>>>,
    senders: Vec<JoinHandle<Result<Option<u32>>>>,
    // Subflows of Multipath TCP are connections of their own, which come later: without it they are refused.
    _listener: Socket,
}

impl Bulk {
    /// Connects as many streams and begins to send on each.
    pub fn start(flow: &Flow, streams: u16) -> Result<Self> {
        ensure!(streams > 0, "no streams to send");
        let (listener, pairs) =
            connect(flow, streams).with_context(|| format!("no connection to {}", flow.address))?;
        let mut bulk = Self {
            stop: Arc::default(),
            received: Arc::default(),
            receivers: Vec::new(),
            senders: Vec::new(),
            _listener: listener,
        };
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        for (sender, receiver) in pairs {
            let (received, stop) = (Arc::clone(&bulk.received), Arc::clone(&bulk.stop));
            let work = move || receive(receiver, &received, &stop);
            bulk.receivers.push(thread("bulk-receiver").spawn(work)?);
            let stop = Arc::clone(&bulk.stop);
            let work = move || send(sender, &stop);
            bulk.senders.push(thread("bulk-sender").spawn(work)?);
        }
        Ok(bulk)
    }

    /// Bytes that the receivers have read so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the streams, what is still under way included. Returns the largest segment that they sent last, in bytes of
    /// payload, if the kernel tells. Options of Multipath TCP count as payload there.
    pub fn finish(mut self) -> Result<Option<u32>> {
        self.stop.store(true, Ordering::Release);
        self.receivers
            .drain(..)
            .try_for_each(|thread| joined(thread.join()))?;
        let mut segments = self.senders.drain(..).map(|thread| joined(thread.join()));
        segments.try_fold(None, |largest, segment| {
            segment.map(|segment| largest.max(segment))
        })
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The socket that listens, and both ends of each stream, the sender's first.
fn connect(flow: &Flow, streams: u16) -> Result<(Socket, Vec<(TcpStream, TcpStream)>)> {
    let protocol = Some(flow.flavour.protocol());
    let listener = flow.to.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, protocol)?;
        // Not the flow's address alone: subflows of one connection come to others, too.
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        socket.listen(i32::from(streams))?;
        Ok(socket)
    })?;
    let port = listener.local_addr()?.as_socket_ipv4();
    let port = port.context("no address of IPv4")?.port();
    let target = SocketAddr::from((flow.address, port)).into();
    // Without it a peer that does not answer would hold the bench up for good.
    listener.set_read_timeout(Some(CONNECT_LIMIT))?;
    let pairs = (0..streams)
        .map(|_| {
            let sender = flow.from.enter(|| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, protocol)?;
                use_cubic(&socket)?;
                socket.connect_timeout(&target, CONNECT_LIMIT)?;
                Ok(socket)
            })?;
            let (receiver, _) = listener.accept()?;
            sender.set_write_timeout(Some(PATIENCE))?;
            receiver.set_read_timeout(Some(PATIENCE))?;
            // What was not taken when the streams end is given up, and burdens nothing that is measured later.
            sender.set_linger(Some(Duration::ZERO))?;
            Ok((sender.into(), receiver.into()))
        })
        .collect::<Result<_>>()?;
    Ok((listener, pairs))
}

/// Kernels differ in their default. One without the module is left with its own.
fn use_cubic(socket: &Socket) -> Result<()> {
    match set_tcp_congestion(socket, "cubic") {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sends until told to stop; returns the connection's segment size then.
fn send(mut stream: TcpStream, stop: &AtomicBool) -> Result<Option<u32>> {
    let block = vec![0x5a; BLOCK];
    while !stop.load(Ordering::Acquire) {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if passes(&error) => {}
            // The receiver was told to stop first.
            Err(_) if stop.load(Ordering::Acquire) => {}
            Err(error) => return Err(error).context("a sender"),
        }
    }
    // A connection of Multipath TCP whose first subflow has gone has nothing to tell.
    let info = sys::tcp::info(&stream).ok();
    Ok(info.map(|info| info.segment_size))
}

fn receive(mut stream: TcpStream, received: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut block = vec![0; BLOCK];
    while !stop.load(Ordering::Acquire) {
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if passes(&error) => {}
            // The sender's end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("a receiver"),
        }
    }
    Ok(())
}

fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
