//! Pings at a constant pace, whether or not earlier ones have been answered: how long packets take while there is a load.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::icmp::{Echo, Ping, SHORTEST, is_timeout};
use crate::netns::{Netns, joined};

/// Time between two pings: together they are no load.
const GAP: Duration = Duration::from_millis(50);

/// Data of each, in bytes: as ping(8) sends.
const SIZE: usize = 56;

/// How long answers are waited for after the last ping.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pings under way. They end when this is dropped.
pub struct Pings {
    stop: Arc<AtomicBool>,
    pinger: Option<JoinHandle<Result<Vec<Pinged>>>>,
}

/// What became of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinged {
    /// When it was sent.
    pub sent: Instant,
    /// Its round-trip time; none if no answer came, until two seconds after the last ping was sent.
    pub round_trip: Option<Duration>,
}

impl Pings {
    /// Begins to ping `destination` from `from`.
    pub fn start(from: &Netns, destination: Ipv4Addr) -> Result<Self> {
        let socket = from.enter(|| {
            let protocol = Some(Protocol::ICMPV4);
            Ok(Socket::new(Domain::IPV4, Type::RAW, protocol)?)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let target = SocketAddrV4::new(destination, 0).into();
        let pinger = thread::Builder::new()
            .name("pings".into())
            .spawn(move || run(&socket, &target, &stopped))?;
        Ok(Self {
            stop,
            pinger: Some(pinger),
        })
    }

    /// Sends no more, waits for answers, and tells what became of each, in the order in which they were sent.
    pub fn finish(mut self) -> Result<Vec<Pinged>> {
        self.stop.store(true, Ordering::Release);
        let pinger = self.pinger.take().context("the pings are over")?;
        joined(pinger.join()).context("the pings")
    }
}

/// Within which time so many of a hundred answers came, of which each took one of `times`; nothing where none did.
pub fn within(times: impl IntoIterator<Item = Duration>, percent: usize) -> Option<Duration> {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort();
    times.get(times.len() * percent / 100).copied()
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn run(socket: &Socket, target: &SockAddr, stop: &AtomicBool) -> Result<Vec<Pinged>> {
    let mut pings: Vec<(Echo, Pinged)> = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let echo = Echo::new(SIZE);
        let sent = Instant::now();
        // One for which there is no way at the moment counts as lost.
        let _sent = socket.send_to(&echo.request(), target);
        let round_trip = None;
        pings.push((echo, Pinged { sent, round_trip }));
        due += GAP;
        listen(socket, due, &mut pings, false)?;
    }
    let end = Instant::now() + PATIENCE;
    listen(socket, end, &mut pings, true)?;
    Ok(pings.into_iter().map(|(_, pinged)| pinged).collect())
}

/// Notes answers until a time; if it `may_end`, only until all pings have one.
fn listen(
    socket: &Socket,
    until: Instant,
    pings: &mut [(Echo, Pinged)],
    may_end: bool,
) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let answered = |(_, pinged): &(Echo, Pinged)| pinged.round_trip.is_some();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || may_end && pings.iter().all(answered) {
            return Ok(());
        }
        socket.set_read_timeout(Some(left.max(SHORTEST)))?;
        let mut from = socket;
        match from.read(&mut buffer) {
            Ok(length) => note(&buffer[..length], Instant::now(), pings),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds whose answer a packet is.
fn note(packet: &[u8], now: Instant, pings: &mut [(Echo, Pinged)]) {
    // Answers come to the youngest, mostly.
    for (echo, pinged) in pings.iter_mut().rev() {
        let took = now.saturating_duration_since(pinged.sent);
        if let Some(Ping::Reply { rtt }) = echo.answer(packet, took) {
            pinged.round_trip.get_or_insert(rtt);
            return;
        }
    }
}
