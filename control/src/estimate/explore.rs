//! Which IVC is loaded on purpose, to find out what it carries.
//!
//! One that is too far away to be bonded with the others is given nothing as long as nobody knows what it carries, and nobody finds out as
//! long as it is given nothing. One that is bonded is given little, and streams that are slow to ask for more find out as slowly. So where the bonded ones
//! have been full for a while, as far as is known, it is sent filler ([`crate::load`]) for a moment, once in a long time.
//!
//! And before anybody sends anything all of them are loaded, the bonded ones together: who comes first would find out what they carry by losing what they do
//! not, and TCP over far links takes long to get over that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Plan, Present, ivc::precise};

/// The time in which the rate follows, in seconds.
const SMOOTH: f64 = 0.3;
/// The bonded IVCs are full if they have carried this part of what they can for so long, in seconds.
const FULL: f64 = 0.6;
const LONG: f64 = 1.5;
/// How long an IVC is loaded at the most, and how long when it is known what it carries, in seconds: what is seen first is a moment's, and jitter may have
/// been taken for a queue.
const MOST: f64 = 4.0;
const SETTLES: f64 = 0.5;
/// It is found to carry more if that is one part more of so many.
const GROWN: u64 = 16;
/// After which time one of which that told nothing is loaded again, in seconds.
const AGAIN: f64 = 600.0;

/// Who sends more than this is more than keepalives, in bytes per second.
const IDLE: f64 = 10_000.0;
/// For how long the bonded ones are loaded at the most, in seconds.
const TOGETHER: f64 = 3.0;
/// For how long nobody must have sent anything, and for how long it is waited for IVCs that do not answer, in seconds.
const QUIET: f64 = 0.3;
const PATIENT: f64 = 3.0;

/// What is loaded on purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Explored<K: Ord> {
    /// All that are bonded.
    Bonded,
    /// These, each for itself.
    Those(BTreeSet<K>),
}

/// What there is to know of an SVC to decide on that.
#[derive(Debug)]
pub struct Ground<'a, K: Ord> {
    /// What each IVC has been sent.
    pub presents: &'a BTreeMap<K, Present>,
    /// With what the scheduler is programmed.
    pub plan: &'a Plan<K>,
    /// How many IVCs there are, also of those that do not answer.
    pub count: usize,
    /// Whether it is this SVC's turn to be loaded.
    pub turn: bool,
}

/// How far an SVC is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Nobody has sent anything yet, as of then.
    New(Option<f64>),
    /// Nobody has, and everything is loaded as soon as the scheduler gives unknown IVCs little.
    Ready,
    /// Nobody has, and everything is being loaded.
    Looking,
    /// Somebody has, or everything has been loaded.
    Used,
}

/// What is being loaded.
#[derive(Debug)]
struct Trial<K: Ord> {
    what: Explored<K>,
    since: f64,
    /// Since when it is known what it carries, and that was not found to be more, and how much it is in bits per second.
    known: Option<(f64, u64)>,
}

/// What an SVC's IVCs are loaded with on purpose.
#[derive(Debug)]
pub struct Explorer<K: Ord> {
    stage: Stage,
    /// When that was last looked at, and how many bytes each IVC had been sent by then.
    at: f64,
    sent: BTreeMap<K, u64>,
    /// What the bonded ones are sent, in bytes per second, and since when that is so much that they are full.
    rate: f64,
    full: Option<f64>,
    trial: Option<Trial<K>>,
    /// When the others have been loaded.
    tried: BTreeMap<K, f64>,
}

impl<K: Ord> Default for Explorer<K> {
    fn default() -> Self {
        Self {
            stage: Stage::New(None),
            at: 0.0,
            sent: BTreeMap::new(),
            rate: 0.0,
            full: None,
            trial: None,
            tried: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Explorer<K> {
    /// Takes in what there is to know at a moment; returns what is to be loaded now. None is that is not `free`, and nothing before those that answer are all
    /// `sized`: probes of paths' sizes are not to be lost for that.
    pub fn follow(
        &mut self,
        ground: &Ground<'_, K>,
        free: impl Fn(&K) -> bool,
        sized: impl Fn(&K) -> bool,
        now: Duration,
    ) -> Option<&Explored<K>> {
        let now = now.as_secs_f64();
        let plan = ground.plan;
        self.measure(ground.presents, plan, now);
        let full = plan.carries > 0.0 && self.rate >= FULL * plan.carries;
        self.full = full.then(|| self.full.unwrap_or(now));
        self.tried.retain(|_, at| now - *at < AGAIN);
        self.go_on(plan, &free, now);
        self.step(ground, &free, sized, now);
        let long = self.full.is_some_and(|since| now - since >= LONG);
        if self.trial.is_none() && long && ground.turn {
            self.begin(plan, &free, now);
        }
        self.trial.as_ref().map(|trial| &trial.what)
    }

    /// Whether something is being loaded, or will be at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.trial.is_some() || self.stage == Stage::Ready
    }

    /// Whether the bonded ones are being loaded before anybody needs to be given much at once.
    #[must_use]
    pub fn is_careful(&self) -> bool {
        let trial = self.trial.as_ref();
        self.stage == Stage::Ready || trial.is_some_and(|trial| trial.what == Explored::Bonded)
    }

    /// Loads everything, first what is bonded, if nobody has sent anything yet.
    fn step(
        &mut self,
        ground: &Ground<'_, K>,
        free: impl Fn(&K) -> bool,
        sized: impl Fn(&K) -> bool,
        now: f64,
    ) {
        let ivcs = &ground.plan.ivcs;
        if self.stage == Stage::Ready && ground.turn {
            self.stage = Stage::Looking;
            self.trial = Some(Trial::new(Explored::Bonded, now));
        } else if self.stage == Stage::Ready {
            // Another was quicker.
            self.stage = Stage::New(None);
        }
        if let Stage::New(since) = self.stage {
            let since = since.or_else(|| (!ivcs.is_empty()).then_some(now));
            self.stage = Stage::New(since);
            let age = since.map_or(0.0, |since| now - since);
            if self.rate > IDLE {
                self.stage = Stage::Used;
            } else if ground.turn
                && age >= QUIET
                && (ivcs.len() == ground.count || age >= PATIENT)
                && ivcs.keys().all(sized)
            {
                self.stage = if is_worth(ground.plan, &free) {
                    Stage::Ready
                } else {
                    Stage::Looking
                };
            }
        }
        if self.stage == Stage::Looking && self.trial.is_none() {
            self.begin(ground.plan, &free, now);
            if self.trial.is_none() {
                self.stage = Stage::Used;
            }
        }
    }

    /// Finds out at which rate the bonded ones are sent something.
    fn measure(&mut self, presents: &BTreeMap<K, Present>, plan: &Plan<K>, now: f64) {
        let time = now - self.at;
        if time <= 0.0 {
            return;
        }
        self.at = now;
        self.sent.retain(|key, _| presents.contains_key(key));
        let mut bytes = 0;
        for (key, present) in presents {
            let Some(before) = self.sent.get_mut(key) else {
                self.sent.insert(key.clone(), present.bytes);
                continue;
            };
            if is_bonded(plan, key) {
                bytes += present.bytes.saturating_sub(*before);
            }
            *before = present.bytes;
        }
        self.rate += (precise(bytes) / time - self.rate) * (1.0 - (-time / SMOOTH).exp());
    }

    /// Ends the trial when it has told what it can.
    fn go_on(&mut self, plan: &Plan<K>, free: impl Fn(&K) -> bool, now: f64) {
        let Some(trial) = &mut self.trial else {
            return;
        };
        let (keys, most): (Vec<_>, _) = match &trial.what {
            Explored::Bonded => (bonded(plan).collect(), TOGETHER),
            Explored::Those(keys) => (keys.iter().collect(), MOST),
        };
        let terms = keys.iter().filter_map(|key| plan.ivcs.get(*key));
        let carried = terms.map(|term| term.rate).sum();
        let all = |holds: &dyn Fn(&K) -> bool| keys.iter().all(|key| holds(key));
        let possible = all(&|key| plan.ivcs.contains_key(key) && free(key));
        let known = all(&|key| !plan.unknown.contains(key));
        if known {
            trial.carries(carried, now);
        }
        let told = trial.known.is_some_and(|(since, _)| now - since >= SETTLES);
        if !possible || told || now - trial.since >= most {
            if let Explored::Those(keys) = &trial.what {
                self.tried.extend(keys.iter().map(|key| (key.clone(), now)));
            }
            self.trial = None;
        }
    }

    fn begin(&mut self, plan: &Plan<K>, free: impl Fn(&K) -> bool, now: f64) {
        // Where everything is loaded, the bonded ones have been.
        let is_due = |key: &&K| {
            (self.stage == Stage::Used || !is_bonded(plan, key))
                && !self.tried.contains_key(*key)
                && free(key)
        };
        let due: BTreeSet<_> = plan.unknown.iter().filter(is_due).cloned().collect();
        self.trial = (!due.is_empty()).then(|| Trial::new(Explored::Those(due), now));
    }
}

impl<K: Ord> Trial<K> {
    fn new(what: Explored<K>, now: f64) -> Self {
        Self {
            what,
            since: now,
            known: None,
        }
    }

    /// What is loaded is known to carry so much.
    fn carries(&mut self, carried: u64, now: f64) {
        let grown = |most: u64| carried > most + most / GROWN;
        if self.known.is_none_or(|(_, most)| grown(most)) {
            self.known = Some((now, carried));
        }
    }
}

/// Whether there is something to find out of IVCs that are bonded, and it costs nobody anything.
fn is_worth<K: Ord>(plan: &Plan<K>, free: impl Fn(&K) -> bool) -> bool {
    bonded(plan).count() > 1
        && bonded(plan).any(|key| plan.unknown.contains(key))
        && bonded(plan).all(free)
}

fn bonded<K: Ord>(plan: &Plan<K>) -> impl Iterator<Item = &K> {
    plan.ivcs.keys().filter(|key| is_bonded(plan, key))
}

fn is_bonded<K: Ord>(plan: &Plan<K>, key: &K) -> bool {
    !plan.places.others.contains_key(key)
}

#[cfg(test)]
mod tests;
