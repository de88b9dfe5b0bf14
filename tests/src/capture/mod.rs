//! Seeing what a device sends and receives, and sending what no honest sender would.

mod frame;
mod segment;
mod tally;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::Socket;

pub use self::{
    frame::{Ipv4Fields, ethernet, ipv4},
    segment::Segment,
    tally::{Frame, Needle, Tally},
};
use crate::{
    netns::{Netns, joined},
    sys,
};

/// How often the thread looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(50);

/// Frames that the kernel may hold for the thread, in bytes.
const RECEIVE_BUFFER: usize = 32 << 20;

const LARGEST_FRAME: usize = 65_536 + 14;

/// What a capture looks for and keeps.
#[derive(Clone, Debug, Default)]
pub struct CapturePlan {
    needles: Vec<Needle>,
    keep: usize,
}

impl CapturePlan {
    /// Counts frames and keeps none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for bytes anywhere in a frame.
    #[must_use]
    pub fn needle(mut self, needle: Needle) -> Self {
        self.needles.push(needle);
        self
    }

    /// Keeps the first `frames` frames whole.
    #[must_use]
    pub fn keep(mut self, frames: usize) -> Self {
        self.keep = frames;
        self
    }

    /// Starts to capture both directions of a device. When this returns, no frame is missed any
    /// more, unless the thread falls behind; [`Tally::missed`] tells.
    pub fn start(self, netns: &Netns, device: &str) -> Result<Capture> {
        let index = netns.link_index(device)?;
        let socket = netns.enter(|| {
            let socket = sys::packet::listen(index)?;
            sys::packet::force_receive_buffer(&socket, RECEIVE_BUFFER)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Tally::new(self.needles, self.keep);
        let stopping = Arc::clone(&stop);
        let thread = netns
            .spawn(&format!("capture-{device}"), move || {
                collect(&socket, tally, &stopping)
            })
            .with_context(|| format!("cannot capture on {device}"))?;
        Ok(Capture {
            stop,
            thread: Some(thread),
        })
    }
}

/// A capture under way. Dropped, it ends.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

impl Capture {
    /// Ends the capture and returns what was seen up to now.
    pub fn finish(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("the capture has ended")?;
        joined(thread.join())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn collect(socket: &Socket, mut tally: Tally, stop: &AtomicBool) -> Result<Tally> {
    let mut buffer = vec![0; LARGEST_FRAME];
    let mut deadline = None;
    loop {
        // Once told to end, it still reads what the kernel holds, but not what keeps coming.
        if stop.load(Ordering::Acquire) {
            socket.set_nonblocking(true)?;
            let end = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() >= end {
                break;
            }
        }
        match sys::packet::receive(socket, &mut buffer) {
            Ok(received) => {
                let frame = &buffer[..received.length.min(buffer.len())];
                tally.add(frame, received.outgoing);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if deadline.is_some() {
                    break;
                }
            }
            // Interrupted, or the device went down, which leaves the socket usable.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENETDOWN)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tally.missed = sys::packet::dropped(socket)?.into();
    Ok(tally)
}

/// Sends raw frames out of a device, as they are.
pub fn inject<'a>(
    netns: &Netns,
    device: &str,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Result<()> {
    let index = netns.link_index(device)?;
    let socket = netns.enter(|| Ok(sys::packet::sender(index)?))?;
    for frame in frames {
        socket
            .send(frame)
            .with_context(|| format!("cannot send {} bytes out of {device}", frame.len()))?;
    }
    Ok(())
}
