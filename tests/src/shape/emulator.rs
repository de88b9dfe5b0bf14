//! The lab's own emulator, for kernels without netem: one thread for each direction of a link.
//!
//! Routes that would lead out of the device to be shaped lead into a TUN device instead. The thread
//! reads packets there, asks [`LinkQueue`] when they arrive, and sends them out of the device at
//! that time through a packet socket. What comes in by the device takes the kernel's ordinary way,
//! so addresses, ICMP errors and TTLs are those of a real router. The TUN has no offloads, so the
//! kernel cuts and checksums what it hands over.

use std::{
    collections::VecDeque,
    io,
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{Errno, read, write},
    thread::set_current_timer_slack,
};
use socket2::Socket;

use super::{ETHERNET_HEADER, Shape, queue::LinkQueue};
use crate::{netns::Netns, sys};

/// Room for the largest IP packet.
const LARGEST_PACKET: usize = 65_535;

/// Packets read before those due are sent again.
const BATCH: usize = 64;

/// Ethernet addresses of a point-to-point device.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The device's own.
    pub own: [u8; 6],
    /// The one at the other end.
    pub peer: [u8; 6],
}

/// What the thread and its owner share.
struct Shared {
    queue: Mutex<LinkQueue>,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, LinkQueue> {
        // The queue is whole between any two calls, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running emulator. Dropping it ends the thread and removes the TUN device.
pub struct Emulator {
    shared: Arc<Shared>,
    mtu: u32,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Emulator {
    /// Starts to shape what leaves `device` of `netns` through the TUN device `entrance`, which is
    /// made here and up on return.
    pub fn start(
        netns: &Netns,
        device: &str,
        entrance: &str,
        addresses: Addresses,
        queue: LinkQueue,
        mtu: u32,
    ) -> Result<Self> {
        let index = netns.link_index(device)?;
        let (tun, socket) = netns.enter(|| {
            let tun = sys::device::open_tun(entrance).context("cannot open a TUN device")?;
            Ok((tun, sys::packet::sender(index)?))
        })?;
        netns.set_mtu(entrance, mtu)?;
        // The queue that counts is the emulator's. This one only bridges the thread's absences.
        netns.set_queue_length(entrance, 4096)?;
        netns.set_up(entrance)?;

        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let wire = Wire {
            shared: Arc::clone(&shared),
            tun,
            socket,
            addresses,
            under_way: VecDeque::new(),
        };
        let thread = netns.spawn(&format!("link-{device}"), move || {
            // Nobody waits for this thread before the link goes, so it must speak up itself.
            wire.run()
                .inspect_err(|error| eprintln!("lab: a link has failed: {error:#}"))
        })?;
        Ok(Self {
            shared,
            mtu,
            thread: Some(thread),
        })
    }

    /// Changes the link while it runs.
    pub fn set_shape(&self, shape: Shape) {
        self.shared.queue().reshape(shape, self.mtu);
    }

    /// Packets dropped for want of room, and packets lost at random.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        let queue = self.shared.queue();
        (queue.dropped(), queue.lost())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let woken = write(&self.shared.wake, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // What it failed of, if it did, it has told.
            let _ended = thread.join();
        }
    }
}

/// A frame on its way, and when it arrives.
struct Frame {
    arrival: Instant,
    bytes: Vec<u8>,
}

/// The thread's side.
struct Wire {
    shared: Arc<Shared>,
    tun: OwnedFd,
    socket: Socket,
    addresses: Addresses,
    /// In order of arrival. Bounded: the queue takes a finite number of packets, and what has left
    /// it stays for the latency only.
    under_way: VecDeque<Frame>,
}

impl Wire {
    fn run(mut self) -> Result<()> {
        // The default slack of 50 µs is a tenth of a packet's time at 20 Mbit/s.
        set_current_timer_slack(NonZeroU64::new(1))?;
        // A link does not wait for the machine's other work. Niceness would not do: it counts among
        // the threads of a session or control group only. Where real time is not to be had, as in
        // some containers, the link is as punctual as the machine is idle.
        let _best_effort = sys::process::run_promptly();
        let mut buffer = vec![0; LARGEST_PACKET];
        while !self.shared.stop.load(Ordering::Acquire) {
            self.wait()?;
            self.take_in(&mut buffer)?;
            self.deliver()?;
        }
        Ok(())
    }

    /// Sleeps until a packet comes in, one is due, or the owner calls.
    fn wait(&self) -> io::Result<()> {
        let timeout = self.under_way.front().map(|frame| {
            let left = frame.arrival.saturating_duration_since(Instant::now());
            timespec(left)
        });
        let mut events = [
            PollFd::new(&self.tun, PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        match poll(&mut events, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_in(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            let length = match read(&self.tun, &mut *buffer) {
                Ok(length) => length,
                // EIO: the device is down.
                Err(Errno::AGAIN | Errno::INTR | Errno::IO) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let packet = &buffer[..length];
            let frame_length = length + ETHERNET_HEADER as usize;
            let arrival = self.shared.queue().offer(Instant::now(), frame_length);
            if let Some(arrival) = arrival {
                let mut bytes = Vec::with_capacity(frame_length);
                bytes.extend(self.addresses.peer);
                bytes.extend(self.addresses.own);
                bytes.extend(ether_type(packet).to_be_bytes());
                bytes.extend(packet);
                self.under_way.push_back(Frame { arrival, bytes });
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> io::Result<()> {
        while let Some(frame) = self.under_way.front() {
            if frame.arrival > Instant::now() {
                break;
            }
            match self.socket.send(&frame.bytes) {
                Ok(_) => {}
                Err(error) if link_is_cut(&error) => {}
                Err(error) => return Err(error),
            }
            self.under_way.pop_front();
        }
        Ok(())
    }
}

/// Whether a frame could not be sent because the device is down, gone or full: the frame is lost,
/// as it would be on a cut cable, and the emulator goes on.
fn link_is_cut(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::ENOBUFS)
    )
}

fn ether_type(packet: &[u8]) -> u16 {
    match packet.first().map(|byte| byte >> 4) {
        Some(6) => 0x86dd,
        _ => 0x0800,
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
