//! What is known of one tunnel, and what is to be done about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::trace;
use withy_common::maps::{Flows, SvcState};

use crate::{
    bundle::IvcId,
    estimate::{
        Apart, Bond, Confidence, Explored, Explorer, Gauged, Ground, Plan, Present, Received,
    },
    resend::Gate,
    splitting::{Chooser, Lane, Pace, Splitting},
};

/// More bytes than this between two keepalives are a load.
const LOAD: u64 = 4_500;
/// For how long there counts as being load after the last.
const LOADED: Duration = Duration::from_secs(1);
/// How often a tunnel without load is steered anew.
const SELDOM: Duration = Duration::from_secs(1);

/// A tunnel.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    bond: Bond<IvcId>,
    apart: Apart<IvcId>,
    explorer: Explorer<IvcId>,
    /// The IVCs that the other side pays for by the byte.
    metered: BTreeSet<IvcId>,
    loads: BTreeMap<IvcId, Load>,
    steered: Option<Duration>,
    /// Whether packets are worth keeping, and whether what is lost is sent again.
    gate: Gate,
    repaired: bool,
    /// Whether they are worth splitting.
    chooser: Chooser,
    /// How many are sent, and how many of these are split.
    sent: Pace,
    split: Pace,
}

/// What the data plane has counted of a tunnel, and for how long its configuration lets packets be queued beyond what they are to be.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) state: Option<SvcState>,
    pub(super) flows: Option<Flows>,
    pub(super) burst: Duration,
}

/// What has been found out of a tunnel, and with what the scheduler is to be programmed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ivcs: Vec<(IvcId, Gauged)>,
    pub(super) splitting: Option<Splitting>,
    pub(super) plan: Plan<IvcId>,
    /// What is to be loaded, to find out what it carries.
    pub(super) explored: Option<Explored<IvcId>>,
}

impl Tunnel {
    /// Begins with no IVC; `pieces` tells whether an earlier run found packets worth splitting.
    pub(super) fn new(pieces: bool) -> Self {
        Self {
            chooser: Chooser::new(pieces),
            ..Self::default()
        }
    }

    /// Learns which IVCs there are, and what they carry at most.
    pub(super) fn set(&mut self, caps: &BTreeMap<IvcId, Option<u64>>) {
        self.loads.retain(|id, _| caps.contains_key(id));
        self.metered.retain(|id| caps.contains_key(id));
        self.bond.set(caps);
    }

    /// The IVCs.
    pub(super) fn ivcs(&self) -> impl Iterator<Item = &IvcId> {
        self.bond.keys()
    }

    /// Which flows go by an IVC of their own.
    pub(super) fn ways(&self) -> impl Iterator<Item = (u8, &IvcId)> {
        self.apart.ways()
    }

    /// Whether packets are worth keeping.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.gate.is_open()
    }

    /// Learns whether what is lost is sent again.
    pub(super) fn is_repaired(&mut self, repaired: bool) {
        self.repaired = repaired;
    }

    /// The other side says whether it pays for an IVC by the byte.
    pub(super) fn is_metered(&mut self, id: &IvcId, metered: bool) {
        if !metered {
            self.metered.remove(id);
        } else if !self.metered.contains(id) {
            self.metered.insert(id.clone());
        }
    }

    /// The other side says what it has received on an IVC.
    pub(super) fn reported(&mut self, id: &IvcId, received: &Received, present: &Present) {
        self.bond.reported(id, received, present);
    }

    /// A keepalive with a number is about to be sent on an IVC; returns how.
    pub(super) fn sent(
        &mut self,
        id: &IvcId,
        number: u32,
        mut present: Present,
        now: Duration,
    ) -> Sent {
        let load = self.loads.entry(id.clone()).or_default();
        if present.bytes.saturating_sub(load.bytes) > LOAD && load.bytes > 0 {
            load.at = Some(now);
        }
        load.bytes = present.bytes.max(1);
        let current = load.is_current(now) || self.explorer.is_busy();
        let held = present.leaves > now;
        if held {
            // Where data may leave earlier than was thought, a keepalive still does not overtake another.
            present.leaves = present.leaves.max(load.left);
        }
        load.left = present.leaves;
        Sent {
            is_news: self.bond.sent(id, number, &present),
            leaves: held.then_some(present.leaves),
            interval: current.then(|| self.bond.interval(id)),
        }
    }

    /// Whether it is worth to find out what there is to know `now`: there is load, or one IVC more, or that has not been done of late.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let loaded = self.loads.values().any(|load| load.is_current(now));
        let lately = |at: Duration| now.saturating_sub(at) < SELDOM;
        loaded
            || self.explorer.is_busy()
            || self.bond.has_more()
            || !self.steered.is_some_and(lately)
    }

    /// Finds out what there is to know now. Nothing is loaded on purpose where it is not this tunnel's `turn`, and no IVC that is not `free` or that the other side
    /// pays for, or before the size of its path is known.
    pub(super) fn assess(
        &mut self,
        presents: &BTreeMap<IvcId, Present>,
        counts: &Counts,
        (turn, free, sized): (bool, impl Fn(&IvcId) -> bool, impl Fn(&IvcId) -> bool),
        now: Duration,
    ) -> Found {
        self.steered = Some(now);
        let estimate = |(id, present)| Some((id, self.bond.estimate(id, present)?));
        let estimates: Vec<_> = presents.iter().filter_map(estimate).collect();
        let random = estimates.iter().map(|(_, estimate)| estimate.random);
        let rates = estimates.iter().map(|(_, estimate)| estimate.rate);
        self.gate.note(random.fold(0.0, f64::max), rates.sum(), now);
        self.bond.set_careful(self.explorer.is_careful());
        let mut plan = self.bond.plan(presents, counts.burst);
        if self.repaired {
            plan.places.forgive();
        }
        self.apart.follow(counts.flows.as_ref(), &plan.places, now);
        let free = |id: &IvcId| free(id) && !self.metered.contains(id);
        let ground = Ground {
            presents,
            plan: &plan,
            count: self.bond.keys().count(),
            turn,
        };
        let explored = self.explorer.follow(&ground, free, sized, now);
        let explored = explored.cloned();
        let gauged = |(id, estimate): (&IvcId, _)| {
            let gauged = Gauged {
                estimate,
                standing: plan.standing(id)?,
                flows: self.apart.count(id),
            };
            trace!(link = %id.1, ?gauged, present = ?presents.get(id), "known of an IVC");
            Some((id.clone(), gauged))
        };
        let ivcs: Vec<_> = estimates.into_iter().filter_map(gauged).collect();
        let state = counts.state.as_ref();
        let splitting = state.map(|state| self.consider_splitting(&ivcs, state, now));
        Found {
            ivcs,
            splitting,
            plan,
            explored,
        }
    }

    /// Finds out whether its packets are worth splitting, now that its IVCs are as they are.
    fn consider_splitting(
        &mut self,
        ivcs: &[(IvcId, Gauged)],
        state: &SvcState,
        now: Duration,
    ) -> Splitting {
        self.sent.note(state.sequence, now);
        self.split.note(state.split, now);
        let gauged = ivcs.iter().map(|(_, gauged)| gauged);
        let bonded = gauged.filter(|gauged| gauged.standing.bonded);
        let lanes: Vec<_> = bonded.map(lane).collect();
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
    /// Whether the scheduler is to be programmed anew.
    pub(super) is_news: bool,
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
