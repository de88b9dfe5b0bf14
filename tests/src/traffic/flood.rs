//! Datagrams as fast as told, into the void: a load, of which nothing is measured but by the links.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::udp::{Probe, is_transient};
use crate::{netns::joined, sys::batch};

/// Time between two volleys.
const TICK: Duration = Duration::from_millis(1);

/// A sender after a pause does not make up for more.
const MOST_BEHIND: Duration = Duration::from_millis(20);

impl Probe {
    /// Starts to send datagrams of `size` bytes of payload, so many a second, until told to stop.
    pub fn flood(&self, size: usize, per_second: u32) -> Result<Flood> {
        // Nobody reads: the kernel throws away what its buffer does not hold.
        let (client, server) = self.sockets()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = thread::Builder::new()
            .name("udp-flood".into())
            .spawn(move || send(&client, &vec![0; size], per_second, &stopped))?;
        Ok(Flood {
            stop,
            sender,
            _server: server,
        })
    }
}

/// A flood under way.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<()>>,
    _server: UdpSocket,
}

impl Flood {
    /// Ends it.
    pub fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        joined(self.sender.join()).context("the flood's sender")
    }
}

fn send(socket: &UdpSocket, datagram: &[u8], per_second: u32, stop: &AtomicBool) -> Result<()> {
    let gap = Duration::from_secs(1) / per_second;
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let now = Instant::now();
        due = due.max(now.checked_sub(MOST_BEHIND).unwrap_or(now));
        while due <= now {
            let left = (now - due).as_nanos() / gap.as_nanos().max(1) + 1;
            let volley = std::iter::repeat_n(datagram, usize::try_from(left)?);
            let sent = match batch::send(socket, volley) {
                Ok(sent) => sent,
                // The device is full, or the other side is not there yet.
                Err(error) if is_transient(&error) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => break,
                Err(error) => return Err(error.into()),
            };
            due += gap * u32::try_from(sent)?;
        }
        thread::sleep(TICK);
    }
    Ok(())
}
