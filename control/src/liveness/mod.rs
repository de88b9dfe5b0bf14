//! Which IVCs carry anything, and how well, as far as keepalives tell.
//!
//! Each gateway sends keepalives on each IVC. Each of them promises when the next one comes at the latest (by default after
//! [`Terms::interval`], later while there is no data on links that are paid by the byte), and says whether the sender hears the other
//! side's. An IVC over which nothing comes for 2.5 times what was promised, neither keepalives nor data, while others bring what is newer, or on which the other side hears
//! nothing, carries no data until that changes; keepalives go on, so it comes back by itself.
//!
//! ```text
//!             heard, and they hear us
//!   waiting ─────────────────────────► live ◄───────────────┐
//!      │                                │ nothing in time,   │ heard, and
//!      │ nothing for GRACE              │ or they hear       │ they hear us
//!      ▼                                ▼ nothing            │
//!    silent ◄──────────────── silent or unheard ────────────┘
//! ```
//!
//! Where no IVC of a tunnel is live, none counts as silent: then the other side's daemon is down, which
//! must not take the network down, or nothing works anyway. One that joins others of which one is live
//! waits until it is so itself.
//!
//! When an IVC falls silent or comes back, the other side is told at once on all IVCs of the tunnel: on the IVC itself, which may work
//! one way, and on the others, which name it.
//!
//! All this is sans-IO: [`Liveness::heard`] and [`Liveness::set`] take in what happens, [`Liveness::poll`] says what to send, and
//! [`Liveness::deadline`] when to ask again.

mod estimate;
mod ivc;
mod keys;
mod message;
mod pace;
mod path_mtu;
mod ping;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use withy_common::{header, keepalive};

pub use keys::TunnelKeys;
pub use message::{Counted, KeepaliveKey, Message, Received, Rejected};
pub use path_mtu::BASE as BASE_MTU;
pub use ping::{Answer, Counts, Fate, Ways};

use self::ivc::Ivc;
use crate::bundle::IvcId;

/// The shortest and the longest time between two keepalives.
pub const INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));
/// An IVC that was never heard is silent when it has been known for so long.
const GRACE: Duration = Duration::from_secs(1);
/// How many times of messages are kept for each tunnel: some seconds' worth.
const TIMES: usize = 64;
/// The shortest time after which silence means anything: the machines at both ends have other things to do, too.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

impl Message {
    /// The length in bytes of a message without padding, its IP header included.
    #[expect(clippy::cast_possible_truncation, reason = "112")]
    pub const LENGTH: u16 = header::LEN + keepalive::LEN as u16;
}

/// How an IVC is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The time between two keepalives while data flows.
    pub interval: Duration,
    /// The time between two keepalives else.
    pub idle: Duration,
    /// Whether the link is paid by the byte, so that the other side should be sparing, too.
    pub metered: bool,
    /// The address of this gateway's link, while it has one.
    pub local: Option<Ipv4Addr>,
    /// Whether the link works, as far as this machine knows.
    pub up: bool,
    /// What is known of the path's MTU, where that is probed.
    pub mtu: Option<PathMtu>,
}

/// What is known of a path's MTU, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// What the links at both ends carry at most.
    pub most: u16,
    /// What an earlier run of the daemon found.
    pub found: Option<u16>,
}

/// The state of an IVC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has come yet.
    Waiting,
    /// It carries packets in both directions.
    Live,
    /// Nothing comes.
    Silent,
    /// The other side hears nothing.
    Unheard,
}

/// What is known of an IVC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Its state.
    pub state: State,
    /// For how long it has been in its state.
    pub age: Duration,
    /// The smoothed round-trip time.
    pub round_trip: Option<Duration>,
    /// The smallest round-trip time of the last one to two minutes.
    pub least_round_trip: Option<Duration>,
    /// The part of this gateway's keepalives that was lost in the last half minute, from 0 to 1.
    pub loss_tx: Option<f64>,
    /// The part of the other side's that was lost.
    pub loss_rx: Option<f64>,
    /// Whether the path's MTU has been found by probing.
    pub mtu_found: bool,
}

/// A keepalive to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The IVC.
    pub id: IvcId,
    /// What it says; its length tells how much padding it gets.
    pub message: Message,
}

/// What becomes of a message that is to be answered at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The IVC.
    pub id: IvcId,
    /// The message's number.
    pub number: u32,
    /// What has become of it.
    pub fate: Fate,
}

/// The IVCs of a tunnel.
#[derive(Debug, Default)]
struct Tunnel {
    ivcs: Vec<IvcId>,
    /// The times in the last messages, the newest first, with the number of the IVC among these.
    times: VecDeque<(usize, u64)>,
}

/// What is known of each IVC. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Liveness {
    ivcs: BTreeMap<IvcId, Ivc>,
    tunnels: BTreeMap<Ipv4Addr, Tunnel>,
    /// Whether what is silent, or a path's MTU, is another than was told.
    changed: bool,
    /// Whether something has come since all were judged.
    unjudged: bool,
    /// The time in the newest message.
    time: u64,
    /// What has become of pings since it was asked.
    echoes: Vec<Echo>,
}

impl Liveness {
    /// Learns which IVCs there are, and how they are to be probed. What is known of those that stay is kept. `clock` is the time in
    /// nanoseconds since the epoch.
    pub fn set(&mut self, wanted: &BTreeMap<IvcId, Terms>, now: Duration, clock: u64) {
        // Nobody sends a million probes a second, so that an earlier run's numbers are other ones.
        let number = u32::try_from(clock / 1_000_000 % (1 << 32)).unwrap_or_default();
        self.ivcs.retain(|id, _| wanted.contains_key(id));
        if !self.ivcs.keys().eq(wanted.keys()) {
            self.tunnels.clear();
            for id in wanted.keys() {
                let tunnel = self.tunnels.entry(id.0).or_default();
                tunnel.ivcs.push(id.clone());
            }
        }
        let live = self.live();
        let mut turned = BTreeSet::new();
        for (id, terms) in wanted {
            let terms = terms.bounded();
            if let Some(ivc) = self.ivcs.get_mut(id) {
                if ivc.terms.up != terms.up {
                    turned.insert(id.0);
                }
                let local = terms.local.or(ivc.terms.local);
                ivc.set(Terms { local, ..terms }, number);
            } else {
                let joins = live.contains(&id.0);
                let ivc = Ivc::new(terms, (now, joins), number);
                self.ivcs.insert(id.clone(), ivc);
            }
        }
        self.hasten(&turned);
    }

    /// Takes in a genuine message that came at `at`.
    ///
    /// # Errors
    ///
    /// It is older than another, or of no known IVC.
    pub fn heard(&mut self, id: &IvcId, message: &Message, at: Duration) -> Result<(), Rejected> {
        let ivc = self.ivcs.get_mut(id).ok_or(Rejected::Unknown)?;
        let before = ivc.mtu.as_ref().map(path_mtu::Search::found);
        let news = ivc.hear(message, at)?;
        self.unjudged = true;
        let echoes = news.answered.into_iter().map(|(number, answer)| Echo {
            id: id.clone(),
            number,
            fate: Fate::Answered(answer),
        });
        self.echoes.extend(echoes);
        self.changed |= before != ivc.mtu.as_ref().map(path_mtu::Search::found);
        self.compare(id, message.time);
        if let Some((theirs, ours)) = news.lost {
            let lost = self.ivcs.iter_mut().find(|(other, ivc)| {
                other.0 == id.0 && other.2 == theirs && ivc.terms.local == Some(ours)
            });
            if let Some((_, ivc)) = lost {
                ivc.lost(message.time);
            }
        }
        Ok(())
    }

    /// Learns how much data had come with the newest message, to tell the other side.
    pub fn counted(&mut self, id: &IvcId, counted: Counted) {
        if let Some(ivc) = self.ivcs.get_mut(id) {
            ivc.counted = counted;
        }
    }

    /// Learns how often both sides are to speak while there is load; none where there is not.
    pub fn load(&mut self, id: &IvcId, interval: Option<Duration>) {
        if let Some(ivc) = self.ivcs.get_mut(id) {
            ivc.quick = interval.map(bounded);
        }
    }

    /// Sends a message on an IVC at once, and has it answered at once; nothing where the link does not work. [`Self::take_echoes`] tells
    /// what becomes of it.
    pub fn ping(&mut self, id: &IvcId) {
        if let Some(ivc) = self.ivcs.get_mut(id).filter(|ivc| ivc.terms.up) {
            ivc.pings.want();
        }
    }

    /// Tells what has become of pings since the last call.
    pub fn take_echoes(&mut self) -> Vec<Echo> {
        std::mem::take(&mut self.echoes)
    }

    /// Compares when the other side has sent something on an IVC with what has come by the tunnel's others.
    fn compare(&mut self, id: &IvcId, time: u64) {
        let Some(tunnel) = self.tunnels.get_mut(&id.0) else {
            return;
        };
        for (number, other) in tunnel.ivcs.iter().enumerate() {
            let Some(ivc) = self.ivcs.get_mut(other) else {
                continue;
            };
            if other != id {
                ivc.compare(time);
                continue;
            }
            let others = tunnel.times.iter().filter(|(of, _)| *of != number);
            others.for_each(|(_, time)| ivc.compare(*time));
            tunnel.times.truncate(TIMES - 1);
            tunnel.times.push_front((number, time));
        }
    }

    /// The IVCs on which it matters whether there is data.
    #[must_use]
    pub fn sparing(&self) -> Vec<IvcId> {
        let sparing = self
            .ivcs
            .iter()
            .filter(|(_, ivc)| ivc.pace.is_sparing(&ivc.terms));
        sparing.map(|(id, _)| id.clone()).collect()
    }

    /// Takes in how many pieces have crossed an IVC in both directions.
    pub fn traffic(&mut self, id: &IvcId, pieces: u64, now: Duration) {
        if let Some(ivc) = self.ivcs.get_mut(id) {
            ivc.traffic(pieces, now);
        }
    }

    /// Judges all IVCs, and returns the keepalives to send now. `clock` is the time in nanoseconds since the epoch. `pieces` tells, of
    /// an IVC whose keepalives are late, how many pieces of data have arrived.
    pub fn poll(
        &mut self,
        now: Duration,
        clock: u64,
        pieces: impl Fn(&IvcId) -> Option<u64>,
    ) -> Vec<Due> {
        self.unjudged = false;
        let mut turned = BTreeSet::new();
        for (id, ivc) in &mut self.ivcs {
            ivc.look(now, || pieces(id));
            if ivc.judge(now) {
                turned.insert(id.0);
                self.changed = true;
            }
        }
        self.hasten(&turned);
        self.time = clock.max(self.time + 1);
        let lost = self.lost();
        let mut due = Vec::new();
        for (id, ivc) in &mut self.ivcs {
            if !ivc.terms.up {
                continue;
            }
            let before = ivc.mtu.as_ref().map(path_mtu::Search::found);
            let pinged = ivc.pings.is_wanted();
            let spoken = ivc.speak(now);
            if let Some(message) = spoken.filter(|_| pinged) {
                self.echoes.push(Echo {
                    id: id.clone(),
                    number: message.sequence,
                    fate: Fate::Sent,
                });
            }
            for message in [spoken, ivc.probe(now)].into_iter().flatten() {
                let lost = lost.get(&id.0).map_or(&[] as &[_], Vec::as_slice);
                let turn = (message.sequence as usize).checked_rem(lost.len());
                self.time += 1;
                due.push(Due {
                    id: id.clone(),
                    message: Message {
                        time: self.time,
                        lost: turn.and_then(|turn| lost.get(turn)).copied(),
                        ..message
                    },
                });
            }
            self.changed |= before != ivc.mtu.as_ref().map(path_mtu::Search::found);
        }
        due
    }

    /// The addresses of the IVCs of each tunnel over which nothing comes or can be sent.
    fn lost(&self) -> BTreeMap<Ipv4Addr, Vec<(Ipv4Addr, Ipv4Addr)>> {
        let mut lost: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((tunnel, _, remote), ivc) in &self.ivcs {
            if (ivc.state == State::Silent || !ivc.terms.up)
                && let Some(local) = ivc.terms.local
            {
                lost.entry(*tunnel).or_default().push((local, *remote));
            }
        }
        lost
    }

    /// Has something said at once on all IVCs of some tunnels.
    fn hasten(&mut self, tunnels: &BTreeSet<Ipv4Addr>) {
        for (_, ivc) in self
            .ivcs
            .iter_mut()
            .filter(|(id, _)| tunnels.contains(&id.0))
        {
            ivc.urgent = true;
        }
    }

    /// When to poll again at the latest; none if there is no IVC.
    #[must_use]
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        if self.unjudged {
            return Some(now);
        }
        let up = self.ivcs.values().filter(|ivc| ivc.terms.up);
        let down = self.ivcs.values().filter(|ivc| !ivc.terms.up);
        up.map(|ivc| ivc.due(now))
            .chain(down.filter_map(Ivc::judged_at))
            .min()
    }

    /// Tells whether what is silent, or a path's MTU, has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Lists the silent IVCs.
    #[must_use]
    pub fn silent(&self) -> BTreeSet<IvcId> {
        let live = self.live();
        let silent = self.ivcs.iter().filter(|(id, ivc)| {
            live.contains(&id.0) && matches!(ivc.state, State::Silent | State::Unheard)
        });
        silent.map(|(id, _)| id.clone()).collect()
    }

    /// Lists those of some IVCs that are not to be used: which are silent, or have joined others and are not known to work yet. The other side
    /// may not have heard of these so far, and would drop what came by them.
    pub fn unusable(&self, ids: impl Iterator<Item = IvcId>) -> BTreeSet<IvcId> {
        let live = self.live();
        let is_used = |id: &IvcId| {
            self.ivcs.get(id).is_some_and(|ivc| match ivc.state {
                State::Live => true,
                State::Waiting => !ivc.joins,
                State::Silent | State::Unheard => false,
            })
        };
        ids.filter(|id| live.contains(&id.0) && !is_used(id))
            .collect()
    }

    /// The tunnels of which an IVC is live.
    fn live(&self) -> BTreeSet<Ipv4Addr> {
        let ivcs = self.ivcs.iter();
        ivcs.filter(|(_, ivc)| ivc.state == State::Live)
            .map(|((tunnel, ..), _)| *tunnel)
            .collect()
    }

    /// The path MTU in bytes that was found for an IVC; until then [`BASE_MTU`] is to be used.
    #[must_use]
    pub fn path_mtu(&self, id: &IvcId) -> Option<u16> {
        self.ivcs.get(id)?.mtu.as_ref()?.found()
    }

    /// The longest of the smoothed round-trip times of a tunnel's live IVCs.
    #[must_use]
    pub fn round_trip(&self, tunnel: Ipv4Addr) -> Option<Duration> {
        let ids = &self.tunnels.get(&tunnel)?.ivcs;
        let ivcs = ids.iter().filter_map(|id| self.ivcs.get(id));
        let live = ivcs.filter(|ivc| ivc.state == State::Live);
        live.filter_map(|ivc| ivc.trip.smoothed()).max()
    }

    /// The shortest round-trip time of any of a tunnel's IVCs.
    #[must_use]
    pub fn least_round_trip(&self, tunnel: Ipv4Addr) -> Option<Duration> {
        let ids = &self.tunnels.get(&tunnel)?.ivcs;
        let ivcs = ids.iter().filter_map(|id| self.ivcs.get(id));
        ivcs.filter_map(|ivc| ivc.trip.least()).min()
    }

    /// Whether the size of an IVC's path is not being looked for: it was found, or is stated.
    #[must_use]
    pub fn is_sized(&self, id: &IvcId) -> bool {
        let size = self.ivcs.get(id).and_then(|ivc| ivc.mtu.as_ref());
        size.is_none_or(path_mtu::Search::is_settled)
    }

    /// Whether an IVC is known.
    #[must_use]
    pub fn knows(&self, id: &IvcId) -> bool {
        self.ivcs.contains_key(id)
    }

    /// What is known of an IVC.
    #[must_use]
    pub fn report(&self, id: &IvcId, now: Duration) -> Option<Report> {
        let ivc = self.ivcs.get(id)?;
        Some(Report {
            state: ivc.state,
            age: now.saturating_sub(ivc.since),
            round_trip: ivc.trip.smoothed(),
            least_round_trip: ivc.trip.least(),
            loss_tx: ivc.loss.0.ratio(),
            loss_rx: ivc.loss.1.ratio(),
            mtu_found: ivc.mtu.as_ref().is_some_and(path_mtu::Search::is_settled),
        })
    }
}

impl Terms {
    fn bounded(self) -> Self {
        let interval = bounded(self.interval);
        Self {
            interval,
            idle: bounded(self.idle).max(interval),
            ..self
        }
    }
}

/// Brings an interval, be it from the wire, into what is possible.
fn bounded(interval: Duration) -> Duration {
    interval.clamp(INTERVALS.0, INTERVALS.1)
}

/// How long nothing may come where something was promised after `interval`: two keepalives may be lost or one be late.
fn window(interval: Duration) -> Duration {
    (interval * 5 / 2).max(SHORTEST_WINDOW)
}

#[cfg(test)]
mod tests;
