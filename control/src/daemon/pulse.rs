//! Keepalives, sent and heard in a thread of their own: the other gateway must not take for the end of an IVC that this one has
//! much to do.

mod bell;
mod filler;
mod gauge;
mod heart;
mod reading;
mod rest;
mod tunnel;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};
use tokio::sync::{broadcast, mpsc};

use self::{bell::Bell, heart::Heart};
use super::{engine::Ties, events::Events};
use crate::{
    bundle::IvcId,
    config::{LinkName, TunnelName},
    dataplane::{Keepalives, Meters, Svcs},
    estimate::Gauged,
    link::Interface,
    liveness::{Echo, Liveness, Terms, TunnelKeys},
    load::Loads,
    splitting::Splitting,
};

/// The nice value of the thread: a gateway that has much to do must not be taken for dead.
const NICE: i32 = -10;
/// How much may be told of pings before somebody has listened.
const ECHOES: usize = 1024;

/// The keepalives of a gateway.
pub(super) struct Pulse {
    shared: Arc<Shared>,
    changed: mpsc::Receiver<()>,
}

/// What the gateway and the thread both look at.
struct Shared {
    plan: Mutex<Arc<Plan>>,
    /// The gateway is gone.
    ended: AtomicBool,
    /// There is something new, or to say at once.
    bell: Bell,
    liveness: Mutex<Liveness>,
    estimates: Mutex<BTreeMap<IvcId, Gauged>>,
    /// By the tunnels' remote endpoints.
    splittings: Mutex<BTreeMap<Ipv4Addr, Splitting>>,
    rejected: AtomicU64,
    echoes: Echoes,
    loads: Mutex<Loads>,
}

/// Where it is told what becomes of pings.
struct Echoes(broadcast::Sender<Echo>);

impl Default for Echoes {
    fn default() -> Self {
        Self(broadcast::Sender::new(ECHOES))
    }
}

/// Who pings.
#[derive(Clone)]
pub(super) struct Pinger(Arc<Shared>);

impl Pinger {
    /// Pings IVCs; those whose links do not work are left out.
    pub(super) fn ping(&self, ids: &[IvcId]) {
        let mut liveness = self.0.liveness();
        for id in ids {
            liveness.ping(id);
        }
        drop(liveness);
        self.0.bell.ring();
    }

    /// What load is sent and wanted.
    pub(super) fn loads(&self) -> MutexGuard<'_, Loads> {
        self.0.loads()
    }

    /// Tells what becomes of pings from now on, whoever pings.
    pub(super) fn echoes(&self) -> broadcast::Receiver<Echo> {
        self.0.echoes.0.subscribe()
    }
}

/// What there is to probe.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The IVCs, and how they are probed.
    pub(super) terms: BTreeMap<IvcId, Terms>,
    /// The links that have an interface and an address.
    pub(super) links: BTreeMap<LinkName, (Interface, Ipv4Addr)>,
    /// The IVC of each counters' slot.
    pub(super) owners: BTreeMap<u32, IvcId>,
    /// The counters' slot of each IVC.
    pub(super) slots: BTreeMap<IvcId, u32>,
    /// What the IVCs carry at most, in bits per second, where that is stated.
    pub(super) caps: BTreeMap<IvcId, Option<u64>>,
    /// The names of tunnels, by their remote endpoints.
    pub(super) tunnels: BTreeMap<Ipv4Addr, TunnelName>,
    /// The remote endpoints of the tunnels in which losses may be repaired.
    pub(super) resend: BTreeSet<Ipv4Addr>,
    /// The remote endpoints of the tunnels whose packets are split where that is worth it.
    pub(super) splits: BTreeSet<Ipv4Addr>,
    /// The remote endpoints of those whose packets an earlier run found worth it.
    pub(super) pieces: BTreeSet<Ipv4Addr>,
    /// The keys of each tunnel, by its remote endpoint.
    pub(super) keys: HashMap<Ipv4Addr, TunnelKeys>,
}

impl Pulse {
    /// Begins with no IVC.
    ///
    /// # Errors
    ///
    /// The machine has no thread left, or no descriptors.
    pub(super) fn start(
        (keepalives, meters, svcs): (Keepalives, Meters, Svcs),
        ties: Option<Ties>,
        events: Events,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new()?);
        let (word, changed) = mpsc::channel(1);
        let heart = Heart::new(
            Arc::clone(&shared),
            word,
            (keepalives, meters, svcs),
            ties,
            events,
        )?;
        thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || {
                // Where the system refuses, the thread takes its turn like others.
                let _ = setpriority_process(None, NICE);
                heart.run();
            })?;
        Ok(Self { shared, changed })
    }

    /// Learns what there is to probe. What is known of IVCs that stay is kept.
    pub(super) fn set(&self, plan: Plan) {
        self.liveness().set(&plan.terms, now(), clock());
        let known = |id: &IvcId, _: &mut Gauged| plan.terms.contains_key(id);
        self.shared.estimates().retain(known);
        let known = |endpoint: &Ipv4Addr, _: &mut Splitting| plan.tunnels.contains_key(endpoint);
        self.shared.splittings().retain(known);
        *self.shared.plan() = Arc::new(plan);
        self.shared.bell.ring();
    }

    /// Learns how many pieces have crossed IVCs in both directions.
    pub(super) fn feel(&self, pieces: &[(IvcId, u64)]) {
        let mut liveness = self.liveness();
        for (id, pieces) in pieces {
            liveness.traffic(id, *pieces, now());
        }
        drop(liveness);
        if !pieces.is_empty() {
            self.shared.bell.ring();
        }
    }

    /// Waits until what is silent, or the MTU of a path, is another.
    pub(super) async fn changed(&mut self) {
        if self.changed.recv().await.is_none() {
            // The thread ends only with the daemon.
            std::future::pending::<()>().await;
        }
    }

    /// What is known of the IVCs.
    pub(super) fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.shared.liveness()
    }

    /// What IVCs carry, as far as has been found out.
    pub(super) fn estimates(&self) -> BTreeMap<IvcId, Gauged> {
        self.shared.estimates().clone()
    }

    /// What comes of splitting the tunnels' packets, by their remote endpoints.
    pub(super) fn splittings(&self) -> BTreeMap<Ipv4Addr, Splitting> {
        self.shared.splittings().clone()
    }

    /// Who pings.
    pub(super) fn pinger(&self) -> Pinger {
        Pinger(Arc::clone(&self.shared))
    }

    /// How many keepalives were not believed.
    pub(super) fn rejected(&self) -> u64 {
        self.shared.rejected.load(Ordering::Relaxed)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            plan: Mutex::default(),
            ended: AtomicBool::new(false),
            bell: Bell::new()?,
            liveness: Mutex::default(),
            estimates: Mutex::default(),
            splittings: Mutex::default(),
            rejected: AtomicU64::new(0),
            echoes: Echoes::default(),
            loads: Mutex::default(),
        })
    }

    fn plan(&self) -> MutexGuard<'_, Arc<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn estimates(&self) -> MutexGuard<'_, BTreeMap<IvcId, Gauged>> {
        self.estimates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn splittings(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Splitting>> {
        self.splittings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock by which the programs say when something came.
pub(super) fn now() -> Duration {
    read(ClockId::Monotonic)
}

/// How much of a processor's time the calling thread has taken.
fn effort() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}

/// The time in nanoseconds since the epoch.
fn clock() -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX)
}
