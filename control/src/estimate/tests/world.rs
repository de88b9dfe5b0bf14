//! Two gateways and their links in virtual time.

use std::{
    cell::Cell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use withy_common::{
    maps::{Ivc, MAX_IVCS, Split, Svc},
    outbound::is_early,
    schedule::{Best, Clocks, departure, pick},
    terms::Terms,
};

use super::{
    super::{Bond, Plan, Present, Received, Term},
    link::{Link, MS, Model, SECOND, Time},
    senders::Source,
};

/// A full packet of a host behind a gateway, in ESP; and what a link beneath IP adds.
pub(super) const PACKET: u16 = 1460;
pub(super) const OVERHEAD: u64 = 14;
/// A keepalive, everything included.
const MARK: u64 = 20 + 88 + OVERHEAD;
/// For how long this side's clock has run when everything begins: longer than anything is remembered.
const BOOT: Time = 10_000 * SECOND;
/// The time between two keepalives while there is no load.
const IDLE: Time = 100 * MS;
/// Figures are kept for periods of this length.
pub(super) const PERIOD: Time = 50 * MS;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It is time for keepalives.
    Tick(usize),
    /// It is time for the other side's.
    TheirTick(usize),
    /// One of these arrives.
    Reported(usize, Word),
    /// A source wants to send.
    Wake(usize),
    /// A packet leaves that was held: its link and source, which it is, and when it was sent.
    Leaves(usize, usize, u64, Time),
    /// So does a keepalive.
    MarkLeaves(usize, u32),
    /// A source hears that a packet has arrived.
    Acknowledged(usize, u64),
    /// Others send on a link: which, and the bits per second until when.
    Others(usize, u64, Time),
    /// The scheduler is programmed as was planned before.
    Programmed,
}

impl Event {
    /// Whether it is this gateway that has something to do.
    fn is_here(self) -> bool {
        !matches!(self, Self::TheirTick(_) | Self::Others(..))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    number: u32,
    arrived: Time,
    bytes: u64,
    read: Time,
}

/// Clocks of one thread: the virtual ones, and those by which packets leave.
#[derive(Debug, Default)]
struct OneThread([Cell<u64>; MAX_IVCS], [Cell<u64>; MAX_IVCS]);

fn advance(clock: &Cell<u64>, from: u64, cost: u64) -> u64 {
    let behind = clock.get().wrapping_sub(from).cast_signed() < 0;
    let begin = if behind { from } else { clock.get() };
    clock.set(begin.wrapping_add(cost));
    begin
}

impl Clocks for OneThread {
    fn read(&self, slot: usize) -> u64 {
        self.0[slot].get()
    }

    fn reserve(&self, slot: usize, from: u64, cost: u64) {
        advance(&self.0[slot], from, cost);
    }

    fn depart(&self, slot: usize, now: u64, spacing: u64) -> u64 {
        advance(&self.1[slot], now, spacing)
    }
}

/// One IVC.
#[derive(Debug)]
struct Path {
    link: Link,
    sent: u64,
    /// What is under way: when it arrives, and the bytes.
    coming: VecDeque<(Time, u64)>,
    received: u64,
    marks: VecDeque<(Time, u32)>,
    heard: Option<Word>,
    number: u32,
    /// The bytes sent at the last keepalive, and when there was load.
    told: u64,
    loaded: Time,
    /// When the last keepalive left.
    left: Time,
}

/// What a link did in a period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Bytes that arrived.
    pub(super) bytes: u64,
    /// The longest that a packet waited for others.
    pub(super) waits: Time,
}

/// Everything.
pub(super) struct World {
    pub(super) now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    order: u64,
    paths: Vec<Path>,
    pub(super) bond: Bond<usize>,
    /// With what the scheduler is programmed, and with what it will be.
    pub(super) plan: Plan<usize>,
    planned: VecDeque<Plan<usize>>,
    /// How long that takes, and when it was last begun.
    takes: Time,
    planned_at: Option<Time>,
    svc: Svc,
    clocks: OneThread,
    best: Best,
    pub(super) sources: Vec<Source>,
    /// When each of them will be asked for packets.
    waking: Vec<Time>,
    random: fastrand::Rng,
    /// By link and period.
    pub(super) figures: Vec<Vec<Figures>>,
    /// When each packet was sent and arrived, in the order of sending.
    pub(super) packets: Vec<(Time, Time)>,
    /// What found no room in the virtual queue, and in a link's.
    pub(super) refused: u64,
    pub(super) overflowed: u64,
    /// The other side's clock is ahead by this, and faster by so many parts of a million.
    ahead: Time,
    skew: f64,
    /// From when on the other side says nothing.
    pub(super) mute: Time,
    /// Whether packets are held until the time at which they are to leave.
    paced: bool,
    /// How long this gateway is at work until it gets no processor time, and how long that lasts, on the average.
    stalls: Option<(Time, Time)>,
    /// The next such time: from when until when.
    stall: (Time, Time),
}

fn volume(len: u16) -> u64 {
    u64::from(len) + OVERHEAD
}

impl World {
    pub(super) fn new(models: &[Model], seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let paths: Vec<_> = models
            .iter()
            .map(|model| Path {
                link: Link::new(model.clone(), random.u64(..)),
                sent: 0,
                coming: VecDeque::new(),
                received: 0,
                marks: VecDeque::new(),
                heard: None,
                number: 0,
                told: 0,
                loaded: 0,
                left: 0,
            })
            .collect();
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            order: 0,
            bond: Bond::default(),
            plan: Plan::default(),
            planned: VecDeque::new(),
            takes: 0,
            planned_at: None,
            svc: Svc::new(1, 0, Split::Mtu, 0, [Ivc::default(); MAX_IVCS]),
            clocks: OneThread::default(),
            best: Best::new(),
            sources: Vec::new(),
            waking: Vec::new(),
            figures: vec![Vec::new(); paths.len()],
            paths,
            packets: Vec::new(),
            refused: 0,
            overflowed: 0,
            ahead: random.u64(0..1_000 * SECOND),
            skew: 0.0,
            mute: Time::MAX,
            paced: false,
            stalls: None,
            stall: (0, 0),
            random,
        };
        let caps = (0..models.len()).map(|path| (path, None));
        world.bond.set(&caps.collect());
        for path in 0..models.len() {
            let (ours, theirs) = (world.random.u64(0..25 * MS), world.random.u64(0..25 * MS));
            world.at(ours, Event::Tick(path));
            world.at(theirs, Event::TheirTick(path));
        }
        world
    }

    /// States what the links carry.
    pub(super) fn cap(&mut self, models: &[Model]) {
        let cap = |model: &Model| Some((model.capacity(0, SECOND) * 8.0) as u64);
        self.bond = Bond::default();
        self.bond.set(&models.iter().map(cap).enumerate().collect());
    }

    /// Makes the other side's clock faster.
    pub(super) fn skew(mut self, ppm: f64) -> Self {
        self.skew = ppm / 1e6;
        self
    }

    /// Has packets held until the time at which they are to leave, or not.
    pub(super) fn paced(mut self, paced: bool) -> Self {
        self.paced = paced;
        self
    }

    /// Has it take so long to program the scheduler after it was read how that stands, and do so seldom while there is no load.
    pub(super) fn programmed_after(mut self, takes: Time) -> Self {
        self.takes = takes;
        self
    }

    /// Has this gateway stop now and then: how long it is until then, and how long it lasts, on the average. What is due meanwhile happens
    /// at the end of it.
    pub(super) fn stalling(mut self, between: Time, length: Time) -> Self {
        self.stalls = Some((between, length));
        self
    }

    pub(super) fn source(&mut self, from: Time, source: Source) {
        let number = self.sources.len();
        self.sources.push(source);
        self.waking.push(from);
        self.at(from, Event::Wake(number));
    }

    /// Has others send on a link, at a constant rate.
    pub(super) fn others(&mut self, link: usize, mbit: f64, from: Time, until: Time) {
        self.at(from, Event::Others(link, (mbit * 1e6) as u64, until));
    }

    fn at(&mut self, time: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, until: Time) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > until {
                self.at(time, event);
                break;
            }
            self.now = time;
            match self.stalled_until() {
                Some(end) if event.is_here() => self.at(end, event),
                _ => self.handle(event),
            }
        }
        self.now = until;
    }

    /// When this gateway is at work again, if it is not.
    fn stalled_until(&mut self) -> Option<Time> {
        let (between, length) = self.stalls?;
        while self.stall.1 <= self.now {
            let mut draw = |mean: Time| (-(1.0 - self.random.f64()).ln() * mean as f64) as Time;
            let begin = self.stall.1 + draw(between).max(MS);
            self.stall = (begin, begin + draw(length));
        }
        (self.stall.0 <= self.now).then_some(self.stall.1)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(path) => self.tick(path),
            Event::TheirTick(path) => self.their_tick(path),
            Event::Reported(path, word) => {
                let received = Received {
                    number: word.number,
                    arrived: Duration::from_nanos(word.arrived),
                    bytes: word.bytes,
                    read: Duration::from_nanos(word.read),
                };
                let present = self.present(path);
                self.bond.reported(&path, &received, &present);
                self.program();
            }
            Event::Programmed => {
                if let Some(plan) = self.planned.pop_front() {
                    self.follow(plan);
                }
            }
            Event::Wake(source) if self.waking[source] == self.now => self.wake(source),
            Event::Wake(_) => {}
            Event::Leaves(path, source, packet, sent) => self.leave(path, source, packet, sent),
            Event::MarkLeaves(path, mark) => self.mark_leaves(path, mark),
            Event::Acknowledged(source, number) => {
                self.sources[source].acknowledged(number, self.now);
                self.wake(source);
            }
            Event::Others(link, rate, until) => {
                self.paths[link].link.offer(self.now, 1500 + OVERHEAD);
                let next = self.now + (1500 + OVERHEAD) * 8 * SECOND / rate;
                if next < until {
                    self.at(next, Event::Others(link, rate, until));
                }
            }
        }
    }

    pub(super) fn present(&self, path: usize) -> Present {
        Present {
            at: Duration::from_nanos(BOOT + self.now),
            bytes: self.paths[path].sent,
            ahead: self.clocks.read(path).wrapping_sub(self.now).cast_signed(),
            leaves: Duration::from_nanos(BOOT + self.leaves(path)),
        }
    }

    /// When a packet leaves that is handed over now.
    fn leaves(&self, path: usize) -> Time {
        if self.svc.ivcs[path].spacing > 0 {
            self.now.max(self.clocks.1[path].get())
        } else {
            self.now
        }
    }

    fn theirs(&self, time: Time) -> Time {
        time + self.ahead + (time as f64 * self.skew) as Time
    }

    /// The time between two keepalives: shorter while there is load.
    fn interval(&self, path: usize) -> Time {
        if self.now < self.paths[path].loaded + SECOND {
            self.bond.interval(&path).as_nanos() as Time
        } else {
            IDLE
        }
    }

    fn tick(&mut self, number: usize) {
        let mut present = self.present(number);
        let mut leaves = self.leaves(number);
        let path = &mut self.paths[number];
        if leaves > self.now {
            leaves = leaves.max(path.left);
            present.leaves = Duration::from_nanos(BOOT + leaves);
        }
        path.left = leaves;
        if present.bytes > path.told + 3 * volume(PACKET) {
            path.loaded = self.now;
        }
        path.told = present.bytes;
        path.number += 1;
        let mark = path.number;
        let changed = self.bond.sent(&number, mark, &present);
        if leaves > self.now {
            self.at(leaves, Event::MarkLeaves(number, mark));
        } else {
            self.mark_leaves(number, mark);
        }
        if changed {
            self.program();
        }
        let next = self.now + self.interval(number);
        self.at(next, Event::Tick(number));
    }

    fn mark_leaves(&mut self, number: usize, mark: u32) {
        let path = &mut self.paths[number];
        let fate = path.link.offer(self.now, MARK);
        if let Some(arrival) = fate.and_then(|fate| fate.arrival) {
            path.marks.push_back((arrival, mark));
        }
    }

    fn their_tick(&mut self, number: usize) {
        let (now, read) = (self.now, self.random.u64(0..2 * MS));
        let path = &mut self.paths[number];
        let mut newest = None;
        while let Some(mark) = path.marks.pop_front_if(|mark| mark.0 <= now) {
            newest = Some(mark);
        }
        if let Some((arrival, mark)) = newest {
            let read = (arrival + read).min(now);
            while let Some(coming) = path.coming.pop_front_if(|coming| coming.0 <= read) {
                path.received += coming.1;
            }
            let bytes = path.received;
            let word = Word {
                number: mark,
                arrived: self.theirs(arrival),
                bytes,
                read: self.theirs(read),
            };
            self.paths[number].heard = Some(word);
        }
        let path = &self.paths[number];
        let (latency, jitter) = (path.link.model.latency, path.link.model.jitter);
        let lost = self.random.f64() < path.link.model.loss || now >= self.mute;
        if let Some(word) = path.heard.filter(|_| !lost) {
            let back = now + latency + self.random.u64(0..=2 * jitter);
            self.at(back, Event::Reported(number, word));
        }
        let next = self.now + self.interval(number);
        self.at(next, Event::TheirTick(number));
    }

    /// Programs the scheduler.
    fn program(&mut self) {
        if self.takes > 0 && !self.is_due() {
            return;
        }
        self.planned_at = Some(self.now);
        let paths = 0..self.paths.len();
        let presents = paths.map(|path| (path, self.present(path))).collect();
        let plan = self.bond.plan(&presents, Duration::from_millis(100));
        if self.takes == 0 {
            self.follow(plan);
        } else {
            self.planned.push_back(plan);
            self.at(self.now + self.takes, Event::Programmed);
        }
    }

    fn is_due(&self) -> bool {
        let lately = |time: Time| self.now < time + SECOND;
        let loaded = self.paths.iter().any(|path| lately(path.loaded));
        loaded || self.bond.has_more() || !self.planned_at.is_some_and(lately)
    }

    fn follow(&mut self, plan: Plan<usize>) {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (slot, ivc) in ivcs.iter_mut().enumerate().take(self.paths.len()) {
            // Of what is not known yet, nothing is expected.
            let unknown = Term {
                rate: 1_000_000,
                ..Term::default()
            };
            let term = plan.ivcs.get(&slot).unwrap_or(&unknown);
            let (byte_time, rate) = Ivc::pace(term.rate);
            *ivc = Ivc {
                mtu: 1500,
                overhead: OVERHEAD as u32,
                byte_time,
                rate,
                latency_ns: term.latency.as_nanos() as u64,
                shift_ns: term.shift.cast_unsigned(),
                most_ns: term.most.map_or(0, |most| most.as_nanos() as u64),
                spacing: match term.leave.filter(|_| self.paced) {
                    Some(leave) => Ivc::pace(leave).0,
                    None => 0,
                },
                ..Ivc::default()
            };
        }
        for (slot, ivc) in (0..).zip(&mut ivcs) {
            ivc.counters = slot;
        }
        self.svc = Svc::new(1, 0, Split::Mtu, plan.horizon.as_nanos() as u64, ivcs);
        (self.svc.early, self.svc.calm_ns) = (plan.early, plan.calm.as_nanos() as u64);
        self.svc.bond(|ivc| {
            let term = plan.ivcs.get(&(ivc.counters as usize));
            term.is_none_or(|term| term.bonded)
        });
        self.plan = plan;
    }

    fn figures(&mut self, link: usize, time: Time) -> &mut Figures {
        let period = (time / PERIOD) as usize;
        let figures = &mut self.figures[link];
        if figures.len() <= period {
            figures.resize(period + 1, Figures::default());
        }
        &mut figures[period]
    }

    fn wake(&mut self, number: usize) {
        while let Some(packet) = self.sources[number].next(self.now) {
            self.send(number, packet);
        }
        let pending = self.waking[number] > self.now;
        if let Some(when) = self.sources[number].wakes()
            && (!pending || when < self.waking[number])
        {
            self.waking[number] = when.max(self.now + 1);
            self.at(self.waking[number], Event::Wake(number));
        }
    }

    fn send(&mut self, source: usize, packet: u64) {
        let now = self.now;
        if is_early(&self.svc, &self.clocks, now, self.random.u32(..)) {
            self.refused += 1;
            return;
        }
        let terms = Terms::new();
        terms.any(&self.svc);
        let picked = pick(&self.svc, &self.clocks, &self.best, now, PACKET, &terms);
        let Ok(slot) = picked else {
            self.refused += 1;
            return;
        };
        let slot = slot as usize;
        self.paths[slot].sent += volume(PACKET);
        match departure(&self.clocks, slot, &self.svc.ivcs[slot], now, PACKET) {
            Some(leaves) if leaves > now => {
                self.at(leaves, Event::Leaves(slot, source, packet, now));
            }
            _ => self.leave(slot, source, packet, now),
        }
    }

    /// A packet that was sent by a source leaves.
    fn leave(&mut self, slot: usize, source: usize, packet: u64, sent: Time) {
        let now = self.now;
        let Some(fate) = self.paths[slot].link.offer(now, volume(PACKET)) else {
            self.overflowed += 1;
            return;
        };
        let figures = self.figures(slot, now);
        figures.waits = figures.waits.max(fate.waits);
        if let Some(arrival) = fate.arrival {
            self.figures(slot, arrival).bytes += volume(PACKET);
            self.paths[slot].coming.push_back((arrival, volume(PACKET)));
            self.packets.push((sent, arrival));
            if let Some(back) = self.sources[source].hears_after() {
                self.at(arrival + back, Event::Acknowledged(source, packet));
            }
        }
    }
}
