//! The IVCs of an SVC together: with what the scheduler is programmed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Confidence, Estimate, PACKET, Place, Places, Present, Received, early::Early, group::Group,
    ivc::Ivc,
};

/// How long packets are to be queued at most on the slowest IVC in use, in seconds.
const TARGET: f64 = 0.025;
/// So many packets at least, on the slowest IVC and together: TCP needs some to notice that one is lost.
const FEW: (f64, f64) = (3.0, 8.0);
/// How long on an IVC that flows have for themselves, as a part of its latency beyond that of the nearest; and while that is not known, in seconds.
const ALONE: f64 = 0.3;
const ALONE_UNKNOWN: f64 = 1.0;
/// Links that lose more than this part by chance make others wait.
const LOSSY: f64 = 0.0005;
/// How long while there are packets that must not wait, in seconds.
const BRIEF: f64 = 0.005;
/// What an IVC is taken to carry while nothing is known of any, in bits per second.
pub const HOPED: u64 = 10_000_000;
/// What one is taken to carry of which nothing is known beside others, as a part of the fastest.
const CAREFUL: f64 = 1.0 / 16.0;
/// How much longer at least and at most while what the links carry is not known, in seconds.
const UNKNOWN: (f64, f64) = (0.05, 0.2);
/// What all carry counts as known if no more than this part is not.
const UNSURE: f64 = 0.1;
/// No more than this part of the way to the horizon is taken up because answers are late: the rest is for packets.
const EXCUSED: f64 = 0.5;
/// A link that carries this part of all is a large one.
const LARGE: f64 = 0.2;
/// The horizon is never further than this, in seconds.
const FURTHEST: f64 = 10.0;
/// The shortest and the longest time between two marks while there is load, and how many packets it is at least.
const INTERVALS: (f64, f64) = (0.025, 0.1);
const PACKETS: f64 = 8.0;
/// And while it is not known what the link carries: there is much to be learnt from each.
const MANY: f64 = 4.0;

/// For how long the scheduler is well programmed, whatever is sent: what answers tell comes as often.
const OFTEN: Duration = Duration::from_millis(10);

/// With what the scheduler is programmed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan<K: Ord> {
    /// How long after now a packet may arrive at the latest.
    pub horizon: Duration,
    /// The same for bulk while there are packets that must not wait.
    pub calm: Duration,
    /// How long bulk may be queued on an IVC meanwhile.
    pub brief: Duration,
    /// How many of 2^32 packets are to be marked or dropped.
    pub early: u32,
    /// The IVCs.
    pub ivcs: BTreeMap<K, Term>,
    /// Where flows can go.
    pub places: Places<K>,
    /// What those of the bonded IVCs carry of which that is known, in bytes per second.
    pub carries: f64,
    /// The IVCs of which nothing is known, or no more than a moment tells.
    pub unknown: BTreeSet<K>,
}

impl<K: Ord> Plan<K> {
    /// How an IVC stands among the others, if it is one that may be used.
    #[must_use]
    pub fn standing(&self, key: &K) -> Option<Standing> {
        let term = self.ivcs.get(key)?;
        Some(Standing {
            lag: term.latency,
            horizon: self.horizon,
            bonded: term.bonded,
        })
    }
}

/// How an IVC stands among the others of its SVC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// By how much its latency while empty is more than that of the fastest.
    pub lag: Duration,
    /// By how much later than by the fastest, while that is empty, a packet may arrive.
    pub horizon: Duration,
    /// Whether it is one of those that packets go by that may go by any: the others are not worth to wait for.
    pub bonded: bool,
}

/// What is known of an IVC, in itself and beside the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauged {
    /// In itself.
    pub estimate: Estimate,
    /// Beside the others.
    pub standing: Standing,
    /// How many flows have it for themselves.
    pub flows: usize,
}

/// With what the scheduler is programmed for an IVC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// In bits per second.
    pub rate: u64,
    /// The latency while the link is empty, beyond that of the fastest.
    pub latency: Duration,
    /// What is to be added to the virtual clock, in nanoseconds.
    pub shift: i64,
    /// See [`Standing::bonded`].
    pub bonded: bool,
    /// How long packets of flows that have the IVC for themselves may be queued.
    pub alone: Duration,
    /// How long any may be queued, if that is known.
    pub most: Option<Duration>,
    /// At which rate pieces are to leave, where something holds them until then, in bits per second; none while it is not known what
    /// the link carries.
    pub leave: Option<u64>,
}

/// The IVCs of an SVC, by whatever they are known by.
#[derive(Debug)]
pub struct Bond<K: Ord> {
    ivcs: BTreeMap<K, Ivc>,
    early: Early,
    bonded: Group<K>,
    /// Whether IVCs of which nothing is known are to be given little.
    careful: bool,
    /// When it was last planned, and how many IVCs had answered by then.
    planned: Option<Duration>,
    answered: usize,
}

impl<K: Ord> Default for Bond<K> {
    fn default() -> Self {
        Self {
            ivcs: BTreeMap::new(),
            early: Early::default(),
            bonded: Group::default(),
            careful: false,
            planned: None,
            answered: 0,
        }
    }
}

impl<K: Ord + Clone> Bond<K> {
    /// Learns which IVCs there are, and how many bits per second each of them may be given at most. What is known of those that stay
    /// is kept.
    pub fn set(&mut self, caps: &BTreeMap<K, Option<u64>>) {
        self.ivcs.retain(|key, _| caps.contains_key(key));
        for (key, cap) in caps {
            let cap = cap.map(bytes);
            match self.ivcs.get_mut(key) {
                Some(ivc) => ivc.set_cap(cap),
                None => {
                    self.ivcs.insert(key.clone(), Ivc::new(cap));
                }
            }
        }
    }

    /// The IVCs.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.ivcs.keys()
    }

    /// Whether IVCs of which nothing is known are to be given little at first: nobody waits, and a slow link is not to be flooded.
    pub fn set_careful(&mut self, careful: bool) {
        self.careful = careful;
    }

    /// A mark is about to be sent on an IVC. Returns whether the scheduler is to be programmed anew after it.
    pub fn sent(&mut self, key: &K, number: u32, present: &Present) -> bool {
        let planned = self.planned;
        let lately = planned.is_some_and(|at| present.at.saturating_sub(at) < OFTEN);
        let ivc = self.ivcs.get_mut(key);
        ivc.is_some_and(|ivc| ivc.sent(number, present)) || !lately
    }

    /// The other side says what it has received on an IVC. The scheduler is to be programmed anew after it.
    pub fn reported(&mut self, key: &K, received: &Received, present: &Present) {
        let alone = self.ivcs.len() == 1;
        if let Some(ivc) = self.ivcs.get_mut(key) {
            ivc.reported(received, present, alone);
        }
    }

    /// Whether an IVC has answered for the first time since it was last planned: what is said of the others is said beside it.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.answered() > self.answered
    }

    fn answered(&self) -> usize {
        let ivcs = self.ivcs.values();
        ivcs.filter(|ivc| ivc.has_answered()).count()
    }

    /// The time between two marks that an IVC should have while there is load: none are to take much of a slow link.
    #[must_use]
    pub fn interval(&self, key: &K) -> Duration {
        let Some(ivc) = self.ivcs.get(key) else {
            return duration(INTERVALS.1);
        };
        let packets = match ivc.confidence() {
            Confidence::Measured => PACKETS,
            Confidence::Unknown | Confidence::Old => MANY,
        };
        duration((packets * PACKET / ivc.rate()).clamp(INTERVALS.0, INTERVALS.1))
    }

    /// What is known of an IVC.
    #[must_use]
    pub fn estimate(&self, key: &K, present: &Present) -> Option<Estimate> {
        self.ivcs.get(key)?.estimate(present)
    }

    /// With what the scheduler is to be programmed: it is taken to be programmed so. IVCs that are not among those in `presents` are
    /// not to be used. For `burst`, packets may be queued longer than they are to be.
    pub fn plan(&mut self, presents: &BTreeMap<K, Present>, burst: Duration) -> Plan<K> {
        let hope = self.hope();
        let mut known = BTreeMap::new();
        for (key, ivc) in &mut self.ivcs {
            let Some(present) = presents.get(key) else {
                continue;
            };
            ivc.set_hope(hope, present);
            if let Some(estimate) = ivc.estimate(present) {
                known.insert(key.clone(), estimate);
            }
        }
        let now = presents.values().map(|present| present.at).max();
        (self.planned, self.answered) = (now, self.answered());
        self.bonded = self.bonded.find(known.iter());
        let bonded: Vec<_> = known
            .iter()
            .filter(|(key, _)| self.bonded.has(key))
            .map(|(_, ivc)| ivc)
            .collect();
        let level = Level::of(known.values(), &bonded);
        let early = self.early(&level, now.unwrap_or_default());
        let horizon = level.horizon(burst.as_secs_f64().max(level.clump));
        for (key, ivc) in &mut self.ivcs {
            if let Some(estimate) = known.get_mut(key) {
                let lag = estimate.latency - level.least;
                estimate.excuse((horizon - lag) * EXCUSED);
                if let Some(present) = presents.get(key) {
                    ivc.programmed(estimate, present);
                }
            }
        }
        let places = self.places(&level, &known);
        let unknown = self.ivcs.iter();
        let unknown = unknown.filter(|(key, ivc)| known.contains_key(key) && !ivc.is_known());
        let unknown = unknown.map(|(key, _)| key.clone()).collect();
        let ivcs = known.into_iter().map(|(key, ivc)| {
            let term = Term {
                rate: bits(ivc.pace),
                latency: duration(ivc.latency - level.least),
                shift: ivc.shift,
                bonded: self.bonded.has(&key),
                alone: duration(alone(&ivc, level.least)),
                most: ivc.room.is_finite().then(|| duration(ivc.room)),
                leave: ivc.leave.map(bits),
            };
            (key, term)
        });
        Plan {
            calm: duration(level.horizon(0.0)),
            brief: duration(level.brief),
            horizon: duration(horizon),
            early,
            ivcs: ivcs.collect(),
            places,
            carries: level.sure,
            unknown,
        }
    }

    fn places(&self, level: &Level, known: &BTreeMap<K, Estimate>) -> Places<K> {
        let others = known.iter().filter(|(key, _)| !self.bonded.has(key));
        let place = |ivc: &Estimate| Place {
            rate: (ivc.confidence != Confidence::Unknown).then_some(ivc.rate),
            lag: ivc.latency - level.least,
            random: ivc.random,
        };
        Places {
            bonded: level.carries,
            others: others.map(|(key, ivc)| (key.clone(), place(ivc))).collect(),
        }
    }

    /// What an IVC of which nothing is known is taken to carry. While that is so of all of them nobody can spare it, and what it carries
    /// shows soonest when it is used. Beside others it is used with care, but not so little that a packet would take long on it.
    fn hope(&self) -> f64 {
        if self.careful {
            return 0.0;
        }
        let known = self.ivcs.values();
        let known = known.filter(|ivc| ivc.confidence() != Confidence::Unknown);
        let fastest = known.map(Ivc::rate).reduce(f64::max);
        fastest.map_or(bytes(HOPED), |fastest| fastest * CAREFUL)
    }

    fn early(&mut self, level: &Level, now: Duration) -> u32 {
        let now = now.as_secs_f64();
        if level.allowance > 0.0 {
            // What counts as a queue may be none.
            self.early.clear(now);
        } else {
            self.early.note(level.queue, level.target, now);
        }
        let part = self.early.probability(level.target) * f64::from(u32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1 of it"
        )]
        let early = part as u32;
        early
    }
}

/// How late packets may arrive and do, all in seconds.
#[derive(Debug)]
struct Level {
    /// The smallest latency, and by how much the largest of those that are bonded is more.
    least: f64,
    spread: f64,
    /// How long packets are to be queued on the slowest IVC, and how much longer while that has no meaning.
    target: f64,
    allowance: f64,
    /// How long what the other side has held for one that was lost may take once it is let go, all at once: senders answer likewise.
    clump: f64,
    /// How long while there are packets that must not wait.
    brief: f64,
    /// How long they are queued, as far as answers tell.
    queue: f64,
    /// How late packets may arrive at most, or the queue of a link overflows that carries much of all: what others have no room for goes by it.
    room: f64,
    /// What those of the bonded IVCs carry of which that is known, in bytes per second.
    sure: f64,
    /// What all of them carry, if that is known.
    carries: Option<f64>,
}

impl Level {
    fn of<'a>(known: impl Iterator<Item = &'a Estimate>, used: &[&Estimate]) -> Self {
        let most = |value: fn(&Estimate) -> f64, of: &[&Estimate]| {
            of.iter().map(|ivc| value(ivc)).fold(0.0, f64::max)
        };
        let least = known.map(|ivc| ivc.latency).fold(f64::MAX, f64::min);
        let slowest = used.iter().map(|ivc| ivc.latency).fold(least, f64::max);
        let sum: f64 = used.iter().map(|ivc| ivc.rate).sum();
        let unknown = |ivc: &&&Estimate| ivc.confidence == Confidence::Unknown;
        let unsure: f64 = used.iter().filter(unknown).map(|ivc| ivc.rate).sum();
        let trip = most(|ivc| ivc.round_trip, used);
        let spread = (slowest - least).max(0.0);
        let ends = used.iter().map(|ivc| ivc.latency + ivc.queue - ivc.overdue);
        let packet = most(|ivc| PACKET / ivc.rate, used);
        let large = used.iter().filter(|ivc| ivc.rate >= LARGE * sum);
        let rooms = large.map(|ivc| ivc.latency + ivc.room);
        let jitter = 1.3 * most(|ivc| ivc.jitter, used);
        let lossy = used.iter().any(|ivc| ivc.random > LOSSY);
        Self {
            least,
            spread,
            target: (TARGET + jitter)
                .max(FEW.0 * packet)
                .max(FEW.1 * PACKET / sum.max(1.0)),
            clump: if lossy { trip + TARGET } else { 0.0 },
            brief: BRIEF + jitter,
            allowance: if unsure > sum / 2.0 {
                (2.0 * trip).clamp(UNKNOWN.0, UNKNOWN.1)
            } else {
                0.0
            },
            queue: (ends.fold(f64::MAX, f64::min) - least - spread).max(0.0),
            room: rooms.fold(FURTHEST, f64::min) - least,
            sure: sum - unsure,
            carries: (unsure <= UNSURE * sum).then_some(sum),
        }
    }

    /// How late packets may arrive at the most, if they may be queued longer than they are to be for `burst` seconds.
    fn horizon(&self, burst: f64) -> f64 {
        let least = self.spread + self.target;
        (least + self.allowance + burst).min(self.room.max(least))
    }
}

/// How long packets may be queued on an IVC that few flows have for themselves, in seconds: their senders fill it only if they have something
/// in the queue that lasts until they have recovered from a loss. Of one that is not known the queue is none.
fn alone(ivc: &Estimate, least: f64) -> f64 {
    if ivc.confidence == Confidence::Unknown {
        return ALONE_UNKNOWN;
    }
    let wanted = ((ivc.latency - least) * ALONE).max(TARGET) + 1.3 * ivc.jitter;
    wanted.max(FEW.1 * PACKET / ivc.rate).min(ivc.room)
}

/// What can be no time is none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn bytes(bits: u64) -> f64 {
    bits as f64 / 8.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate"
)]
fn bits(bytes: f64) -> u64 {
    (bytes * 8.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets can wait for the slowest link as long as they are to, although others' queues are short.
    #[test]
    fn short_queues_bound_no_more_than_bursts() {
        let ivc = |latency, rate, room| Estimate {
            rate,
            pace: rate,
            leave: None,
            latency,
            round_trip: 2.0 * latency,
            queue: 0.0,
            overdue: 0.0,
            shift: 0,
            room,
            jitter: 0.0,
            loss: 0.0,
            random: 0.0,
            confidence: Confidence::Measured,
            stated: false,
        };
        let horizon = |room, burst| {
            let ivcs = [ivc(0.010, 5e6, room), ivc(0.080, 14e6, f64::INFINITY)];
            let level = Level::of(ivcs.iter(), &ivcs.iter().collect::<Vec<_>>());
            duration(level.horizon(burst)).as_micros().div_ceil(1_000)
        };
        assert_eq!(horizon(0.2, 0.1), 195);
        assert_eq!(horizon(0.15, 0.1), 150);
        assert_eq!(horizon(0.06, 0.1), 95);
    }
}
