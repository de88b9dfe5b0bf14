//! What the IVCs carry, found out from keepalives, and the scheduler programmed with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use tracing::debug;

use super::{
    Plan,
    reading::{Reading, Readings, volume},
    tunnel::{Counts, Sent, Tunnel},
};
use crate::{
    bundle::{IvcId, Steering},
    daemon::engine::{ApartFlows, FlowSet},
    dataplane::{Meters, Svcs},
    estimate::{Explored, Gauged, Present, Received},
    liveness::{Counted, Message},
    load::Target,
    splitting::Splitting,
};

/// The gauge of a gateway's tunnels, by their remote endpoints.
#[derive(Debug)]
pub(super) struct Gauge {
    meters: Arc<Meters>,
    svcs: Svcs,
    readings: Readings,
    tunnels: BTreeMap<Ipv4Addr, Tunnel>,
    /// Tunnels of which there is something new.
    touched: BTreeSet<Ipv4Addr>,
    /// What is to be loaded, to find out what it carries.
    explored: Option<Target>,
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
            readings: Readings::new(Arc::clone(&meters), svcs.clone()),
            meters,
            svcs,
            tunnels: BTreeMap::new(),
            touched: BTreeSet::new(),
            explored: None,
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
        let known = |target: &Target| caps.contains_key(&target.tunnel);
        self.explored = self.explored.take().filter(known);
        for (endpoint, caps) in caps {
            let pieces = plan.pieces.contains(&endpoint);
            let tunnel = self.tunnels.entry(endpoint);
            tunnel.or_insert_with(|| Tunnel::new(pieces)).set(&caps);
        }
    }

    /// Another beat begins: whatever has been read is old.
    pub(super) fn begin(&mut self) {
        self.readings.forget();
    }

    /// How many pieces have arrived on the IVC in slot `slot`.
    pub(super) fn pieces(&self, slot: u32) -> Option<u64> {
        Some(self.meters.counters(slot)?.rx.pieces)
    }

    /// How much data has come on an IVC, where a keepalive came at `arrived`.
    pub(super) fn count(
        &mut self,
        plan: &Plan,
        id: &IvcId,
        arrived: u64,
        now: Duration,
    ) -> Option<Counted> {
        let reading = self.readings.of(id.0, now);
        let (read, rx) = match reading.and_then(|reading| reading.seen(plan, id)) {
            Some(seen) => (seen.present.at, seen.rx),
            // Nothing is sent by it.
            None => (now, self.meters.counters(*plan.slots.get(id)?)?.rx),
        };
        let lag = read.saturating_sub(Duration::from_nanos(arrived));
        Some(Counted {
            arrived,
            bytes: rx.bytes,
            pieces: rx.pieces,
            lag: u32::try_from(lag.as_micros()).unwrap_or(u32::MAX),
        })
    }

    /// The other side has said something on an IVC.
    pub(super) fn heard(&mut self, plan: &Plan, id: &IvcId, message: &Message, now: Duration) {
        let said = message.counted;
        if said.arrived == 0 || message.length > Message::LENGTH {
            return;
        }
        let reading = self.readings.of(id.0, now);
        let Some(seen) = reading.and_then(|reading| reading.seen(plan, id)) else {
            return;
        };
        let arrived = Duration::from_nanos(said.arrived);
        let received = Received {
            number: message.received.newest,
            arrived,
            bytes: volume(said.bytes, said.pieces, seen.overhead),
            read: arrived + Duration::from_micros(said.lag.into()),
        };
        if let Some(tunnel) = self.tunnels.get_mut(&id.0) {
            tunnel.is_metered(id, message.metered);
            tunnel.reported(id, &received, &seen.present);
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
        let seen = self.readings.anew(plan, id, now)?;
        let tunnel = self.tunnels.get_mut(&id.0)?;
        let sent = tunnel.sent(id, message.sequence, seen.present, now);
        if sent.is_news {
            self.touched.insert(id.0);
        }
        Some(sent)
    }

    /// When what is sent over an IVC now is to leave, if it is to go the way of the data and be held until then.
    pub(super) fn leaves(&mut self, plan: &Plan, id: &IvcId, now: Duration) -> Option<Duration> {
        let leaves = self.readings.anew(plan, id, now)?.present.leaves;
        (leaves > now).then_some(leaves)
    }

    /// Programs the scheduler with what is new; returns what is known of the tunnels and IVCs that this is about. `sized` says of which IVCs the path's size is
    /// known.
    pub(super) fn program(
        &mut self,
        plan: &Plan,
        now: Duration,
        apart: Option<&ApartFlows>,
        sized: impl Fn(&IvcId) -> bool,
    ) -> News {
        let mut news = News::default();
        for endpoint in std::mem::take(&mut self.touched) {
            let Some(tunnel) = self.tunnels.get_mut(&endpoint) else {
                continue;
            };
            if !tunnel.is_due(now) {
                continue;
            }
            let Some(reading) = self.readings.of(endpoint, now) else {
                continue;
            };
            let presents = presents(plan, tunnel, reading);
            let counts = Counts {
                state: reading.state,
                flows: self.svcs.flows(endpoint),
                burst: reading.burst(),
            };
            let free = |id: &IvcId| plan.terms.get(id).is_some_and(|terms| !terms.metered);
            let explored = self.explored.as_ref();
            let turn = explored.is_none_or(|target| target.tunnel == endpoint);
            let found = tunnel.assess(&presents, &counts, (turn, free, &sized), now);
            if turn {
                self.explored = found.explored.map(|explored| Target {
                    tunnel: endpoint,
                    only: match explored {
                        Explored::Bonded => None,
                        Explored::Those(ids) => Some(ids),
                    },
                });
            }
            news.ivcs.extend(found.ivcs);
            let splitting = found.splitting.map(|splitting| (endpoint, splitting));
            news.splittings.extend(splitting);
            let slot = |id: &IvcId| plan.slots.get(id).copied();
            let steering = Steering::new(&found.plan, tunnel.ways(), now, slot);
            if let Some(apart) = apart {
                // First, so that the other side waits for none of them.
                let lane = |id: &IvcId| u8::try_from(reading.place(plan, id)?).ok();
                let flows = tunnel.ways();
                let flows = flows.filter_map(|(flow, id)| Some((flow, lane(id)?)));
                apart.set(endpoint, &FlowSet::new(reading.svc.policies, flows));
            }
            if let Err(error) = self.svcs.steer(endpoint, steering) {
                debug!(%error, "cannot steer a tunnel");
            }
        }
        news
    }

    /// What is to be loaded, to find out what it carries.
    pub(super) fn explored(&self) -> Option<Target> {
        self.explored.clone()
    }

    /// Learns whether what is lost of a tunnel's packets is sent again.
    pub(super) fn is_repaired(&mut self, endpoint: Ipv4Addr, repaired: bool) {
        if let Some(tunnel) = self.tunnels.get_mut(&endpoint) {
            tunnel.is_repaired(repaired);
        }
    }

    /// Whether a tunnel's packets are worth keeping.
    pub(super) fn is_worth_keeping(&self, endpoint: Ipv4Addr) -> bool {
        let tunnel = self.tunnels.get(&endpoint);
        tunnel.is_some_and(Tunnel::is_worth_keeping)
    }
}

/// What has been sent on the IVCs of a tunnel that may carry something.
fn presents(plan: &Plan, tunnel: &Tunnel, reading: &Reading) -> BTreeMap<IvcId, Present> {
    let present = |id: &IvcId| Some((id.clone(), reading.usable(plan, id)?.present));
    tunnel.ivcs().filter_map(present).collect()
}
