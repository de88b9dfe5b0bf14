//! Datagrams in bursts, as fast as the sender can: what a short queue makes of them.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::udp::{LARGEST, Probe, is_transient};
use crate::netns::joined;

/// Silence after which nothing more is expected, once the sender has ended.
const QUIET: Duration = Duration::from_millis(500);

/// Bursts before they are sent.
#[derive(Clone, Copy, Debug)]
pub struct BurstPlan {
    /// Payload of each datagram, in bytes.
    pub size: usize,
    /// Datagrams of a burst.
    pub datagrams: u32,
    /// From the beginning of one burst to that of the next.
    pub every: Duration,
    /// How many bursts.
    pub bursts: u32,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstReport {
    /// Datagrams sent.
    pub sent: u32,
    /// Datagrams received.
    pub received: u32,
}

impl BurstReport {
    /// Share of datagrams that did not arrive, from 0 to 1.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        1.0 - f64::from(self.received) / f64::from(self.sent.max(1))
    }
}

impl Probe {
    /// Sends bursts, and waits until nothing comes any more.
    pub fn bursts(&self, plan: BurstPlan) -> Result<BurstReport> {
        ensure!(plan.size <= LARGEST, "datagrams of {} bytes", plan.size);
        let (client, server) = self.sockets()?;
        set_socket_recv_buffer_size_force(&server, 8 << 20)?;
        let ended = Arc::new(AtomicBool::new(false));
        let counting = {
            let ended = Arc::clone(&ended);
            thread::Builder::new()
                .name("burst-receiver".into())
                .spawn(move || receive(&server, &ended))?
        };
        let sent = send(&client, plan);
        ended.store(true, Ordering::Release);
        let received = joined(counting.join()).context("the receiver")?;
        let sent = sent.context("the sender")?;
        Ok(BurstReport { sent, received })
    }
}

fn send(client: &UdpSocket, plan: BurstPlan) -> Result<u32> {
    let datagram = vec![0x5a; plan.size];
    let start = Instant::now();
    for burst in 0..plan.bursts {
        let due = start + plan.every * burst;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..plan.datagrams {
            client.send(&datagram)?;
        }
    }
    Ok(plan.bursts * plan.datagrams)
}

/// Counts what comes until the sender has ended and there is silence.
fn receive(server: &UdpSocket, ended: &AtomicBool) -> Result<u32> {
    let mut buffer = vec![0; LARGEST];
    let (mut received, mut quiet) = (0, Instant::now());
    loop {
        match server.recv(&mut buffer) {
            Ok(_) => {
                received += 1;
                quiet = Instant::now();
            }
            Err(error) if is_transient(&error) => {
                if !ended.load(Ordering::Acquire) {
                    quiet = Instant::now();
                } else if quiet.elapsed() >= QUIET {
                    return Ok(received);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
