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

/// Who sends more than this is more than keepalives, in bytes per second.
const IDLE: f64 = 10_000.0;
/// For how long the bonded ones are loaded at the most, in seconds.
const TOGETHER: f64 = 3.0;
/// For how long nobody must have sent anything, and for how long it is waited for IVCs that do not answer, in seconds.
const QUIET: f64 = 0.3;
const PATIENT: f64 = 3.0;

/// What is loaded on purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Explored<K> {
    /// All that are bonded.
    Bonded,
    /// This one.
    One(K),
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
struct Trial<K> {
    what: Explored<K>,
    since: f64,
    /// Since when it is known what it carries.
    known: Option<f64>,
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
    pub fn is_busy(&self) -> bool {
        self.trial.is_some() || self.stage == Stage::Ready
    }

    /// Whether the bonded ones are being loaded before anybody needs to be given much at once.
    pub fn is_careful(&self) -> bool {
        let trial = self.trial.as_ref();
        self.stage == Stage::Ready || trial.is_some_and(|trial| trial.what == Explored::Bonded)
    }

    /// Loads everything, one after another, if nobody has sent anything yet.
    fn step(
        &mut self,
        ground: &Ground<'_, K>,
        free: impl Fn(&K) -> bool,
        sized: impl Fn(&K) -> bool,
        now: f64,
    ) {
        let ivcs = &ground.plan.ivcs;
        if self.stage == Stage::Ready {
            self.stage = Stage::Looking;
            self.trial = Some(Trial::new(Explored::Bonded, now));
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
        let (possible, known, most) = match &trial.what {
            Explored::Bonded => (
                bonded(plan).all(&free),
                !bonded(plan).any(|key| plan.unknown.contains(key)),
                TOGETHER,
            ),
            Explored::One(key) => (
                plan.ivcs.contains_key(key) && free(key),
                !plan.unknown.contains(key),
                MOST,
            ),
        };
        if known {
            trial.known.get_or_insert(now);
        }
        let told = trial.known.is_some_and(|since| now - since >= SETTLES);
        if !possible || told || now - trial.since >= most {
            if let Explored::One(key) = &trial.what {
                self.tried.insert(key.clone(), now);
            }
            self.trial = None;
        }
    }

    fn begin(&mut self, plan: &Plan<K>, free: impl Fn(&K) -> bool, now: f64) {
        // Where everything is loaded, the bonded ones have been.
        let is_next = |key: &&K| {
            (self.stage == Stage::Used || !is_bonded(plan, key))
                && !self.tried.contains_key(*key)
                && free(key)
        };
        let next = plan.unknown.iter().find(is_next);
        self.trial = next.map(|key| Trial::new(Explored::One(key.clone()), now));
    }
}

impl<K> Trial<K> {
    fn new(what: Explored<K>, now: f64) -> Self {
        Self {
            what,
            since: now,
            known: None,
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
    let bonded = plan.ivcs.iter().filter(|(_, term)| term.bonded);
    bonded.map(|(key, _)| key)
}

fn is_bonded<K: Ord>(plan: &Plan<K>, key: &K) -> bool {
    plan.ivcs.get(key).is_some_and(|term| term.bonded)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Place, Places, Term},
        *,
    };

    const CARRIES: f64 = 1_000_000.0;

    type Key = &'static str;
    type Loaded = BTreeMap<Explored<Key>, u32>;

    /// A near IVC, and others of which nothing is known yet.
    fn plan(unknown: &[Key]) -> Plan<Key> {
        let others = ["lte", "sat"];
        let ivcs = ["near", "cable"].into_iter().chain(others);
        let term = |key| Term {
            bonded: !others.contains(&key),
            ..Term::default()
        };
        Plan {
            carries: CARRIES,
            ivcs: ivcs.map(|key| (key, term(key))).collect(),
            unknown: unknown.iter().copied().collect(),
            places: Places {
                bonded: Some(CARRIES),
                others: others.map(|key| (key, Place::default())).into(),
            },
            ..Plan::default()
        }
    }

    /// When packets are sent: the part of what the near ones carry, from and to when, in milliseconds; and whose turn it is, and what is known.
    #[derive(Clone, Copy)]
    struct Run {
        part: f64,
        from: u32,
        to: u32,
        count: usize,
        turn: bool,
        sized: bool,
    }

    const BUSY: Run = Run {
        part: 1.0,
        from: 0,
        to: 20_000,
        count: 4,
        turn: true,
        sized: false,
    };
    const IDLE: Run = Run {
        part: 0.0,
        sized: true,
        ..BUSY
    };

    /// Has them carry that; returns for how long what was loaded, in milliseconds.
    fn run(
        explorer: &mut Explorer<Key>,
        how: Run,
        plan: impl Fn(Option<&Explored<Key>>) -> Plan<Key>,
        free: impl Fn(&Key) -> bool,
    ) -> Loaded {
        let mut loaded = BTreeMap::new();
        let mut now = None;
        for at in (how.from..how.to).step_by(25) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            let bytes = (f64::from(at) / 1000.0 * CARRIES * how.part) as u64;
            let time = Duration::from_millis(at.into());
            let sent = [("near", bytes), ("cable", 5), ("sat", 7), ("lte", 9)];
            let present = |bytes| Present {
                at: time,
                bytes,
                ahead: 0,
                leaves: time,
            };
            let ground = Ground {
                presents: &sent.map(|(key, bytes)| (key, present(bytes))).into(),
                plan: &plan(now.as_ref()),
                count: how.count,
                turn: how.turn,
            };
            let careful = explorer.is_careful();
            now = explorer
                .follow(&ground, &free, |_| how.sized, time)
                .cloned();
            assert!(now != Some(Explored::Bonded) || careful);
            assert!(now.is_none() || explorer.is_busy());
            if let Some(key) = now.clone() {
                *loaded.entry(key).or_default() += 25;
            }
        }
        loaded
    }

    fn one(key: Key, ms: u32) -> (Explored<Key>, u32) {
        (Explored::One(key), ms)
    }

    #[test]
    fn what_is_unknown_is_found_out_once_the_others_are_full() {
        let mut explorer = Explorer::default();
        let unknown = |_: Option<&_>| plan(&["lte", "sat"]);
        let some = Run {
            part: 0.3,
            to: 10_000,
            ..BUSY
        };
        assert_eq!(run(&mut explorer, some, unknown, |_| true), [].into());
        let waits = Run {
            from: 10_000,
            turn: false,
            ..BUSY
        };
        assert_eq!(run(&mut explorer, waits, unknown, |_| true), [].into());
        // Each in turn, and not again for long.
        let full = Run {
            from: 20_000,
            to: 60_000,
            ..BUSY
        };
        let loaded = run(&mut explorer, full, unknown, |_| true);
        assert_eq!(loaded, [one("lte", 4_000), one("sat", 4_000)].into());
        let later = Run {
            from: 610_000,
            to: 660_000,
            ..BUSY
        };
        assert_eq!(run(&mut explorer, later, unknown, |_| true).len(), 2);
    }

    #[test]
    fn it_ends_when_it_is_known_what_the_ivc_carries() {
        let mut explorer = Explorer::default();
        let found = |loaded: Option<&_>| plan(loaded.map_or(&["sat"], |_| &[]));
        let loaded = run(&mut explorer, BUSY, found, |_| true);
        assert_eq!(loaded, [one("sat", 525)].into());
    }

    #[test]
    fn nobody_pays_for_it() {
        let mut explorer = Explorer::default();
        let unknown = |_: Option<&_>| plan(&["lte", "sat"]);
        let loaded = run(&mut explorer, BUSY, unknown, |key| *key != "lte");
        assert_eq!(loaded, [one("sat", 4_000)].into());
        let mut explorer = Explorer::default();
        let unknown = |_: Option<&_>| plan(&["near", "cable", "lte", "sat"]);
        let loaded = run(&mut explorer, IDLE, unknown, |key| {
            *key != "lte" && *key != "cable"
        });
        assert_eq!(loaded, [one("sat", 4_000)].into());
    }

    #[test]
    fn everything_is_loaded_before_anybody_sends() {
        let all = ["near", "cable", "lte", "sat"];
        let loaded = |how| {
            let mut explorer = Explorer::default();
            run(&mut explorer, how, |_: Option<&_>| plan(&all), |_| true)
        };
        let is_everything = |loaded: &Loaded| {
            let ms = |what| loaded.get(&what).copied().unwrap_or_default();
            // Times are not exact.
            ms(Explored::Bonded).abs_diff(3_000) <= 25
                && ms(Explored::One("lte")).abs_diff(4_000) <= 25
                && ms(Explored::One("sat")).abs_diff(4_000) <= 25
        };
        assert!(is_everything(&loaded(IDLE)));
        // Who does not answer is waited for, but not for ever.
        let at = |to| Run {
            count: 5,
            to,
            ..IDLE
        };
        assert_eq!(loaded(at(2_900)), [].into());
        assert!(is_everything(&loaded(at(20_000))));
        // Others are being loaded, or the sizes of paths looked for.
        let waits = Run {
            turn: false,
            ..IDLE
        };
        assert_eq!(loaded(waits), [].into());
        let looks = Run {
            sized: false,
            ..IDLE
        };
        assert_eq!(loaded(looks), [].into());
        // Somebody sends already.
        let sends = Run {
            part: 0.3,
            from: 1_000,
            ..IDLE
        };
        assert_eq!(loaded(sends), [].into());
    }

    #[test]
    fn nothing_is_loaded_that_is_known() {
        let mut explorer = Explorer::default();
        let loaded = run(&mut explorer, IDLE, |_| plan(&[]), |_| true);
        assert_eq!(loaded, [].into());
        // One is known at once.
        let mut explorer = Explorer::default();
        let found = |loaded: Option<&_>| plan(loaded.map_or(&["cable"], |_| &[]));
        let loaded = run(&mut explorer, IDLE, found, |_| true);
        assert_eq!(loaded, [(Explored::Bonded, 525)].into());
    }
}
