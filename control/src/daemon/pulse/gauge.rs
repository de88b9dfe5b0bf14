//! What the IVCs carry, found out from keepalives, and the scheduler programmed with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use tracing::{debug, trace};
use withy_common::maps::{Svc, SvcState, Traffic};

use super::Plan;
use crate::{
    bundle::{IvcId, Steering},
    daemon::engine::{ApartFlows, FlowSet},
    dataplane::{Meters, Svcs, wire},
    estimate::{Apart, Bond, Confidence, Gauged, Present, Received},
    liveness::{Counted, Message},
    resend::Gate,
    splitting::{Chooser, Lane, Pace, Splitting},
};

/// More bytes than this between two keepalives are a load.
const LOAD: u64 = 4_500;
/// For how long there counts as being load after the last.
const LOADED: Duration = Duration::from_secs(1);
/// How often a tunnel without load is steered anew.
const SELDOM: Duration = Duration::from_secs(1);

/// The gauge of a gateway's tunnels, by their remote endpoints.
#[derive(Debug)]
pub(super) struct Gauge {
    meters: Arc<Meters>,
    svcs: Svcs,
    tunnels: BTreeMap<Ipv4Addr, Tunnel>,
    /// Tunnels of which there is something new.
    touched: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Default)]
struct Tunnel {
    bond: Bond<IvcId>,
    apart: Apart<IvcId>,
    loads: BTreeMap<IvcId, Load>,
    steered: Option<Duration>,
    /// Whether packets are worth keeping.
    gate: Gate,
    /// Whether they are worth splitting.
    chooser: Chooser,
    /// How many are sent, and how many of these are split.
    sent: Pace,
    split: Pace,
}

/// What has been found out of tunnels and their IVCs.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) ivcs: Vec<(IvcId, Gauged)>,
    /// By the tunnels' remote endpoints.
    pub(super) splittings: Vec<(Ipv4Addr, Splitting)>,
}

impl Tunnel {
    /// Finds out whether its packets are worth splitting, now that its IVCs are as `gauged` says.
    fn consider_splitting<'a>(
        &mut self,
        gauged: impl Iterator<Item = &'a Gauged>,
        state: &SvcState,
        now: Duration,
    ) -> Splitting {
        self.sent.note(state.sequence, now);
        self.split.note(state.split, now);
        let lanes: Vec<_> = gauged
            .filter(|gauged| gauged.standing.bonded)
            .map(lane)
            .collect();
        self.chooser.note(&lanes, self.sent.per_second(), now);
        Splitting {
            choice: self.chooser.choice(),
            count: state.split,
            per_second: self.split.per_second(),
        }
    }
}

fn lane(gauged: &Gauged) -> Lane {
    let Gauged {
        estimate, standing, ..
    } = gauged;
    Lane {
        rate: estimate.rate,
        lag: standing.lag.as_secs_f64(),
        jitter: estimate.jitter,
        // What a full queue took at first counts as chance for long, but what is lost no longer is no chance.
        loss: estimate.random.min(estimate.loss),
        is_known: estimate.stated || estimate.confidence != Confidence::Unknown,
    }
}

/// What was sent on an IVC by the last keepalive, and when that was much.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    bytes: u64,
    at: Option<Duration>,
    /// When the last keepalive left.
    left: Duration,
}

/// How a keepalive is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// When it is to leave, if it is to be held until then.
    pub(super) leaves: Option<Duration>,
    /// After which time there should be another, if there is load.
    pub(super) interval: Option<Duration>,
}

impl Load {
    fn is_current(&self, now: Duration) -> bool {
        self.at.is_some_and(|at| now.saturating_sub(at) < LOADED)
    }
}

impl Gauge {
    pub(super) fn new(meters: Arc<Meters>, svcs: Svcs) -> Self {
        Self {
            meters,
            svcs,
            tunnels: BTreeMap::new(),
            touched: BTreeSet::new(),
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
        for (endpoint, caps) in caps {
            let tunnel = self.tunnels.entry(endpoint).or_insert_with(|| Tunnel {
                chooser: Chooser::new(plan.pieces.contains(&endpoint)),
                ..Tunnel::default()
            });
            tunnel.loads.retain(|id, _| caps.contains_key(id));
            tunnel.bond.set(&caps);
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
        let Some((present, overhead)) = self.present(plan, id, now) else {
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
            tunnel.bond.reported(id, &received, &present);
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
        let (mut present, _) = self.present(plan, id, now)?;
        let tunnel = self.tunnels.get_mut(&id.0)?;
        let load = tunnel.loads.entry(id.clone()).or_default();
        if present.bytes.saturating_sub(load.bytes) > LOAD && load.bytes > 0 {
            load.at = Some(now);
        }
        load.bytes = present.bytes.max(1);
        let current = load.is_current(now);
        let held = present.leaves > now;
        if held {
            // Where data may leave earlier than was thought, a keepalive still does not overtake another.
            present.leaves = present.leaves.max(load.left);
        }
        load.left = present.leaves;
        tunnel.bond.sent(id, message.sequence, &present);
        self.touched.insert(id.0);
        Some(Sent {
            leaves: held.then_some(present.leaves),
            interval: current.then(|| tunnel.bond.interval(id)),
        })
    }

    /// When what is sent over an IVC now is to leave, if it is to go the way of the data and be held until then.
    pub(super) fn leaves(&self, plan: &Plan, id: &IvcId, now: Duration) -> Option<Duration> {
        let (present, _) = self.present(plan, id, now)?;
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
            let presents = self.presents(plan, endpoint, now);
            let state = self.state(endpoint);
            let Some(tunnel) = self.tunnels.get_mut(&endpoint) else {
                continue;
            };
            let loaded = tunnel.loads.values().any(|load| load.is_current(now));
            let lately = |at: Duration| now.saturating_sub(at) < SELDOM;
            if !loaded && tunnel.steered.is_some_and(lately) {
                continue;
            }
            tunnel.steered = Some(now);
            let estimates: Vec<_> = presents
                .iter()
                .filter_map(|(id, present)| Some((id, tunnel.bond.estimate(id, present)?)))
                .collect();
            let random = estimates.iter().map(|(_, estimate)| estimate.random);
            let rates = estimates.iter().map(|(_, estimate)| estimate.rate);
            tunnel
                .gate
                .note(random.fold(0.0, f64::max), rates.sum(), now);
            let steering = tunnel.bond.plan(&presents, burst(&self.svcs, endpoint));
            let flows = self.svcs.flows(endpoint);
            tunnel.apart.follow(flows.as_ref(), &steering.places, now);
            let known = estimates.into_iter().filter_map(|(id, estimate)| {
                trace!(link = %id.1, ?estimate, "known of an IVC");
                let gauged = Gauged {
                    estimate,
                    standing: steering.standing(id)?,
                    flows: tunnel.apart.count(id),
                };
                Some((id.clone(), gauged))
            });
            let known: Vec<_> = known.collect();
            if let Some(state) = state {
                let gauged = known.iter().map(|(_, gauged)| gauged);
                news.splittings
                    .push((endpoint, tunnel.consider_splitting(gauged, &state, now)));
            }
            news.ivcs.extend(known);
            if let Some(apart) = apart {
                // First, so that the other side waits for none of them.
                self.part(endpoint, apart);
            }
            let Some(tunnel) = self.tunnels.get(&endpoint) else {
                continue;
            };
            let ways = tunnel.apart.ways();
            let steering = Steering::new(&steering, ways, now, |id| plan.slots.get(id).copied());
            if let Err(error) = self.svcs.steer(endpoint, steering) {
                debug!(%error, "cannot steer a tunnel");
            }
        }
        news
    }

    /// What the data plane remembers of a tunnel.
    fn state(&self, endpoint: Ipv4Addr) -> Option<SvcState> {
        self.meters.state(self.svcs.stated(endpoint)?.index)
    }

    /// Has the engine know which flows of a tunnel go by an IVC of their own.
    fn part(&self, endpoint: Ipv4Addr, apart: &ApartFlows) {
        if let (Some(tunnel), Some(svc)) = (self.tunnels.get(&endpoint), self.svcs.stated(endpoint))
        {
            let flows = tunnel.apart.ways().map(|(flow, _)| flow);
            apart.set(endpoint, FlowSet::new(svc.policies, flows));
        }
    }

    /// Whether a tunnel's packets are worth keeping.
    pub(super) fn is_worth_keeping(&self, endpoint: Ipv4Addr) -> bool {
        let tunnel = self.tunnels.get(&endpoint);
        tunnel.is_some_and(|tunnel| tunnel.gate.is_open())
    }

    /// The IVCs of a tunnel that may carry something.
    fn presents(&self, plan: &Plan, endpoint: Ipv4Addr, now: Duration) -> BTreeMap<IvcId, Present> {
        let ids = self.tunnels.get(&endpoint).map(|tunnel| tunnel.bond.keys());
        let Some(svc) = self.svcs.stated(endpoint) else {
            return BTreeMap::new();
        };
        let usable =
            |id: &&IvcId| place(plan, &svc, id).is_some_and(|place| svc.ivcs[place].mtu > 0);
        ids.into_iter()
            .flatten()
            .filter(usable)
            .filter_map(|id| Some((id.clone(), self.present(plan, id, now)?.0)))
            .collect()
    }

    /// What has been sent on an IVC by now, and what each piece costs beneath IP, in bytes.
    fn present(&self, plan: &Plan, id: &IvcId, now: Duration) -> Option<(Present, u64)> {
        let svc = self.svcs.stated(id.0)?;
        let place = place(plan, &svc, id)?;
        let ivc = &svc.ivcs[place];
        let clock = self.meters.state(svc.index)?.clocks[place];
        let Traffic { bytes, pieces, .. } = self.meters.counters(ivc.counters)?.tx;
        let overhead = u64::from(ivc.overhead);
        let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let present = Present {
            at: now,
            bytes: volume(bytes, pieces, overhead),
            ahead: clock.wrapping_sub(nanoseconds).cast_signed(),
            leaves: self.departure(id, &svc, place, now)?,
        };
        Some((present, overhead))
    }

    /// When a packet leaves that is handed over now, behind those that have been counted.
    fn departure(&self, id: &IvcId, svc: &Svc, place: usize, now: Duration) -> Option<Duration> {
        if !self.svcs.is_paced(id.0, &svc.ivcs[place], now) {
            return Some(now);
        }
        let next = self.meters.state(svc.index)?.departures[place];
        Some(now.max(Duration::from_nanos(next)))
    }
}

/// How much longer than they are to be packets of a tunnel may be queued: as its configuration says.
pub(super) fn burst(svcs: &Svcs, endpoint: Ipv4Addr) -> Duration {
    let burst = svcs.stated(endpoint).map(|svc| {
        let used = svc.ivcs.iter().filter(|ivc| ivc.mtu > 0);
        let slowest = used.map(|ivc| ivc.latency_ns).max().unwrap_or_default();
        svc.horizon_ns.saturating_sub(slowest)
    });
    Duration::from_nanos(burst.unwrap_or_default())
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
