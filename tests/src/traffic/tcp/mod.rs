//! Bulk TCP transfers, checked by hash and measured at the receiver.

mod connection;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::connection::{Connection, End, Source, connect};
use super::{
    content::Content,
    meter::{Meter, Timeline},
};
use crate::netns::Netns;
pub use crate::sys::tcp::TcpInfo;

/// How much a transfer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// As many bytes, divided evenly among the connections.
    Bytes(u64),
    /// As much as goes in this time. What is still in the sender's buffer then arrives later.
    Time(Duration),
}

/// A transfer of bytes from a namespace to an address in another.
#[derive(Clone, Debug)]
pub struct Transfer {
    from: Netns,
    to: Netns,
    address: Ipv4Addr,
    volume: Volume,
    connections: u16,
    seed: u64,
    marker: Vec<u8>,
    stall_limit: Duration,
    /// Bits a second that each connection is given; none: as much as goes.
    pace_bps: Option<u64>,
}

/// What became of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Whether the bytes received were those sent.
    pub contents_equal: bool,
    /// The sender's view once everything had been acknowledged.
    pub info: TcpInfo,
}

/// What became of a transfer.
#[derive(Clone, Debug)]
pub struct Report {
    /// When how much arrived, over all connections.
    pub timeline: Timeline,
    /// Each connection.
    pub connections: Vec<ConnectionReport>,
}

impl Report {
    /// Whether every connection delivered what was sent on it.
    #[must_use]
    pub fn contents_equal(&self) -> bool {
        self.connections
            .iter()
            .all(|connection| connection.contents_equal)
    }

    /// Segments sent again.
    #[must_use]
    pub fn retransmits(&self) -> u32 {
        self.connections
            .iter()
            .map(|connection| connection.info.retransmits)
            .sum()
    }

    /// Bits a second of contents at the receiver, from the first bytes to the last.
    #[must_use]
    pub fn goodput_bps(&self) -> f64 {
        self.timeline.goodput_bps()
    }

    /// The longest time in which nothing new arrived.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.timeline.longest_gap().0
    }
}

impl Transfer {
    /// Plans a transfer from `from` to `address`, which is an address of `to`.
    #[must_use]
    pub fn new(from: &Netns, to: &Netns, address: Ipv4Addr, volume: Volume) -> Self {
        Self {
            from: from.clone(),
            to: to.clone(),
            address,
            volume,
            connections: 1,
            seed: 1,
            marker: Vec::new(),
            stall_limit: Duration::from_secs(30),
            pace_bps: None,
        }
    }

    /// Gives each connection no more than a rate in bits a second, in blocks of 2 KiB: below what
    /// the path carries, nothing queues.
    #[must_use]
    pub fn pace(mut self, bits_per_second: u64) -> Self {
        self.pace_bps = Some(bits_per_second);
        self
    }

    /// Sets the number of connections.
    #[must_use]
    pub fn connections(mut self, connections: u16) -> Self {
        self.connections = connections;
        self
    }

    /// Chooses the contents.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Strews bytes into the contents that a capture can look for.
    #[must_use]
    pub fn marker(mut self, marker: &[u8]) -> Self {
        self.marker = marker.to_vec();
        self
    }

    /// Sets how long a connection may stand still before the transfer fails. 30 s by default.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limit = limit;
        self
    }

    /// Connects, starts to send, and returns.
    pub fn start(self) -> Result<Running> {
        ensure!(self.connections > 0, "a transfer needs a connection");
        let listener = self
            .to
            .enter(|| Ok(TcpListener::bind((self.address, 0))?))?;
        let target = listener.local_addr()?;
        let pairs = (0..self.connections)
            .map(|_| {
                let sender = self.from.enter(|| connect(target, self.stall_limit))?;
                let (receiver, _) = listener.accept()?;
                receiver.set_read_timeout(Some(self.stall_limit))?;
                Ok((sender, receiver))
            })
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("cannot connect to {target}"))?;

        let start = Instant::now();
        let meter = Arc::new(Meter::new(start));
        let stop = Arc::new(AtomicBool::new(false));
        let connections = (0_u64..)
            .zip(pairs)
            .map(|(number, (sender, receiver))| {
                let source = Source {
                    content: Content::new(self.seed.wrapping_add(number), &self.marker),
                    end: self.end(number, start),
                    pace: self.pace_bps.map(|rate| (start, rate)),
                    stop: Arc::clone(&stop),
                };
                Connection::start(source, sender, receiver, Arc::clone(&meter))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Running {
            meter,
            stop,
            connections,
        })
    }

    /// Runs the transfer to its end.
    pub fn run(self) -> Result<Report> {
        self.start()?.finish()
    }

    fn end(&self, number: u64, start: Instant) -> End {
        match self.volume {
            Volume::Time(time) => End::At(start + time),
            Volume::Bytes(bytes) => {
                let connections = u64::from(self.connections);
                End::After(bytes / connections + u64::from(number < bytes % connections))
            }
        }
    }
}

/// A transfer under way.
pub struct Running {
    meter: Arc<Meter>,
    stop: Arc<AtomicBool>,
    connections: Vec<Connection>,
}

impl Running {
    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.meter.bytes()
    }

    /// What has arrived so far.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.meter.timeline()
    }

    /// Makes the senders stop before their volume is reached; what they sent still arrives.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether every connection has come to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.connections.iter().all(Connection::is_finished)
    }

    /// Waits for the end.
    pub fn finish(self) -> Result<Report> {
        let connections = self
            .connections
            .into_iter()
            .map(Connection::finish)
            .collect::<Result<Vec<_>>>()?;
        Ok(Report {
            timeline: self.meter.timeline(),
            connections,
        })
    }
}
