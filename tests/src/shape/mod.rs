//! What one direction of a link does to packets, and the two ways of doing it.
//!
//! - [`netem`]: the kernel's own emulator, where there is one;
//! - [`emulator`]: a thread for all links of a lab elsewhere, around the pure [`queue::LinkQueue`].
//!
//! Both treat a packet alike: it is lost by chance, else it takes a place in a
//! finite queue or is dropped where there is none, leaves at the link's rate, counted in bytes of
//! Ethernet frames without preamble, checksum and gap, and arrives after the latency, give or take
//! the jitter. A link never reorders: jitter delays what follows, too.

pub mod emulator;
mod loss;
pub mod netem;
pub mod port;
pub mod queue;
mod trace;

use std::time::Duration;

use anyhow::{Result, ensure};

pub use self::{
    loss::Loss,
    trace::{OPPORTUNITY, Trace},
};

/// Ethernet header, in bytes: what the rate counts beside the IP packet.
pub const ETHERNET_HEADER: u32 = 14;

/// How much may wait for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLength {
    /// As many packets, of whatever length.
    Packets(u32),
    /// As many full-size packets as the link sends in this time, but never fewer than
    /// [`QueueLength::LEAST_PACKETS`].
    Time(Duration),
}

impl QueueLength {
    /// A shorter queue could not even take TCP's first window.
    pub const LEAST_PACKETS: u32 = 10;
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Bits a second of Ethernet frames; of a link that follows a recording, the mean.
    pub rate_bps: u64,
    /// The recording that the rate follows; none: it is constant.
    pub trace: Option<&'static Trace>,
    /// From the last bit sent to the last bit received, one way.
    pub latency: Duration,
    /// Largest deviation from `latency`, uniformly distributed.
    pub jitter: Duration,
    /// Which packets are lost.
    pub loss: Loss,
    /// How much may wait.
    pub queue: QueueLength,
}

impl Shape {
    /// A link without jitter and loss, with a queue of 100 ms.
    #[must_use]
    pub fn new(rate_bps: u64, latency: Duration) -> Self {
        let queue = QueueLength::Time(Duration::from_millis(100));
        Self {
            rate_bps,
            trace: None,
            latency,
            jitter: Duration::ZERO,
            loss: Loss::NONE,
            queue,
        }
    }

    /// A link that follows a recording, without jitter and loss, with a queue of 100 ms.
    #[must_use]
    pub fn recorded(trace: &'static Trace, latency: Duration) -> Self {
        Self {
            trace: Some(trace),
            ..Self::new(trace.mean_bps(), latency)
        }
    }

    /// Sets the jitter.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Lets each packet be lost with this probability.
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.loss = Loss::Independent(probability);
        self
    }

    /// Lets packets be lost in bursts: this part of all, and so many in a row on average.
    #[must_use]
    pub fn bursts(mut self, mean: f64, length: f64) -> Self {
        self.loss = Loss::Bursts { mean, length };
        self
    }

    /// Sets the queue's length.
    #[must_use]
    pub fn queue(mut self, queue: QueueLength) -> Self {
        self.queue = queue;
        self
    }

    /// How many packets may wait, on a link with this MTU in bytes.
    #[must_use]
    pub fn queue_packets(&self, mtu: u32) -> u32 {
        match self.queue {
            QueueLength::Packets(packets) => packets,
            QueueLength::Time(time) => self.packets_in(time, mtu).max(QueueLength::LEAST_PACKETS),
        }
    }

    /// How many full-size packets the link sends in `time`, rounded up.
    pub(crate) fn packets_in(&self, time: Duration, mtu: u32) -> u32 {
        let bits = u128::from(self.rate_bps) * time.as_nanos() / 1_000_000_000;
        let packet_bits = u128::from(mtu + ETHERNET_HEADER) * 8;
        u32::try_from(bits.div_ceil(packet_bits)).unwrap_or(u32::MAX)
    }

    /// Checks that the shape describes a link that can exist.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            self.rate_bps >= 8,
            "a link of {} bit/s cannot send a byte",
            self.rate_bps
        );
        self.loss.check()?;
        ensure!(
            self.jitter <= self.latency,
            "the jitter exceeds the latency"
        );
        ensure!(
            self.queue != QueueLength::Packets(0),
            "a link without a queue sends nothing"
        );
        Ok(())
    }
}
