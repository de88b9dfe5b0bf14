//! Datagrams at a constant rate: what is lost, late, double or out of order.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::udp::{LARGEST, Probe, is_transient};
use crate::netns::joined;

/// Sequence number and time of sending, at the start of each datagram.
const HEADER: usize = 16;

/// Silence after which nothing more is expected, once the sender has ended.
const QUIET: Duration = Duration::from_millis(500);

/// A stream before it runs.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlan {
    /// Payload of each datagram, in bytes, 16 at least.
    pub size: usize,
    /// Datagrams a second.
    pub per_second: u32,
    /// How long to send.
    pub duration: Duration,
}

impl StreamPlan {
    fn gap(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }

    fn most_datagrams(&self) -> usize {
        self.datagrams_in(self.duration).saturating_add(1)
    }

    /// How many are sent in that time, rounded down.
    fn datagrams_in(&self, time: Duration) -> usize {
        let gaps = time.as_nanos() / self.gap().as_nanos().max(1);
        usize::try_from(gaps).unwrap_or(usize::MAX)
    }
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams received more than once.
    pub duplicates: u64,
    /// Datagrams that came after one that was sent later.
    pub reordered: u64,
    /// The longest time without a datagram, between the first and the last.
    pub longest_gap: Duration,
    /// One-way delays in ascending order, one of each datagram received.
    delays: Vec<Duration>,
}

impl StreamReport {
    /// Datagrams that did not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }

    /// Share of datagrams that did not arrive, from 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a measurement; 2^52 are exact")]
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 {
            0.0
        } else {
            self.lost() as f64 / self.sent as f64
        }
    }

    /// The one-way delay that a share of the datagrams, from 0 to 1, did not exceed; none if none
    /// arrived.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the list"
    )]
    pub fn delay(&self, share: f64) -> Option<Duration> {
        let last = self.delays.len().checked_sub(1)?;
        let index = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.delays.get(index).copied()
    }
}

impl Probe {
    /// Starts a stream.
    pub fn stream(&self, plan: StreamPlan) -> Result<Stream> {
        self.stream_after(plan, Duration::ZERO)
    }

    /// Starts a stream of which only those datagrams count that are sent `warm_up` after its start, or later.
    pub fn stream_after(&self, plan: StreamPlan, warm_up: Duration) -> Result<Stream> {
        ensure!(
            (HEADER..=LARGEST).contains(&plan.size),
            "a stream of {} bytes",
            plan.size
        );
        ensure!(plan.per_second > 0, "a stream needs a rate");
        let (client, server) = self.sockets()?;
        set_socket_recv_buffer_size_force(&server, 8 << 20)?;
        let start = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let sender_ended = Arc::new(AtomicBool::new(false));

        let ended = Arc::clone(&sender_ended);
        let arrivals = Arrivals::new(plan.datagrams_in(warm_up), plan.most_datagrams());
        let receiver = thread::Builder::new()
            .name("udp-receiver".into())
            .spawn(move || receive(&server, start, arrivals, &ended))?;
        let stopped = Arc::clone(&stop);
        let sender = thread::Builder::new()
            .name("udp-sender".into())
            .spawn(move || {
                let sent = pace(&client, start, plan, &stopped);
                sender_ended.store(true, Ordering::Release);
                sent
            })?;
        Ok(Stream {
            stop,
            sender,
            receiver,
        })
    }
}

/// A stream under way.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<Arrivals>>,
}

impl Stream {
    /// Ends the sending before its time.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits until the sender has ended and nothing comes any more.
    pub fn finish(self) -> Result<StreamReport> {
        let sent = joined(self.sender.join()).context("the sender")?;
        let arrivals = joined(self.receiver.join()).context("the receiver")?;
        Ok(arrivals.report(sent))
    }
}

/// Sends at the times planned, whether or not earlier datagrams went late; returns their number.
fn pace(client: &UdpSocket, start: Instant, plan: StreamPlan, stop: &AtomicBool) -> Result<u64> {
    let mut datagram = vec![0x5a; plan.size];
    let mut sent = 0;
    let mut due = start;
    while due < start + plan.duration && !stop.load(Ordering::Acquire) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = nanoseconds(start.elapsed());
        datagram[..8].copy_from_slice(&u64::to_be_bytes(sent));
        datagram[8..HEADER].copy_from_slice(&now.to_be_bytes());
        match client.send(&datagram) {
            Ok(_) => {}
            // No way at the moment: the datagram counts as sent and lost.
            Err(error) if is_outage(&error) => {}
            Err(error) => return Err(error.into()),
        }
        sent += 1;
        due += plan.gap();
    }
    Ok(sent)
}

fn is_outage(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::ECONNREFUSED
                | libc::ENOBUFS
        )
    )
}

fn receive(
    server: &UdpSocket,
    start: Instant,
    mut arrivals: Arrivals,
    sender_ended: &AtomicBool,
) -> Result<Arrivals> {
    let mut buffer = vec![0; LARGEST];
    let mut quiet_since = Instant::now();
    loop {
        match server.recv(&mut buffer) {
            Ok(length) => {
                quiet_since = Instant::now();
                arrivals.add(start.elapsed(), &buffer[..length])?;
            }
            Err(error) if is_transient(&error) => {
                // The end begins with the sender's, however long nothing has come before it.
                if !sender_ended.load(Ordering::Acquire) {
                    quiet_since = Instant::now();
                } else if quiet_since.elapsed() >= QUIET {
                    return Ok(arrivals);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the receiver remembers.
#[derive(Debug, Default)]
struct Arrivals {
    /// Smaller sequence numbers do not count.
    first: usize,
    /// No sequence number reaches this.
    limit: usize,
    seen: Vec<bool>,
    highest: Option<usize>,
    duplicates: u64,
    reordered: u64,
    last: Option<Duration>,
    longest_gap: Duration,
    delays: Vec<Duration>,
}

impl Arrivals {
    fn new(first: usize, limit: usize) -> Self {
        Self {
            first,
            limit,
            ..Self::default()
        }
    }

    /// Notes a datagram that came at `now`, counted from the stream's start.
    fn add(&mut self, now: Duration, datagram: &[u8]) -> Result<()> {
        let word = |at: usize| -> Result<u64> {
            let bytes = datagram
                .get(at..at + 8)
                .context("a datagram was cut short")?;
            Ok(u64::from_be_bytes(bytes.try_into()?))
        };
        let sequence = usize::try_from(word(0)?)?;
        let sent = Duration::from_nanos(word(8)?);
        ensure!(
            sequence < self.limit,
            "a datagram with the number {sequence} was never sent"
        );
        if sequence < self.first {
            return Ok(());
        }
        if sequence >= self.seen.len() {
            self.seen.resize(sequence + 1, false);
        }
        if std::mem::replace(&mut self.seen[sequence], true) {
            self.duplicates += 1;
            return Ok(());
        }
        if self.highest.is_some_and(|highest| sequence < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(sequence));
        if let Some(last) = self.last {
            self.longest_gap = self.longest_gap.max(now.saturating_sub(last));
        }
        self.last = Some(now);
        self.delays.push(now.saturating_sub(sent));
        Ok(())
    }

    fn report(mut self, sent: u64) -> StreamReport {
        self.delays.sort_unstable();
        StreamReport {
            sent: sent.saturating_sub(self.first as u64),
            received: self.delays.len() as u64,
            duplicates: self.duplicates,
            reordered: self.reordered,
            longest_gap: self.longest_gap,
            delays: self.delays,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_order_and_delay_are_told_apart() {
        let mut arrivals = Arrivals::new(0, 5);
        let ms = Duration::from_millis;
        // (sequence, sent, received) in milliseconds; 3 is lost, 2 is late and double.
        for (sequence, sent, received) in [
            (0_u64, 0, 10),
            (1, 5, 15),
            (4, 20, 32),
            (2, 10, 80),
            (2, 10, 81),
        ] {
            let mut datagram = sequence.to_be_bytes().to_vec();
            datagram.extend(nanoseconds(ms(sent)).to_be_bytes());
            arrivals.add(ms(received), &datagram).unwrap();
        }
        let report = arrivals.report(5);
        assert_eq!((report.received, report.lost()), (4, 1));
        assert_eq!((report.duplicates, report.reordered), (1, 1));
        assert_eq!(report.longest_gap, ms(48));
        assert_eq!(report.delay(0.0), Some(ms(10)));
        assert_eq!(report.delay(1.0), Some(ms(70)));
        assert!(Arrivals::new(0, 5).add(ms(0), &[0; 15]).is_err());
        assert!(Arrivals::new(0, 5).add(ms(0), &[255; 16]).is_err());
    }

    #[test]
    fn what_is_sent_before_the_stream_is_warm_does_not_count() {
        let plan = StreamPlan {
            size: HEADER,
            per_second: 10,
            duration: Duration::from_secs(1),
        };
        let first = plan.datagrams_in(Duration::from_millis(300));
        let mut arrivals = Arrivals::new(first, plan.most_datagrams());
        // 0 is lost, 1 comes after 2 and after 4, and 3 after 4.
        for (sequence, received) in [(2_u64, 5), (4, 900), (1, 901), (3, 903)] {
            let mut datagram = sequence.to_be_bytes().to_vec();
            datagram.extend([0; 8]);
            let received = Duration::from_millis(received);
            arrivals.add(received, &datagram).unwrap();
        }
        let report = arrivals.report(10);
        assert_eq!((report.sent, report.received, report.reordered), (7, 2, 1));
        assert_eq!(report.longest_gap, Duration::from_millis(3));
    }
}
