//! One connection of a transfer: two threads, each with its own end.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_tcp_congestion;
use socket2::{Domain, Socket, Type};

use super::{ConnectionReport, TcpInfo};
use crate::{
    netns::joined,
    sys,
    traffic::{content::Content, meter::Meter},
};

const BLOCK: usize = 16 * 1024;

/// What a paced connection sends at once.
const PACED_BLOCK: usize = 2 * 1024;

/// Connects within `limit`, which also holds for every later read and write.
pub(super) fn connect(target: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // The goals are stated for CUBIC; kernels differ in their default. Without the module the
    // default stays, which is Reno then.
    match set_tcp_congestion(&socket, "cubic") {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    socket.connect_timeout(&target.into(), limit)?;
    socket.set_write_timeout(Some(limit))?;
    // The sender learns of the end by the receiver's FIN.
    socket.set_read_timeout(Some(limit))?;
    Ok(socket.into())
}

/// Bytes that went one way, and their hash.
struct Passed {
    bytes: u64,
    hash: blake3::Hash,
}

/// When a sender has sent enough.
pub(super) enum End {
    After(u64),
    At(Instant),
}

/// What a sender sends, and until when.
pub(super) struct Source {
    pub(super) content: Content,
    pub(super) end: End,
    /// Start, and bits a second from then on.
    pub(super) pace: Option<(Instant, u64)>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Source {
    /// How many of `block` bytes may follow after `sent`.
    fn allowance(&self, sent: u64, block: usize) -> usize {
        if self.stop.load(Ordering::Acquire) {
            return 0;
        }
        match self.end {
            End::After(bytes) => usize::try_from(bytes - sent).unwrap_or(block).min(block),
            End::At(end) if Instant::now() >= end => 0,
            End::At(_) => block,
        }
    }

    /// Waits until the byte after `sent` is due; returns how many may go at once then.
    fn wait_for_turn(&self, sent: u64) -> usize {
        let Some((start, rate)) = self.pace else {
            return BLOCK;
        };
        let due = start + Duration::from_micros(sent.saturating_mul(8_000_000) / rate.max(1));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        PACED_BLOCK
    }
}

/// One connection under way.
pub(super) struct Connection {
    sender: JoinHandle<Result<(Passed, TcpInfo)>>,
    receiver: JoinHandle<Result<Passed>>,
}

impl Connection {
    pub(super) fn start(
        source: Source,
        sender: TcpStream,
        receiver: TcpStream,
        meter: Arc<Meter>,
    ) -> Result<Self> {
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let receiver = thread("tcp-receiver").spawn(move || receive(receiver, &meter))?;
        let sender = thread("tcp-sender").spawn(move || send(sender, source))?;
        Ok(Self { sender, receiver })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.sender.is_finished() && self.receiver.is_finished()
    }

    pub(super) fn finish(self) -> Result<ConnectionReport> {
        let received = joined(self.receiver.join()).context("the receiver")?;
        let (sent, info) = joined(self.sender.join()).context("the sender")?;
        Ok(ConnectionReport {
            sent: sent.bytes,
            received: received.bytes,
            contents_equal: sent.bytes == received.bytes && sent.hash == received.hash,
            info,
        })
    }
}

fn send(mut stream: TcpStream, mut source: Source) -> Result<(Passed, TcpInfo)> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    let mut sent = 0;
    loop {
        let block_length = source.wait_for_turn(sent);
        let length = source.allowance(sent, block_length);
        if length == 0 {
            break;
        }
        source.content.fill(&mut block[..length]);
        hasher.update(&block[..length]);
        stream
            .write_all(&block[..length])
            .with_context(|| format!("after {sent} bytes"))?;
        sent += length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    // The receiver closes once it has everything: TCP_INFO is complete then.
    let rest = stream
        .read(&mut block)
        .context("waiting for the receiver's end")?;
    ensure!(rest == 0, "the receiver sent {rest} bytes");
    Ok((
        Passed {
            bytes: sent,
            hash: hasher.finalize(),
        },
        sys::tcp::info(&stream)?,
    ))
}

fn receive(mut stream: TcpStream, meter: &Meter) -> Result<Passed> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK * 4];
    let mut bytes = 0;
    loop {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(length) => {
                meter.record(length);
                hasher.update(&block[..length]);
                bytes += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("after {bytes} bytes")),
        }
    }
    Ok(Passed {
        bytes,
        hash: hasher.finalize(),
    })
}
