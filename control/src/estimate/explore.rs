//! Which IVC is loaded on purpose, to find out what it carries.
//!
//! One that is too far away to be bonded with the others is given nothing as long as nobody knows what it carries, and nobody finds out as
//! long as it is given nothing. One that is bonded is given little, and streams that are slow to ask for more find out as slowly. So where the bonded ones
//! have been full for a while, as far as is known, it is sent filler ([`crate::load`]) for a moment, once in a long time.

use std::{collections::BTreeMap, time::Duration};

use super::{Plan, Present, ivc::precise};

/// The time in which the rate follows, in seconds.
const SMOOTH: f64 = 0.3;
/// The bonded IVCs are full if they have carried this part of what they can for so long, in seconds.
const FULL: f64 = 0.6;
const LONG: f64 = 1.5;
/// How long an IVC is loaded at the most, and how long when it is known what it carries, in seconds: what is seen first is a moment's.
const MOST: f64 = 4.0;
const SETTLES: f64 = 0.5;
/// After which time one of which that told nothing is loaded again, in seconds.
const AGAIN: f64 = 600.0;

/// What is being loaded.
#[derive(Debug)]
struct Trial<K> {
    key: K,
    since: f64,
    /// Since when it is known what it carries.
    known: Option<f64>,
}

/// What an SVC's IVCs are loaded with on purpose.
#[derive(Debug)]
pub struct Explorer<K: Ord> {
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
    /// Takes in what each IVC has been sent by a moment, and what the scheduler is programmed with; returns the one that is to be loaded
    /// now. None is that is not `free`.
    pub fn follow(
        &mut self,
        presents: &BTreeMap<K, Present>,
        plan: &Plan<K>,
        free: impl Fn(&K) -> bool,
        now: Duration,
    ) -> Option<&K> {
        let now = now.as_secs_f64();
        self.measure(presents, plan, now);
        let full = plan.carries > 0.0 && self.rate >= FULL * plan.carries;
        self.full = full.then(|| self.full.unwrap_or(now));
        self.tried.retain(|_, at| now - *at < AGAIN);
        self.go_on(plan, &free, now);
        if self.trial.is_none() && self.full.is_some_and(|since| now - since >= LONG) {
            self.begin(plan, &free, now);
        }
        self.trial.as_ref().map(|trial| &trial.key)
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
            if !plan.places.others.contains_key(key) {
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
        if !plan.unknown.contains(&trial.key) {
            trial.known.get_or_insert(now);
        }
        let told = trial.known.is_some_and(|since| now - since >= SETTLES);
        if !plan.ivcs.contains_key(&trial.key)
            || !free(&trial.key)
            || told
            || now - trial.since >= MOST
        {
            self.tried.insert(trial.key.clone(), now);
            self.trial = None;
        }
    }

    fn begin(&mut self, plan: &Plan<K>, free: impl Fn(&K) -> bool, now: f64) {
        let mut unknown = plan.unknown.iter();
        let next = unknown.find(|key| !self.tried.contains_key(key) && free(key));
        self.trial = next.map(|key| Trial {
            key: key.clone(),
            since: now,
            known: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Place, Places, Term},
        *,
    };

    const CARRIES: f64 = 1_000_000.0;

    /// A near IVC, and others of which nothing is known yet.
    fn plan(unknown: &[&'static str]) -> Plan<&'static str> {
        let others = ["lte", "sat"];
        let ivcs = ["near"].into_iter().chain(others);
        Plan {
            carries: CARRIES,
            ivcs: ivcs.map(|key| (key, Term::default())).collect(),
            unknown: unknown.iter().copied().collect(),
            places: Places {
                bonded: Some(CARRIES),
                others: others.map(|key| (key, Place::default())).into(),
            },
            ..Plan::default()
        }
    }

    /// Has the near ones carry a part of what they can for a time; returns for how long which others were loaded, in milliseconds.
    fn run(
        explorer: &mut Explorer<&'static str>,
        (part, from, to): (f64, u32, u32),
        plan: impl Fn(Option<&'static str>) -> Plan<&'static str>,
        free: impl Fn(&&'static str) -> bool,
    ) -> BTreeMap<&'static str, u32> {
        let mut loaded = BTreeMap::new();
        let mut now = None;
        for at in (from..to).step_by(25) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            let bytes = (f64::from(at) / 1000.0 * CARRIES * part) as u64;
            let time = Duration::from_millis(at.into());
            let sent = [("near", bytes), ("sat", 7), ("lte", 9)].map(|(key, bytes)| {
                let (at, leaves) = (time, time);
                let ahead = 0;
                (
                    key,
                    Present {
                        at,
                        bytes,
                        ahead,
                        leaves,
                    },
                )
            });
            now = (explorer.follow(&sent.into(), &plan(now), &free, time)).copied();
            if let Some(key) = now {
                *loaded.entry(key).or_default() += 25;
            }
        }
        loaded
    }

    #[test]
    fn what_is_unknown_is_found_out_once_the_others_are_full() {
        let mut explorer = Explorer::default();
        let unknown = |_| plan(&["lte", "sat"]);
        let idle = run(&mut explorer, (0.3, 0, 10_000), unknown, |_| true);
        assert_eq!(idle, [].into());
        // Each in turn, and not again for long.
        let full = run(&mut explorer, (0.9, 10_000, 60_000), unknown, |_| true);
        assert_eq!(full, [("lte", 4_000), ("sat", 4_000)].into());
        let later = run(&mut explorer, (0.9, 610_000, 640_000), unknown, |_| true);
        assert_eq!(later.len(), 2);
    }

    #[test]
    fn it_ends_when_it_is_known_what_the_ivc_carries() {
        let mut explorer = Explorer::default();
        let found = |loaded: Option<_>| plan(loaded.map_or(&["sat"], |_| &[]));
        let loaded = run(&mut explorer, (1.0, 0, 20_000), found, |_| true);
        assert_eq!(loaded, [("sat", 525)].into());
    }

    #[test]
    fn nobody_pays_for_it() {
        let mut explorer = Explorer::default();
        let unknown = |_| plan(&["lte", "sat"]);
        let loaded = run(&mut explorer, (1.0, 0, 20_000), unknown, |key| {
            *key != "lte"
        });
        assert_eq!(loaded, [("sat", 4_000)].into());
    }
}
