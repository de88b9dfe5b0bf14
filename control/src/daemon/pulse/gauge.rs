//! What the IVCs carry, found out from keepalives, and the scheduler programmed with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use tracing::debug;
use withy_common::maps::{Svc, SvcState, Traffic};

use super::{
    Plan,
    tunnel::{Counts, Sent, Tunnel},
};
use crate::{
    bundle::{IvcId, Steering},
    daemon::engine::{ApartFlows, FlowSet},
    dataplane::{Meters, Svcs, wire},
    estimate::{Gauged, Present, Received},
    liveness::{Counted, Message},
    load::Target,
    splitting::Splitting,
};

/// The gauge of a gateway's tunnels, by their remote endpoints.
#[derive(Debug)]
pub(super) struct Gauge {
    meters: Arc<Meters>,
    svcs: Svcs,
    tunnels: BTreeMap<Ipv4Addr, Tunnel>,
    /// Tunnels of which there is something new.
    touched: BTreeSet<Ipv4Addr>,
    /// The IVCs that are to be loaded, to find out what they carry: one of a tunnel at the most.
    explored: BTreeMap<Ipv4Addr, IvcId>,
}

/// A tunnel's SVC, as it was stated and as it stands, at one moment.
#[derive(Debug)]
struct Snapshot {
    svc: Svc,
    state: SvcState,
}

/// What has been found out of tunnels and their IVCs.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) ivcs: Vec<(IvcId, Gauged)>,
    /// By the tunnels' remote endpoints.
    pub(super) splittings: Vec<(Ipv4Addr, Splitting)>,
}

impl Gauge {
    pub(super) fn new(meters: Arc<Meters>, svcs: Svcs) -> Self {
        Self {
            meters,
            svcs,
            tunnels: BTreeMap::new(),
            touched: BTreeSet::new(),
            explored: BTreeMap::new(),
        }
    }

    /// Learns which IVCs there are, and what they carry at most.
    pub(super) fn set(&mut self, plan: &Plan) {
        let mut caps: BTreeMap<Ipv4Addr, BTreeMap<IvcId, Option<u64>>> = BTreeMap::new();
        for (id, cap) in &plan.caps {
            caps.entry(id.0).or_default().insert(id.clone(), *cap);
        }
        self.tunnels
            .retain(|endpoint, _| caps.contains_key(endpoint));
        self.explored
            .retain(|endpoint, _| caps.contains_key(endpoint));
        for (endpoint, caps) in caps {
            let pieces = plan.pieces.contains(&endpoint);
            let tunnel = self.tunnels.entry(endpoint);
            tunnel.or_insert_with(|| Tunnel::new(pieces)).set(&caps);
        }
    }

    /// How many pieces have arrived on the IVC in slot `slot`.
    pub(super) fn pieces(&self, slot: u32) -> Option<u64> {
        Some(self.meters.counters(slot)?.rx.pieces)
    }

    /// How much data has come on the IVC in slot `slot`, where a keepalive came at `arrived`.
    pub(super) fn count(&self, slot: u32, arrived: u64, now: Duration) -> Option<Counted> {
        let rx = self.meters.counters(slot)?.rx;
        let lag = now
            .saturating_sub(Duration::from_nanos(arrived))
            .as_micros();
        Some(Counted {
            arrived,
            bytes: rx.bytes,
            pieces: rx.pieces,
            lag: u32::try_from(lag).unwrap_or(u32::MAX),
        })
    }

    /// The other side has said something on an IVC.
    pub(super) fn heard(&mut self, plan: &Plan, id: &IvcId, message: &Message, now: Duration) {
        let said = message.counted;
        if said.arrived == 0 || message.length > Message::LENGTH {
            return;
        }
        let known = self.snapshot(id.0);
        let Some((present, overhead)) =
            known.and_then(|snapshot| self.present(plan, &snapshot, id, now))
        else {
            return;
        };
        let arrived = Duration::from_nanos(said.arrived);
        let received = Received {
            number: message.received.newest,
            arrived,
            bytes: volume(said.bytes, said.pieces, overhead),
            read: arrived + Duration::from_micros(said.lag.into()),
        };
        if let Some(tunnel) = self.tunnels.get_mut(&id.0) {
            tunnel.is_metered(id, message.metered);
            tunnel.reported(id, &received, &present);
            self.touched.insert(id.0);
        }
    }

    /// This side is about to say something on an IVC; returns how.
    pub(super) fn sent(
        &mut self,
        plan: &Plan,
        id: &IvcId,
        message: &Message,
        now: Duration,
    ) -> Option<Sent> {
        let (present, _) = self.present(plan, &self.snapshot(id.0)?, id, now)?;
        let tunnel = self.tunnels.get_mut(&id.0)?;
        self.touched.insert(id.0);
        Some(tunnel.sent(id, message.sequence, present, now))
    }

    /// When what is sent over an IVC now is to leave, if it is to go the way of the data and be held until then.
    pub(super) fn leaves(&self, plan: &Plan, id: &IvcId, now: Duration) -> Option<Duration> {
        let (present, _) = self.present(plan, &self.snapshot(id.0)?, id, now)?;
        (present.leaves > now).then_some(present.leaves)
    }

    /// Programs the scheduler with what is new; returns what is known of the tunnels and IVCs that this is about.
    pub(super) fn program(
        &mut self,
        plan: &Plan,
        now: Duration,
        apart: Option<&ApartFlows>,
    ) -> News {
        let mut news = News::default();
        for endpoint in std::mem::take(&mut self.touched) {
            let snapshot = self.snapshot(endpoint);
            let presents = self.presents(plan, endpoint, snapshot.as_ref(), now);
            let counts = self.counts(endpoint, snapshot.as_ref());
            let Some(tunnel) = self.tunnels.get_mut(&endpoint) else {
                continue;
            };
            let free = |id: &IvcId| plan.terms.get(id).is_some_and(|terms| !terms.metered);
            let Some(found) = tunnel.assess(&presents, &counts, free, now) else {
                continue;
            };
            match found.explored {
                Some(id) => self.explored.insert(endpoint, id),
                None => self.explored.remove(&endpoint),
            };
            news.ivcs.extend(found.ivcs);
            let splitting = found.splitting.map(|splitting| (endpoint, splitting));
            news.splittings.extend(splitting);
            let slot = |id: &IvcId| plan.slots.get(id).copied();
            let steering = Steering::new(&found.plan, tunnel.ways(), now, slot);
            if let Some(apart) = apart {
                // First, so that the other side waits for none of them.
                self.part(endpoint, snapshot.as_ref(), apart);
            }
            if let Err(error) = self.svcs.steer(endpoint, steering) {
                debug!(%error, "cannot steer a tunnel");
            }
        }
        news
    }

    /// What a tunnel's SVC is, and how it stands.
    fn snapshot(&self, endpoint: Ipv4Addr) -> Option<Snapshot> {
        let svc = self.svcs.stated(endpoint)?;
        let state = self.meters.state(svc.index)?;
        Some(Snapshot { svc, state })
    }

    /// What is to be loaded, to find out what it carries.
    pub(super) fn explored(&self) -> Option<Target> {
        let (endpoint, id) = self.explored.first_key_value()?;
        Some(Target {
            tunnel: *endpoint,
            only: Some(id.clone()),
        })
    }

    /// What the data plane has counted of a tunnel, and how it is configured.
    fn counts(&self, endpoint: Ipv4Addr, snapshot: Option<&Snapshot>) -> Counts {
        Counts {
            state: snapshot.map(|snapshot| snapshot.state),
            flows: self.svcs.flows(endpoint),
            burst: snapshot
                .map(|snapshot| burst(&snapshot.svc))
                .unwrap_or_default(),
        }
    }

    /// Has the engine know which flows of a tunnel go by an IVC of their own.
    fn part(&self, endpoint: Ipv4Addr, snapshot: Option<&Snapshot>, apart: &ApartFlows) {
        if let (Some(tunnel), Some(snapshot)) = (self.tunnels.get(&endpoint), snapshot) {
            let flows = tunnel.ways().map(|(flow, _)| flow);
            apart.set(endpoint, FlowSet::new(snapshot.svc.policies, flows));
        }
    }

    /// Whether a tunnel's packets are worth keeping.
    pub(super) fn is_worth_keeping(&self, endpoint: Ipv4Addr) -> bool {
        let tunnel = self.tunnels.get(&endpoint);
        tunnel.is_some_and(Tunnel::is_worth_keeping)
    }

    /// The IVCs of a tunnel that may carry something.
    fn presents(
        &self,
        plan: &Plan,
        endpoint: Ipv4Addr,
        snapshot: Option<&Snapshot>,
        now: Duration,
    ) -> BTreeMap<IvcId, Present> {
        let ids = self.tunnels.get(&endpoint).map(Tunnel::ivcs);
        let Some(snapshot) = snapshot else {
            return BTreeMap::new();
        };
        let ivcs = &snapshot.svc.ivcs;
        let usable =
            |id: &&IvcId| place(plan, &snapshot.svc, id).is_some_and(|place| ivcs[place].mtu > 0);
        ids.into_iter()
            .flatten()
            .filter(usable)
            .filter_map(|id| Some((id.clone(), self.present(plan, snapshot, id, now)?.0)))
            .collect()
    }

    /// What has been sent on an IVC by now, and what each piece costs beneath IP, in bytes.
    fn present(
        &self,
        plan: &Plan,
        Snapshot { svc, state }: &Snapshot,
        id: &IvcId,
        now: Duration,
    ) -> Option<(Present, u64)> {
        let place = place(plan, svc, id)?;
        let ivc = &svc.ivcs[place];
        let Traffic { bytes, pieces, .. } = self.meters.counters(ivc.counters)?.tx;
        let overhead = u64::from(ivc.overhead);
        let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let present = Present {
            at: now,
            bytes: volume(bytes, pieces, overhead),
            ahead: state.clocks[place].wrapping_sub(nanoseconds).cast_signed(),
            leaves: if self.svcs.is_paced(id.0, ivc, now) {
                // Behind those that have been counted.
                now.max(Duration::from_nanos(state.departures[place]))
            } else {
                now
            },
        };
        Some((present, overhead))
    }
}

/// How much longer than they are to be packets of an SVC may be queued: as its configuration says.
fn burst(svc: &Svc) -> Duration {
    let used = svc.ivcs.iter().filter(|ivc| ivc.mtu > 0);
    let slowest = used.map(|ivc| ivc.latency_ns).max().unwrap_or_default();
    Duration::from_nanos(svc.horizon_ns.saturating_sub(slowest))
}

/// The place of an IVC among those of its SVC.
fn place(plan: &Plan, svc: &Svc, id: &IvcId) -> Option<usize> {
    let slot = plan.slots.get(id)?;
    let is = |ivc: &withy_common::maps::Ivc| ivc.counters == *slot && ivc.remote == wire(id.2);
    svc.ivcs.iter().position(is)
}

/// The bytes of data with what its pieces cost beneath IP.
fn volume(bytes: u64, pieces: u64, overhead: u64) -> u64 {
    bytes.saturating_add(pieces.saturating_mul(overhead))
}
