//! A shaped egress, whichever emulator does it.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};

use super::{
    Shape,
    emulator::{Addresses, Attachment, Emulator},
    netem,
    queue::{LinkQueue, Losses},
};
use crate::netns::{Netns, Route};

/// Who emulates the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// The kernel's netem.
    Netem,
    /// A thread of the lab.
    Userspace,
    /// Nobody: packets take no time and none is lost, so that the machine is the limit.
    Unlimited,
}

impl Emulation {
    /// Netem where the kernel has it, the lab's own emulator elsewhere.
    pub fn probe() -> Result<Self> {
        Ok(if netem::available()? {
            Self::Netem
        } else {
            Self::Userspace
        })
    }
}

/// What shapes a port.
#[derive(Clone)]
pub enum Means {
    /// The kernel's netem.
    Netem,
    /// This emulator.
    Userspace(Arc<Emulator>),
    /// Nothing: see [`Emulation::Unlimited`].
    Unlimited,
}

fn check(means: &Means, shape: &Shape) -> Result<()> {
    let recorded = shape.trace.is_some();
    ensure!(
        !recorded || matches!(means, Means::Userspace(_)),
        "netem does not follow recordings"
    );
    shape.check()
}

/// Where a port is.
#[derive(Clone, Debug)]
pub struct PortPlace {
    /// Namespace that the device is in.
    pub netns: Netns,
    /// The device whose egress is shaped; one end of a veth pair.
    pub device: String,
    /// Ethernet addresses of both ends.
    pub addresses: Addresses,
    /// MTU in bytes.
    pub mtu: u32,
}

/// The shaped egress of a device.
pub struct Port {
    place: PortPlace,
    means: Means,
    seed: u64,
    state: Mutex<State>,
}

struct State {
    shape: Shape,
    attached: Attached,
}

enum Attached {
    No,
    Netem,
    Userspace(Attachment),
    Unlimited,
}

impl Port {
    /// Describes a port. Nothing is shaped until [`Port::attach`].
    pub fn new(place: PortPlace, means: Means, shape: Shape, seed: u64) -> Result<Self> {
        check(&means, &shape)?;
        let state = Mutex::new(State {
            shape,
            attached: Attached::No,
        });
        Ok(Self {
            place,
            means,
            seed,
            state,
        })
    }

    /// Begins to shape the device, which must exist; also after it has been made anew.
    pub fn attach(&self) -> Result<()> {
        let mut state = self.state();
        let PortPlace {
            netns,
            device,
            addresses,
            mtu,
        } = &self.place;
        // The emulator's entrance has a name, which is taken until the old emulator is gone.
        state.attached = Attached::No;
        state.attached = match &self.means {
            Means::Netem => {
                netem::apply(netns, device, &state.shape, *mtu, self.seed)?;
                Attached::Netem
            }
            Means::Userspace(emulator) => {
                let queue = LinkQueue::new(state.shape, *mtu, self.seed);
                let attached = emulator.attach(netns, device, *addresses, queue, *mtu)?;
                Attached::Userspace(attached)
            }
            Means::Unlimited => Attached::Unlimited,
        };
        Ok(())
    }

    /// Stops shaping, as the device is about to go.
    pub fn detach(&self) {
        self.state().attached = Attached::No;
    }

    /// The device that routes have to name so that packets leave by this port.
    #[must_use]
    pub fn exit(&self) -> String {
        match self.means {
            Means::Netem | Means::Unlimited => self.place.device.clone(),
            Means::Userspace(_) => format!("{}-q", self.place.device),
        }
    }

    /// Completes a route out of this port with the router at the other end, where it needs one.
    #[must_use]
    pub fn route_via(&self, route: Route, next_hop: Ipv4Addr) -> Route {
        match self.means {
            Means::Netem | Means::Unlimited => route.via(next_hop),
            // The emulator knows its only neighbour.
            Means::Userspace(_) => route,
        }
    }

    /// The namespace that the port is in.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.place.netns
    }

    /// The shape in force.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.state().shape
    }

    /// What has not been carried since the port was attached, where the lab's emulator shapes it.
    #[must_use]
    pub fn losses(&self) -> Option<Losses> {
        match &self.state().attached {
            Attached::No | Attached::Netem | Attached::Unlimited => None,
            Attached::Userspace(attached) => Some(attached.losses()),
        }
    }

    /// How many packets of [`OPPORTUNITY`](super::OPPORTUNITY) bytes the recording that the link follows let it send
    /// between two times; none where its rate is constant, or nothing has
    /// been sent yet, for a recording begins with the first packet.
    #[must_use]
    pub fn opportunities(&self, from: Instant, to: Instant) -> Option<u64> {
        match &self.state().attached {
            Attached::No | Attached::Netem | Attached::Unlimited => None,
            Attached::Userspace(attached) => attached.opportunities(from, to),
        }
    }

    /// Changes the shape while packets are under way; they are not lost. On a detached port the
    /// shape holds from the next attachment.
    pub fn set_shape(&self, shape: Shape) -> Result<()> {
        check(&self.means, &shape)?;
        let mut state = self.state();
        let PortPlace {
            netns, device, mtu, ..
        } = &self.place;
        match &state.attached {
            Attached::No | Attached::Unlimited => {}
            Attached::Netem => netem::apply(netns, device, &shape, *mtu, self.seed)?,
            Attached::Userspace(attached) => attached.set_shape(shape),
        }
        state.shape = shape;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
