//! The lab's own emulator, for kernels without netem: one thread for all links of a lab.
//!
//! Routes that would lead out of the device to be shaped lead into the near end of a veth pair
//! instead, the *entrance*. At its far end a packet socket gets each frame with the time at which
//! it came, the thread asks [`LinkQueue`] when it arrives, and sends it out of the device at that
//! time through another packet socket. What comes in by the device takes the kernel's ordinary
//! way, so addresses, ICMP errors and TTLs are those of a real router. The entrance has no
//! offloads, so the kernel cuts and checksums what it hands over.
//!
//! Since departures are computed from the times at which frames came, the thread may be late by as
//! much as a link's latency, and rates and delays are exact all the same. How late frames really
//! left is told by [`Conduct`].
//!
//! Frames are sent past no queueing discipline (`PACKET_QDISC_BYPASS`), although that would be
//! cheaper: captures on the device would not see them.

mod conduct;
mod engine;
mod wire;

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::write,
};

pub use self::conduct::Conduct;
use self::{
    engine::{Command, Engine},
    wire::Wire,
};
use super::{
    Shape,
    queue::{LinkQueue, Losses},
};
use crate::{
    netns::{LinkPlan, Netns, VethEnd},
    sys,
};

/// What may wait for the thread at an entrance, in bytes as the kernel counts them: about 60 ms of
/// a gigabit a second.
const ROOM: usize = 16 << 20;

/// Ethernet addresses of an entrance. A route without a next hop out of a device without ARP
/// leads to the device's own address, which is not that of the far end: the kernel takes what
/// comes there for somebody else's, and leaves it to the emulator.
const NEAR: [u8; 6] = [2, b'l', b'i', b'n', b'k', 1];
const FAR: [u8; 6] = [2, b'l', b'i', b'n', b'k', 2];

/// Ethernet addresses of a point-to-point device.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The device's own.
    pub own: [u8; 6],
    /// The one at the other end.
    pub peer: [u8; 6],
}

impl Addresses {
    /// Writes both into a frame's header.
    fn write(&self, frame: &mut [u8]) {
        frame[..6].copy_from_slice(&self.peer);
        frame[6..12].copy_from_slice(&self.own);
    }
}

/// What the thread and a link's owner share.
struct Shared {
    queue: Mutex<LinkQueue>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, LinkQueue> {
        // The queue is whole between any two calls, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running emulator. It ends when it is dropped, and with it whatever is under way.
pub struct Emulator {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<Result<()>>>,
    /// Keys given to wires.
    keys: AtomicU64,
}

impl Emulator {
    /// Starts an emulator without links.
    pub fn start() -> Result<Arc<Self>> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, inbox) = channel();
        let engine = Engine::new(inbox, Arc::clone(&wake))?;
        let thread = thread::Builder::new().name("links".into()).spawn(move || {
            // Nobody waits for this thread before the lab goes, so it must speak up itself.
            engine
                .run()
                .inspect_err(|error| eprintln!("lab: the links have failed: {error:#}"))
        })?;
        Ok(Arc::new(Self {
            commands,
            wake,
            thread: Some(thread),
            keys: AtomicU64::new(0),
        }))
    }

    /// Starts to shape what leaves `device` of `netns` through the device `{device}-q`, which is
    /// made here and up on return.
    pub fn attach(
        self: &Arc<Self>,
        netns: &Netns,
        device: &str,
        addresses: Addresses,
        queue: LinkQueue,
        mtu: u32,
    ) -> Result<Attachment> {
        let entrance = Entrance::open(netns, device, mtu)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
        });
        let (receiver, sender) = entrance.sockets(device)?;
        let wire = Wire::new(Arc::clone(&shared), receiver, sender, addresses, mtu);
        let key = self.keys.fetch_add(1, Ordering::Relaxed) + 1;
        self.order(Command::Attach(key, Box::new(wire)))?;
        Ok(Attachment {
            emulator: Arc::clone(self),
            key,
            shared,
            mtu,
            _entrance: entrance,
        })
    }

    /// How it went so far, over all links.
    pub fn conduct(&self) -> Result<Conduct> {
        let (to, answer) = channel();
        self.order(Command::Report(to))?;
        answer.recv().context("the links' emulator has ended")
    }

    fn order(&self, command: Command) -> Result<()> {
        let sent = self.commands.send(command);
        sent.ok().context("the links' emulator has ended")?;
        write(&self.wake, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let ordered = self.order(Command::Stop);
        if let (Ok(()), Some(thread)) = (ordered, self.thread.take()) {
            // What it failed of, if it did, it has told.
            let _ended = thread.join();
        }
    }
}

/// A device that is being shaped. It is so no longer when this is dropped.
pub struct Attachment {
    emulator: Arc<Emulator>,
    key: u64,
    shared: Arc<Shared>,
    mtu: u32,
    // Goes last: the thread lets go of its sockets first.
    _entrance: Entrance,
}

impl Attachment {
    /// Changes the link while it runs.
    pub fn set_shape(&self, shape: Shape) {
        self.shared.queue().reshape(shape, self.mtu);
    }

    /// What the link did not carry since it was attached.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.shared.queue().losses()
    }

    /// See [`Port::opportunities`](super::port::Port::opportunities).
    pub(super) fn opportunities(&self, from: Instant, to: Instant) -> Option<u64> {
        self.shared.queue().opportunities(from, to)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let (to, gone) = channel();
        if self.emulator.order(Command::Detach(self.key, to)).is_ok() {
            // No answer comes from an emulator that has failed, which it has told.
            let _gone = gone.recv();
        }
    }
}

/// The veth pair that leads to the emulator.
struct Entrance {
    netns: Netns,
    near: String,
    far: String,
}

impl Entrance {
    fn open(netns: &Netns, device: &str, mtu: u32) -> Result<Self> {
        let entrance = Self {
            netns: netns.clone(),
            near: format!("{device}-q"),
            far: format!("{device}-r"),
        };
        let end = |name, mac| VethEnd { netns, name, mac };
        Netns::join(
            end(&entrance.near, NEAR),
            end(&entrance.far, FAR),
            LinkPlan { mtu },
        )?;
        netns.set_noarp(&entrance.near)?;
        Ok(entrance)
    }

    /// The socket that receives what comes to the far end, and the one that sends out of `device`.
    fn sockets(&self, device: &str) -> Result<(socket2::Socket, socket2::Socket)> {
        let (far, device) = (
            self.netns.link_index(&self.far)?,
            self.netns.link_index(device)?,
        );
        self.netns.enter(|| {
            let receiver = sys::packet::listen(far)?;
            sys::packet::force_receive_buffer(&receiver, ROOM)?;
            sys::batch::stamp(&receiver)?;
            Ok((receiver, sys::packet::sender(device)?))
        })
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        // A namespace that is going takes its devices with it.
        let _gone = self.netns.delete_link(&self.near);
    }
}
