//! The IPsec engine: the kernel's, or Withy's own between its device and raw sockets, on several cores.

mod apart;
mod inward;
mod lanes;
mod order;
mod outward;
mod probe;
mod repair;
mod turns;
mod way;

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use tracing::{info, warn};

pub(crate) use self::order::{BOUND, Kept};
pub(super) use self::{
    apart::{ApartFlows, FlowSet},
    repair::{Agreed, Repair},
};
use self::{inward::Inward, lanes::Lanes, order::Order, outward::Outward, turns::Turns};
use crate::{
    api::{
        report::EngineReport,
        status::{SaDirection, SaUsage},
    },
    config::{Config, EngineChoice},
    esp::{Failed, Inbound, Outbound, Refusals, Refused, Traffic},
    kernel::{
        esp::EspReceiver,
        netlink::{Netlink, NetlinkError},
        tun::{Queue, Tun, Writer},
    },
    reconcile::objects::Spi,
    reorder::{Figures, Time},
    vpn::{self, RunningTunnels},
};

/// The most threads that work in one direction: beyond that they would wait for each other.
const MOST_THREADS: usize = 8;

/// What seals and opens the packets of tunnels.
pub(super) struct Engine {
    /// Why it is this one.
    reason: String,
    /// Nothing where the kernel does it.
    userspace: Option<Userspace>,
}

/// Withy's own engine.
struct Userspace {
    shared: Arc<Shared>,
    /// They read what the kernel sends into the device, and end with it.
    outward: Vec<JoinHandle<()>>,
}

/// What the daemon and the engine's threads have together. Tables are never changed, but replaced.
struct Shared {
    outbound: Latest<Outbound>,
    inbound: Latest<Inbound>,
    device: Latest<Option<Writer>>,
    /// The index of the bundle device.
    bundle: AtomicU32,
    receiver: EspReceiver,
    lanes: Lanes,
    order: Mutex<Order>,
    /// When something in `order` has waited as long as it may, in nanoseconds after `start`.
    deadline: AtomicU64,
    start: Instant,
    refusals: Refusals,
    ties: Ties,
    turns: Turns,
}

/// What the engine and the keepalives' thread have together.
#[derive(Clone, Default)]
pub(super) struct Ties {
    /// What is known of sending again.
    pub(super) repair: Arc<Repair>,
    /// Which flows go by an IVC of their own.
    pub(super) apart: Arc<ApartFlows>,
}

/// What is replaced as a whole; whoever has got it may go on with it.
#[derive(Default)]
struct Latest<T>(RwLock<Arc<T>>);

impl<T> Latest<T> {
    fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, new: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }
}

/// Something about tunnels, by their remote endpoints. One thread writes.
type ByRemote<V> = Latest<HashMap<Ipv4Addr, V>>;

impl<V: Copy + Default + PartialEq> ByRemote<V> {
    /// Learns something about a tunnel; returns whether that is news.
    fn put(&self, remote: Ipv4Addr, value: V) -> bool {
        let known = self.get();
        if known.get(&remote).copied().unwrap_or_default() == value {
            return false;
        }
        let mut new = HashMap::clone(&known);
        new.insert(remote, value);
        self.set(new);
        true
    }

    /// Forgets tunnels; returns whether there were any.
    fn retain(&self, stays: impl Fn(Ipv4Addr) -> bool) -> bool {
        let known = self.get();
        if known.keys().all(|remote| stays(*remote)) {
            return false;
        }
        let mut new = HashMap::clone(&known);
        new.retain(|remote, _| stays(*remote));
        self.set(new);
        true
    }
}

/// No deadline.
const NEVER: u64 = u64::MAX;

/// Why the engine's device is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeviceError {
    /// It cannot be made.
    #[error("{name}: {error} (is the kernel's module tun loaded?)", name = vpn::engine_device(), error = .0)]
    Tun(io::Error),
    /// It cannot be configured.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// No thread can be started.
    #[error("no thread: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Takes the engine that the configuration names, or for `auto` the kernel's if it works.
    ///
    /// # Errors
    ///
    /// Withy's own cannot be started.
    pub(super) fn choose(config: &Config) -> io::Result<Self> {
        let (userspace, reason) = match config.gateway.engine {
            EngineChoice::Kernel => (false, "as configured".to_owned()),
            EngineChoice::Userspace => (true, "as configured".to_owned()),
            EngineChoice::Auto => match probe::kernel(&probe::suites(config)) {
                Ok(()) => (false, "the kernel's ESP works".to_owned()),
                Err(probe::Failed::Untried(error)) => (
                    false,
                    format!(
                        "the kernel takes states, but could not be tried with a packet: {error}"
                    ),
                ),
                Err(error) => (true, format!("the kernel's ESP does not work: {error}")),
            },
        };
        let engine = Self {
            reason,
            userspace: userspace.then(Userspace::start).transpose()?,
        };
        info!(engine = engine.name(), reason = engine.reason, "IPsec");
        Ok(engine)
    }

    fn name(&self) -> &'static str {
        match self.userspace {
            Some(_) => "userspace",
            None => "kernel",
        }
    }

    /// Sees to it that the engine's device is there, and configured. `bundle` is the index of the bundle device; without it there are
    /// other problems, of which others tell.
    pub(super) async fn ensure(
        &mut self,
        netlink: &Netlink,
        bundle: Option<u32>,
    ) -> Result<vpn::Engine, DeviceError> {
        match &mut self.userspace {
            None => Ok(vpn::Engine::Kernel),
            Some(userspace) => {
                if let Some(index) = bundle {
                    userspace.shared.bundle.store(index, Relaxed);
                }
                userspace.ensure(netlink).await?;
                Ok(vpn::Engine::Userspace)
            }
        }
    }

    /// Removes the device that an earlier run with Withy's own engine left, once no route leads there any more.
    pub(super) async fn tidy(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        match self.userspace {
            None => netlink.remove_tun(&vpn::engine_device()).await,
            Some(_) => Ok(()),
        }
    }

    /// Takes the tunnels as they run now; returns what cannot be.
    pub(super) fn set(&self, running: &RunningTunnels) -> Vec<String> {
        let Some(userspace) = &self.userspace else {
            return Vec::new();
        };
        // Packets are received by new keys before they are sent by them.
        let mut failed = userspace.shared.set_inbound(running);
        failed.extend(userspace.shared.set_outbound(running));
        failed
            .into_iter()
            .map(|(tunnel, error)| format!("tunnel {tunnel}: {error}"))
            .collect()
    }

    /// Whether the kernel seals and opens.
    pub(super) fn is_kernel(&self) -> bool {
        self.userspace.is_none()
    }

    /// How much an SA has been used; nothing where it is the kernel's.
    pub(super) fn usage(&self, direction: SaDirection, spi: Spi) -> Option<SaUsage> {
        let shared = &self.userspace.as_ref()?.shared;
        let Traffic { packets, bytes } = match direction {
            SaDirection::In => shared.inbound.get().traffic(spi.get()),
            SaDirection::Out => shared.outbound.get().traffic(spi.get()),
        }?;
        Some(SaUsage {
            since: None,
            packets,
            bytes,
        })
    }

    /// What it has together with the keepalives' thread; nothing where the kernel's engine works, which can do nothing with that.
    pub(super) fn ties(&self) -> Option<Ties> {
        let userspace = self.userspace.as_ref()?;
        Some(userspace.shared.ties.clone())
    }

    /// How it is.
    pub(super) fn report(&self) -> EngineReport {
        let shared = self.userspace.as_ref().map(|own| &own.shared);
        let refusals = shared.map(|shared| &shared.refusals);
        EngineReport {
            name: self.name(),
            reason: self.reason.clone(),
            drops: refusals
                .iter()
                .flat_map(|refusals| {
                    Refused::ALL.map(|reason| (reason.name(), refusals.of(reason)))
                })
                .collect(),
            kept: shared.map(|shared| shared.order().kept()),
            resends: shared.map(|shared| shared.resends()).unwrap_or_default(),
        }
    }
}

impl Userspace {
    /// Starts to receive. Nothing is sent yet.
    fn start() -> io::Result<Self> {
        let threads = threads();
        let shared = Arc::new(Shared {
            outbound: Latest::default(),
            inbound: Latest::default(),
            device: Latest::default(),
            bundle: AtomicU32::default(),
            receiver: EspReceiver::open()?,
            lanes: Lanes::new(threads),
            order: Mutex::default(),
            deadline: AtomicU64::new(NEVER),
            start: Instant::now(),
            refusals: Refusals::default(),
            ties: Ties::default(),
            turns: Turns::default(),
        });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            spawn(format!("esp-in-{number}"), move || {
                Inward::new(&shared).run();
            })?;
        }
        Ok(Self {
            shared,
            outward: Vec::new(),
        })
    }

    async fn ensure(&mut self, netlink: &Netlink) -> Result<(), DeviceError> {
        let (name, mtu) = (vpn::engine_device(), vpn::bundle_device().mtu);
        let alive = !self.outward.is_empty() && !self.outward.iter().any(JoinHandle::is_finished);
        if alive && netlink.link(&name).await?.is_some() {
            netlink.configure_tun(&name, mtu).await?;
            return Ok(());
        }
        let device = match Tun::open(&name, threads()) {
            // It is there with other properties, of another version of Withy.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                netlink.remove_tun(&name).await?;
                Tun::open(&name, threads())
            }
            opened => opened,
        };
        let device = device.map_err(DeviceError::Tun)?;
        // Only what bears Withy's mark may stay.
        netlink.configure_tun(&name, mtu).await?;
        device.stay().map_err(DeviceError::Tun)?;
        let Tun { queues, writer } = device;
        self.shared.device.set(Some(writer));
        self.outward = queues
            .into_iter()
            .enumerate()
            .map(|(number, queue)| self.outward(number, queue))
            .collect::<io::Result<_>>()
            .map_err(DeviceError::Thread)?;
        info!(device = %name, threads = self.outward.len(), "the ESP engine runs");
        Ok(())
    }

    /// Starts a thread for a queue of the device.
    fn outward(&self, number: usize, queue: Queue) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        spawn(format!("esp-out-{number}"), move || {
            let ended = Outward::new(&shared, queue).run();
            warn!(error = %ended, "the engine's device is gone");
        })
    }
}

/// How many threads work in each direction: one for each processor.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS))
}

/// Starts a thread, in the network namespace of the calling one.
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(body)
}

impl Shared {
    fn set_outbound(&self, running: &RunningTunnels) -> Failed {
        let (table, failed) = self.outbound.get().follow(running);
        self.ties.repair.follow(|spi| table.has(spi));
        self.outbound.set(table);
        failed
    }

    fn set_inbound(&self, running: &RunningTunnels) -> Failed {
        let (table, failed) = self.inbound.get().follow(running);
        self.inbound.set(table);
        failed
    }

    /// What was done about packets that links lost, by event.
    fn resends(&self) -> Vec<(&'static str, u64)> {
        let mut figures = Figures::default();
        for kept in self.order().kept().values() {
            figures += kept.figures;
        }
        vec![
            ("asked", figures.asked),
            ("sent", self.ties.repair.sent()),
            ("came", figures.mended),
            ("late", figures.missed),
        ]
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the engine was started.
    fn now(&self) -> Time {
        self.start.elapsed()
    }

    fn deadline(&self) -> Option<Time> {
        let deadline = self.deadline.load(Relaxed);
        (deadline != NEVER).then(|| Time::from_nanos(deadline))
    }

    fn set_deadline(&self, deadline: Option<Time>) {
        let nanos = deadline.and_then(|time| u64::try_from(time.as_nanos()).ok());
        self.deadline.store(nanos.unwrap_or(NEVER), Relaxed);
    }

    fn bundle(&self) -> u32 {
        self.bundle.load(Relaxed)
    }
}
