//! The thread that sends and hears keepalives.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::{debug, info};
use withy_common::keepalive::Keepalive;

use super::{Plan, Shared, clock, effort, filler::Filler, gauge::Gauge, now, rest::Effort};
use crate::{
    api::event::{self, What},
    bundle::IvcId,
    config::LinkName,
    daemon::{
        engine::{Agreed, Ties},
        events::Events,
    },
    dataplane::{Keepalives, Meters, Svcs},
    kernel::raw::LinkSocket,
    link::Interface,
    liveness::{Due, Liveness, Message, Rejected},
    load::Target,
    reorder::RoundTrip,
    splitting::Splitting,
};

/// For how long an IVC is loaded that is to be found out about, unless that goes on.
const LOOK: Duration = Duration::from_millis(500);

/// The steps in which the engine is told of round-trip times: its table is made anew whenever they change.
const STEP: Duration = Duration::from_millis(5);

pub(super) struct Heart {
    shared: Arc<Shared>,
    /// What was planned when it was last looked.
    plan: Arc<Plan>,
    changes: mpsc::Sender<()>,
    keepalives: Keepalives,
    gauge: Gauge,
    filler: Filler,
    /// What is being filled.
    filled: Option<Target>,
    svcs: Svcs,
    ties: Option<Ties>,
    sockets: BTreeMap<LinkName, (Interface, Ipv4Addr, LinkSocket)>,
    silent: BTreeSet<IvcId>,
    effort: Effort,
    events: Events,
}

impl Heart {
    /// Makes it, for a thread in the network namespace of the calling one.
    ///
    /// # Errors
    ///
    /// The machine has no thread left.
    pub(super) fn new(
        shared: Arc<Shared>,
        changes: mpsc::Sender<()>,
        (keepalives, meters, svcs): (Keepalives, Meters, Svcs),
        ties: Option<Ties>,
        events: Events,
    ) -> io::Result<Self> {
        let meters = Arc::new(meters);
        Ok(Self {
            shared,
            plan: Arc::default(),
            changes,
            keepalives,
            gauge: Gauge::new(Arc::clone(&meters), svcs.clone()),
            filler: Filler::start(meters, svcs.clone())?,
            filled: None,
            svcs,
            ties,
            sockets: BTreeMap::new(),
            silent: BTreeSet::new(),
            effort: Effort::default(),
            events,
        })
    }

    /// Beats until the gateway is gone.
    pub(super) fn run(mut self) {
        loop {
            let began = now();
            let deadline = self.shared.liveness().deadline(began);
            let most = deadline.map(|deadline| deadline.saturating_sub(began));
            if let Err(error) = self.shared.bell.listen(&self.keepalives, most) {
                debug!(%error, "cannot wait for keepalives");
            }
            if self.shared.ended.load(Ordering::Relaxed) {
                return;
            }
            let plan = Arc::clone(&*self.shared.plan());
            if !Arc::ptr_eq(&plan, &self.plan) {
                self.follow(&plan);
                self.plan = Arc::clone(&plan);
            }
            let before = effort();
            self.beat(&plan);
            self.effort.note(effort().saturating_sub(before));
            thread::sleep(self.effort.rest());
        }
    }

    /// Takes in another plan.
    fn follow(&mut self, plan: &Plan) {
        self.gauge.set(plan);
        if let Some(Ties { repair, apart }) = &self.ties {
            repair.retain(|endpoint| plan.resend.contains(&endpoint));
            apart.retain(|endpoint| plan.tunnels.contains_key(&endpoint));
        }
    }

    /// Takes in what came, judges, and sends.
    fn beat(&mut self, plan: &Plan) {
        let came = self.keepalives.take();
        self.gauge.begin();
        let shared = Arc::clone(&self.shared);
        let mut liveness = shared.liveness();
        for keepalive in &came {
            let heard = open(plan, keepalive).and_then(|(id, message)| {
                liveness.heard(id, &message, Duration::from_nanos(keepalive.time))?;
                if message.length > Message::LENGTH {
                    return Ok(());
                }
                shared.loads().heard(id, message.load, now());
                let counted = self.gauge.count(plan, id, keepalive.time, now());
                liveness.counted(id, counted.unwrap_or_default());
                self.gauge.heard(plan, id, &message, now());
                self.agree(plan, id.0, &message, &liveness);
                Ok(())
            });
            if let Err(rejected) = heard {
                self.shared.rejected.fetch_add(1, Ordering::Relaxed);
                debug!(%rejected, "a keepalive is not believed");
            }
        }
        let arrived = |id: &IvcId| {
            let slot = plan.slots.get(id)?;
            self.gauge.pieces(*slot)
        };
        let due = liveness.poll(now(), clock(), arrived);
        let changed = liveness.take_changed().then(|| liveness.silent());
        let echoes = liveness.take_echoes();
        drop(liveness);
        for echo in echoes {
            // Whoever has pinged may have gone.
            let _ = self.shared.echoes.0.send(echo);
        }
        if let Some(silent) = changed {
            self.tell(plan, silent);
        }
        self.open_sockets(plan);
        for mut due in due {
            due.message.load = shared.loads().say(&due.id, now());
            due.message.keeps = self.keeps(plan, due.id.0);
            let leaves = self.mark(plan, &due);
            self.send(plan, &due, leaves);
        }
        self.fill(plan);
        let apart = self.ties.as_ref().map(|ties| &*ties.apart);
        let sized = |id: &IvcId| shared.liveness().is_sized(id);
        let news = self.gauge.program(plan, now(), apart, sized);
        self.shared.estimates().extend(news.ivcs);
        self.choose(plan, news.splittings);
    }

    /// Lets everybody know which tunnels' packets are to be split from now on, and which no longer.
    fn choose(&self, plan: &Plan, splittings: Vec<(Ipv4Addr, Splitting)>) {
        let mut known = self.shared.splittings();
        for (endpoint, splitting) in splittings {
            let before = known.insert(endpoint, splitting);
            let pieces = splitting.choice.pieces;
            let before = before.map_or(plan.pieces.contains(&endpoint), |before| {
                before.choice.pieces
            });
            if pieces == before || !plan.splits.contains(&endpoint) {
                continue;
            }
            let tunnel = plan.tunnels.get(&endpoint);
            self.events.tell(What::Splitting {
                tunnel: tunnel.map(ToString::to_string).unwrap_or_default(),
                pieces,
                reason: splitting.choice.why.to_string(),
            });
            // As in `tell`.
            let _ = self.changes.try_send(());
        }
    }

    /// Has load sent that is wanted, and none that is not.
    fn fill(&mut self, plan: &Plan) {
        let sending = self.shared.loads().sending(now());
        let asked = sending.map(|sending| (sending.target, sending.until));
        let explored = || Some((self.gauge.explored()?, now() + LOOK));
        let sending = asked.or_else(explored);
        let target = sending.as_ref().map(|(target, _)| target.clone());
        if self.filled != target {
            let way = target.as_ref().map(|target| {
                let only = target.only.as_ref();
                // An IVC that has no slot carries nothing.
                let slots = |ids: &BTreeSet<_>| {
                    ids.iter()
                        .filter_map(|id| plan.slots.get(id).copied())
                        .collect()
                };
                (target.tunnel, only.map(slots))
            });
            if let Some(target) = &target {
                let tunnel = plan.tunnels.get(&target.tunnel);
                let tunnel = tunnel.map(ToString::to_string).unwrap_or_default();
                let names = |ids: &BTreeSet<IvcId>| {
                    let names: Vec<_> = ids.iter().map(|id| id.1.as_str()).collect();
                    names.join(", ")
                };
                let links = target.only.as_ref().map(names);
                info!(tunnel, links, "load is sent, to see what is carried");
            }
            if let Err(error) = self.svcs.fill(way) {
                debug!(%error, "cannot have a way filled");
            }
            self.filled = target;
        }
        self.filler.set(sending.map(|(_, until)| until));
    }

    /// Whether what is sent in a tunnel is kept.
    fn keeps(&self, plan: &Plan, endpoint: Ipv4Addr) -> bool {
        self.ties.is_some()
            && plan.resend.contains(&endpoint)
            && self.gauge.is_worth_keeping(endpoint)
    }

    /// Tells the engine what the other side of a tunnel says that it can do, and what this side does.
    fn agree(&mut self, plan: &Plan, endpoint: Ipv4Addr, message: &Message, liveness: &Liveness) {
        let keeps = self.keeps(plan, endpoint);
        // Who keeps what it sends asks for what it misses.
        self.gauge.is_repaired(endpoint, keeps && message.keeps);
        let Some(Ties { repair, .. }) = &self.ties else {
            return;
        };
        if !plan.resend.contains(&endpoint) {
            return;
        }
        let round_trip = message.keeps.then(|| {
            let usual = liveness.round_trip(endpoint).unwrap_or_default();
            let least = liveness.least_round_trip(endpoint).unwrap_or_default();
            RoundTrip {
                usual: steps(usual) + STEP,
                least: steps(least),
            }
        });
        repair.agree(endpoint, Agreed { keeps, round_trip });
    }

    /// Makes a keepalive a mark in the data; returns when it is to leave, if it has to wait as data does.
    fn mark(&mut self, plan: &Plan, due: &Due) -> Option<Duration> {
        if due.message.length > Message::LENGTH {
            return self.gauge.leaves(plan, &due.id, now());
        }
        let sent = self.gauge.sent(plan, &due.id, &due.message, now());
        let sent = sent.unwrap_or_default();
        self.shared.liveness().load(&due.id, sent.interval);
        sent.leaves
    }

    fn tell(&mut self, plan: &Plan, silent: BTreeSet<IvcId>) {
        for id in silent.difference(&self.silent) {
            self.events.tell(What::IvcSilent(shown(plan, id)));
        }
        let back = self.silent.difference(&silent);
        // Of those that are no more, others tell.
        for id in back.filter(|id| plan.terms.contains_key(id)) {
            self.events.tell(What::IvcBack(shown(plan, id)));
        }
        self.silent = silent;
        // Where word of an earlier change waits, it is word of this one, too.
        let _ = self.changes.try_send(());
    }

    fn send(&self, plan: &Plan, due: &Due, leaves: Option<Duration>) {
        let (tunnel, link, remote) = &due.id;
        let (Some((_, local, socket)), Some(keys)) =
            (self.sockets.get(link), plan.keys.get(tunnel))
        else {
            return;
        };
        let Some(bytes) = keys.seal(&due.message, *local, *remote) else {
            return;
        };
        // A keepalive that cannot leave is as good as lost, and the other side will notice.
        if let Err(error) = socket.send_esp(*remote, &bytes, due.message.length, leaves) {
            debug!(%error, %link, %remote, "no keepalive");
        }
    }

    /// Opens a socket on each link that has none, or whose interface or address is another now.
    fn open_sockets(&mut self, plan: &Plan) {
        self.sockets.retain(|name, (interface, address, _)| {
            let wanted = plan.links.get(name);
            wanted.is_some_and(|wanted| (&wanted.0, wanted.1) == (interface, *address))
        });
        for (name, (interface, address)) in &plan.links {
            if self.sockets.contains_key(name) {
                continue;
            }
            match LinkSocket::open(&interface.name, *address) {
                Ok(socket) => {
                    let open = (interface.clone(), *address, socket);
                    self.sockets.insert(name.clone(), open);
                }
                Err(error) => debug!(%error, link = %name, "no socket for keepalives"),
            }
        }
    }
}

/// Whole steps of a time.
fn steps(time: Duration) -> Duration {
    let steps = time.as_millis() / STEP.as_millis();
    STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

fn open<'a>(plan: &'a Plan, keepalive: &Keepalive) -> Result<(&'a IvcId, Message), Rejected> {
    let id = plan
        .owners
        .get(&keepalive.counters)
        .ok_or(Rejected::Unknown)?;
    let local = plan.terms.get(id).and_then(|terms| terms.local);
    let keys = plan.keys.get(&id.0).ok_or(Rejected::Unknown)?;
    let local = local.ok_or(Rejected::Unknown)?;
    let message = keys.open(&keepalive.bytes, keepalive.total, id.2, local)?;
    Ok((id, message))
}

fn shown(plan: &Plan, (endpoint, link, remote): &IvcId) -> event::Ivc {
    let tunnel = plan.tunnels.get(endpoint);
    event::Ivc {
        tunnel: tunnel.map(ToString::to_string).unwrap_or_default(),
        link: link.to_string(),
        remote: *remote,
    }
}
