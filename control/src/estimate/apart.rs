//! Which flows go by an IVC of their own, beside the bonded ones.
//!
//! An IVC that is much further away than the others cannot be bonded with them: whatever else goes by the nearer ones would have to wait
//! in queues that are not that long. But a flow that goes by it alone keeps nobody waiting. So where the bonded ones are full, large flows move over as
//! long as that leaves all of them better off, and come back when there is room. Small ones never do: they would be later, and nobody faster.

use std::{collections::BTreeMap, time::Duration};

use withy_common::{label::FLOWS, maps::Flows};

use super::ivc::precise;

/// The time in which a flow's rate follows, in seconds.
const SMOOTH: f64 = 0.3;
/// The bonded IVCs are full if they carry this part of what they can, and have room if no more than this.
const FULL: f64 = 0.85;
const ROOM: f64 = 0.6;
/// Up to which part they are filled with what comes back.
const REFILL: f64 = 0.8;
/// For how long there must be room, or a flow send nothing, in seconds.
const LONG: f64 = 2.0;
/// A flow is large if it is this part of what the bonded IVCs carry, and so many bytes per second.
const LARGE: (f64, f64) = (1.0 / 64.0, 25_000.0);
/// It sends nothing if it is no more than this, in bytes per second.
const NOTHING: f64 = 500.0;
/// A flow moves if it then gets this part at least of what it would get otherwise. That is less than all, for all the others get more; if
/// there are no others, it must be more.
const WORTH: f64 = 0.5;
const WORTH_ALONE: f64 = 2.0;
/// And comes back if it gets less than this part.
const UNFAIR: f64 = 0.25;
/// A flow that is this much faster than its share would be is not moved: it need not be one that slows down.
const TOO_FAST: f64 = 2.0;
/// How long between two that move, and between two that come back, in seconds.
const STEPS: (f64, f64) = (0.05, 1.0);
/// An IVC of which nothing is known is taken to carry this part of what the bonded ones do, until flows have found out.
const ASSUMED: f64 = 0.25;
/// An IVC that loses more than this by chance is of no use for a flow that goes by it alone, unless what is lost is sent again; and a flow that is there
/// leaves if it is more than this: what was lost because a queue was full may look like chance for a while.
const LOSSY: (f64, f64) = (0.002, 0.01);
/// How many packets may be sent between two that arrive together: the smallest window against replay that gateways have unless configured otherwise has 4096.
const OVERTAKEN: f64 = 3_000.0;
/// The length of packets where there are many, in bytes.
const PACKET: f64 = 1_200.0;

/// Where flows can go.
#[derive(Clone, Debug, PartialEq)]
pub struct Places<K: Ord> {
    /// What the bonded IVCs carry, in bytes per second, if that is known.
    pub bonded: Option<f64>,
    /// The others.
    pub others: BTreeMap<K, Place>,
}

impl<K: Ord> Default for Places<K> {
    fn default() -> Self {
        Self {
            bonded: None,
            others: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Places<K> {
    /// What is lost by chance is sent again, and so means nothing.
    pub fn forgive(&mut self) {
        for place in self.others.values_mut() {
            place.random = 0.0;
        }
    }
}

/// An IVC that is not bonded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// What it carries, in bytes per second, if that is known.
    pub rate: Option<f64>,
    /// By how much it is further away than the nearest, in seconds.
    pub lag: f64,
    /// Which part it loses by chance, from 0 to 1.
    pub random: f64,
}

impl Place {
    /// Whether a flow may go there, or `stays` there, while the bonded ones carry so many bytes per second.
    fn is_useful(&self, bonded: f64, stays: bool) -> bool {
        let most = if stays { LOSSY.1 } else { LOSSY.0 };
        self.random < most && self.lag * bonded / PACKET < OVERTAKEN
    }
}

/// The flows of an SVC.
#[derive(Debug)]
pub struct Apart<K: Ord> {
    /// What they had sent when that was last looked at.
    last: Option<(f64, Flows)>,
    /// At which rate they send, in bytes per second.
    rates: [f64; FLOWS as usize],
    ways: BTreeMap<u8, Way<K>>,
    /// When one has moved, and when one has come back.
    moved: f64,
    returned: f64,
    /// Since when the bonded IVCs have had room.
    room: Option<f64>,
}

/// The way of a flow that has one.
#[derive(Debug)]
struct Way<K> {
    by: K,
    /// When it sent last.
    active: f64,
}

impl<K: Ord> Default for Apart<K> {
    fn default() -> Self {
        Self {
            last: None,
            rates: [0.0; FLOWS as usize],
            ways: BTreeMap::new(),
            moved: f64::NEG_INFINITY,
            returned: f64::NEG_INFINITY,
            room: None,
        }
    }
}

/// How the bonded IVCs and the large flows on them are.
struct Bonded {
    carries: f64,
    used: f64,
    large: Vec<u8>,
}

impl<K: Ord + Clone> Apart<K> {
    /// Which flows go by which IVC.
    pub fn ways(&self) -> impl Iterator<Item = (u8, &K)> {
        self.ways.iter().map(|(flow, way)| (*flow, &way.by))
    }

    /// How many flows go by an IVC.
    pub fn count(&self, by: &K) -> usize {
        self.ways.values().filter(|way| way.by == *by).count()
    }

    /// As [`Self::decide`], where it may be that nobody counts what flows send: then all go by the bonded ones.
    pub fn follow(&mut self, flows: Option<&Flows>, places: &Places<K>, now: Duration) {
        match flows {
            Some(flows) => self.decide(flows, places, now),
            None => *self = Self::default(),
        }
    }

    /// Takes in what the flows have sent by a moment, and where they can go, and decides where they do.
    pub fn decide(&mut self, flows: &Flows, places: &Places<K>, now: Duration) {
        let now = now.as_secs_f64();
        self.measure(flows, now);
        let Self { ways, rates, .. } = self;
        ways.retain(|flow, way| {
            if rates[usize::from(*flow)] > NOTHING {
                way.active = now;
            }
            places.others.contains_key(&way.by) && now - way.active < LONG
        });
        let Some(carries) = places.bonded else {
            self.room = None;
            return;
        };
        let bonded = self.bonded(carries);
        if bonded.used >= FULL * carries {
            self.move_one(&bonded, places, now);
        }
        self.take_one_back(&bonded, places, now);
    }

    /// Finds out at which rate flows send.
    fn measure(&mut self, flows: &Flows, now: f64) {
        let Some((then, before)) = self.last.replace((now, *flows)) else {
            return;
        };
        let time = now - then;
        if time <= 0.0 {
            return;
        }
        let weight = 1.0 - (-time / SMOOTH).exp();
        for ((rate, bytes), before) in self.rates.iter_mut().zip(&flows.0).zip(&before.0) {
            // Whoever counts may have begun anew.
            let sent = precise(bytes.saturating_sub(*before));
            *rate += (sent / time - *rate) * weight;
        }
    }

    fn bonded(&self, carries: f64) -> Bonded {
        let least = (LARGE.0 * carries).max(LARGE.1);
        let (mut used, mut large) = (0.0, Vec::new());
        for (flow, rate) in (0..=u8::MAX).zip(self.rates) {
            if self.ways.contains_key(&flow) {
                continue;
            }
            used += rate;
            // Flow 0 is also all that is not told apart.
            if rate >= least && flow != 0 {
                large.push(flow);
            }
        }
        Bonded {
            carries,
            used,
            large,
        }
    }

    /// Moves a large flow to the IVC where it gets most, if it is worth it.
    fn move_one(&mut self, bonded: &Bonded, places: &Places<K>, now: f64) {
        if now - self.moved < STEPS.0 || bonded.large.is_empty() {
            return;
        }
        let here = bonded.carries / many(bonded.large.len());
        let useful = places
            .others
            .iter()
            .filter(|(_, place)| place.is_useful(bonded.used, false));
        let shares = useful.map(|(key, place)| (key, self.share(key, place, bonded.carries)));
        let Some((key, share)) = shares.max_by(|a, b| a.1.total_cmp(&b.1)) else {
            return;
        };
        let worth = if bonded.large.len() > 1 {
            WORTH
        } else {
            WORTH_ALONE
        };
        if share < worth * here {
            return;
        }
        if let Some(flow) = self.fitting(&bonded.large, share) {
            let by = key.clone();
            self.ways.insert(flow, Way { by, active: now });
            self.moved = now;
        }
    }

    /// What one more flow would get of an IVC, where the bonded ones carry so many bytes per second.
    fn share(&self, key: &K, place: &Place, bonded: f64) -> f64 {
        let there = self.count(key);
        place.rate.unwrap_or(ASSUMED * bonded) / many(there + 1)
    }

    /// The flow that comes nearest to what it would get: it has least to change.
    fn fitting(&self, large: &[u8], share: f64) -> Option<u8> {
        let rate = |flow: &u8| self.rates[usize::from(*flow)];
        let by_rate = |a: &&u8, b: &&u8| rate(a).total_cmp(&rate(b));
        let below = large.iter().filter(|flow| rate(flow) <= share);
        let found = below
            .max_by(by_rate)
            .or_else(|| large.iter().min_by(by_rate))?;
        (rate(found) <= TOO_FAST * share).then_some(*found)
    }

    /// Takes a flow back if the bonded IVCs have had room for it for a while, or if it gets much less than the others.
    fn take_one_back(&mut self, bonded: &Bonded, places: &Places<K>, now: f64) {
        let has_room = bonded.used < ROOM * bonded.carries;
        self.room = has_room.then(|| self.room.unwrap_or(now));
        if now - self.returned < STEPS.1 || now - self.moved < LONG {
            return;
        }
        let rate = |flow: &u8| self.rates[usize::from(*flow)];
        let slowest = self.ways.keys().min_by(|a, b| rate(a).total_cmp(&rate(b)));
        let long = self.room.is_some_and(|since| now - since >= LONG);
        let fits =
            slowest.filter(|flow| long && bonded.used + rate(flow) <= REFILL * bonded.carries);
        if let Some(flow) = fits.copied().or_else(|| self.unfair(bonded, places)) {
            self.ways.remove(&flow);
            self.returned = now;
        }
    }

    /// A flow that gets much less than it would with the others, if there is one.
    fn unfair(&self, bonded: &Bonded, places: &Places<K>) -> Option<u8> {
        let here = bonded.carries / many(bonded.large.len() + 1);
        let gets = |way: &Way<K>| {
            let there = self.count(&way.by);
            let place = places.others.get(&way.by)?;
            if !place.is_useful(bonded.used, true) {
                return Some(0.0);
            }
            Some(place.rate? / many(there))
        };
        let unfair = |way: &Way<K>| gets(way).is_some_and(|gets| gets < UNFAIR * here);
        self.ways
            .iter()
            .find(|(_, way)| unfair(way))
            .map(|(flow, _)| *flow)
    }
}

#[expect(clippy::cast_precision_loss, reason = "few")]
const fn many(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
