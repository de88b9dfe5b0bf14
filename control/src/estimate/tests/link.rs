//! A link in virtual time: rate or recorded trace, latency, jitter, loss, and a queue that is finite.

use std::{collections::VecDeque, sync::Arc};

/// A time in nanoseconds since the beginning.
pub(super) type Time = u64;

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
/// What one opportunity of a trace carries, in bytes.
const OPPORTUNITY: u64 = 1500;

/// How fast a link is.
#[derive(Clone, Debug)]
pub(super) enum Speed {
    /// Bits per second from each time on.
    Steps(Vec<(Time, u64)>),
    /// The milliseconds at which 1500 bytes may leave; repeated when it ends.
    Trace(Arc<[u64]>),
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) speed: Speed,
    pub(super) latency: Time,
    /// Each packet takes up to twice as much longer.
    pub(super) jitter: Time,
    /// From when on.
    pub(super) restless: Time,
    /// So do all packets of a moment.
    pub(super) wander: Time,
    pub(super) loss: f64,
    /// When the way becomes longer, and by how much.
    pub(super) detour: Option<(Time, Time)>,
    /// The queue's room in bytes.
    pub(super) room: u64,
}

impl Model {
    /// A link of constant rate with a queue of half a second, but of no less than 64 kB.
    pub(super) fn new(mbit: f64, latency_ms: u64) -> Self {
        let rate = (mbit * 1e6) as u64;
        Self {
            speed: Speed::Steps(vec![(0, rate)]),
            latency: latency_ms * MS,
            jitter: 0,
            restless: 0,
            wander: 0,
            loss: 0.0,
            detour: None,
            room: (rate / 16).max(64_000),
        }
    }

    /// Changes the rate from a moment on.
    pub(super) fn then(mut self, at: Time, mbit: f64) -> Self {
        if let Speed::Steps(steps) = &mut self.speed {
            steps.push((at, (mbit * 1e6) as u64));
        }
        self
    }

    pub(super) fn jitter(mut self, ms: u64) -> Self {
        self.jitter = ms * MS;
        self
    }

    pub(super) fn wander(mut self, ms: u64) -> Self {
        self.wander = ms * MS;
        self
    }

    pub(super) fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// Plays a trace of one of the recorded networks.
    pub(super) fn trace(name: &str, latency_ms: u64) -> Self {
        let path = format!("{}/../tests/traces/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        let times = text.lines().map(|line| line.parse().unwrap());
        Self {
            speed: Speed::Trace(times.collect()),
            room: 1_500_000,
            ..Self::new(1.0, latency_ms)
        }
    }

    /// How many bytes could leave between two moments.
    pub(super) fn capacity(&self, from: Time, until: Time) -> f64 {
        match &self.speed {
            Speed::Steps(steps) => {
                let ends = steps.iter().skip(1).map(|step| step.0).chain([Time::MAX]);
                let parts = steps.iter().zip(ends).map(|((begin, rate), end)| {
                    let time = end.min(until).saturating_sub((*begin).max(from));
                    time as f64 / 1e9 * *rate as f64 / 8.0
                });
                parts.sum()
            }
            Speed::Trace(times) => {
                let before = |time: Time| {
                    let last = times.last().unwrap().max(&1) * MS;
                    let whole = time / last * times.len() as u64;
                    whole + times.partition_point(|at| at * MS < time % last) as u64
                };
                ((before(until) - before(from)) * OPPORTUNITY) as f64
            }
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// How long it waits for others.
    pub(super) waits: Time,
    /// When it arrives, unless it is lost.
    pub(super) arrival: Option<Time>,
}

/// A link in use.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) model: Model,
    /// When the last byte accepted will have left.
    free: Time,
    /// What has yet to leave: when, and the bytes.
    waiting: VecDeque<(Time, u64)>,
    bytes: u64,
    last: Time,
    /// The next opportunity of a trace, and what is left of it.
    next: (u64, u64),
    /// The wandering latency: at the last bend, at the next, and when that is.
    bends: (Time, Time, Time),
    random: fastrand::Rng,
}

/// The time between two bends of a latency that wanders.
const BEND: Time = 40 * MS;

impl Link {
    pub(super) fn new(model: Model, seed: u64) -> Self {
        Self {
            model,
            free: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            last: 0,
            next: (0, OPPORTUNITY),
            bends: (0, 0, 0),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes in a packet, or drops it where there is no room: then there is no fate.
    pub(super) fn offer(&mut self, now: Time, bytes: u64) -> Option<Fate> {
        while self.waiting.front().is_some_and(|(left, _)| *left <= now) {
            self.bytes -= self.waiting.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        if self.bytes + bytes > self.model.room {
            return None;
        }
        let begin = self.free.max(now);
        self.free = self.leaves(begin, bytes);
        self.waiting.push_back((self.free, bytes));
        self.bytes += bytes;
        let jitter = match self.model.jitter {
            0 => 0,
            _ if now < self.model.restless => self.model.jitter,
            jitter => self.random.u64(0..=2 * jitter),
        };
        let wander = self.wander(self.free);
        let detour = self.model.detour.filter(|detour| self.free >= detour.0);
        let latency = self.model.latency + detour.map_or(0, |detour| detour.1);
        let arrival = (self.free + latency + jitter + wander).max(self.last);
        self.last = arrival;
        let lost = self.random.f64() < self.model.loss;
        Some(Fate {
            waits: begin - now,
            arrival: (!lost).then_some(arrival),
        })
    }

    fn wander(&mut self, at: Time) -> Time {
        while self.bends.2 <= at {
            self.bends = (
                self.bends.1,
                self.random.u64(0..=2 * self.model.wander),
                self.bends.2 + BEND,
            );
        }
        let left = self.bends.2 - at;
        (self.bends.0 * left.min(BEND) + self.bends.1 * (BEND - left.min(BEND))) / BEND
    }

    /// When a packet has left that may begin at `begin`.
    fn leaves(&mut self, begin: Time, bytes: u64) -> Time {
        match &self.model.speed {
            Speed::Steps(steps) => {
                let (mut at, mut bits) = (begin, bytes as f64 * 8.0);
                let mut step = steps.partition_point(|(from, _)| *from <= at) - 1;
                loop {
                    let end = steps.get(step + 1).map_or(Time::MAX, |step| step.0);
                    let rate = steps[step].1 as f64;
                    let needs = bits / rate * 1e9;
                    if end == Time::MAX || at as f64 + needs <= end as f64 {
                        return at + needs as Time;
                    }
                    bits -= (end - at) as f64 / 1e9 * rate;
                    (at, step) = (end, step + 1);
                }
            }
            Speed::Trace(times) => {
                let last = times.last().unwrap().max(&1) * MS;
                let at = |number: u64| {
                    let (round, place) = (number / times.len() as u64, number % times.len() as u64);
                    round * last + times[place as usize] * MS
                };
                let mut left = bytes;
                loop {
                    if at(self.next.0) < begin {
                        // Nobody was there to take it.
                        let round = begin / last;
                        let place = times.partition_point(|at| at * MS < begin % last) as u64;
                        self.next = (round * times.len() as u64 + place, OPPORTUNITY);
                    }
                    let taken = left.min(self.next.1);
                    left -= taken;
                    self.next.1 -= taken;
                    let time = at(self.next.0);
                    if self.next.1 == 0 {
                        self.next = (self.next.0 + 1, OPPORTUNITY);
                    }
                    if left == 0 {
                        return time.max(begin);
                    }
                }
            }
        }
    }
}
