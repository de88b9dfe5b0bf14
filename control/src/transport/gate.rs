//! Who may begin a handshake: strangers must take neither the processor nor the memory.
//!
//! A connection that says nothing costs little, so the rate is asked for when its first byte has come. Where all places are
//! taken, a new connection gets the place of the oldest that has said nothing, or else of the oldest stranger: what is in
//! earnest speaks at once and is through within a few round trips, while the places of a flood get old. Addresses from which a
//! known key has come keep their places, and have a rate of their own.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::refusals::Refusal;

/// How many addresses are remembered that have failed, and how many from which a known key has come. The oldest are forgotten first.
const REMEMBERED: usize = 4096;

/// What a listener spends on connections that have yet to show a known key.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many handshakes may be under way.
    pub handshakes: usize,
    /// How many of them from one address. A failed one counts until its time is over, so that one address cannot use up
    /// the rate.
    pub per_source: usize,
    /// How long each may take.
    pub time: Duration,
    /// How many may begin per second in the long run: as many of strangers, and as many of addresses from which a known
    /// key has come.
    pub rate: u32,
    /// How many of each may begin at once.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            per_source: 8,
            time: Duration::from_secs(5),
            rate: 200,
            burst: 400,
        }
    }
}

/// Lets connections begin their handshakes, or not. Clones share its memory.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limits: Limits,
    strangers: Bucket,
    acquaintances: Bucket,
    last: u64,
    /// Handshakes by their numbers, so the oldest come first.
    places: BTreeMap<u64, Place>,
    /// Handshakes that have failed, until their time is over.
    failed: BTreeMap<u64, (Ipv4Addr, Instant)>,
    /// How many of both an address has.
    counts: HashMap<Ipv4Addr, usize>,
    known: Acquaintances,
}

/// A handshake.
#[derive(Debug)]
struct Place {
    source: Ipv4Addr,
    deadline: Instant,
    stage: Stage,
    /// Tells it to make room.
    out: oneshot::Sender<()>,
}

/// How far a handshake is; the first to make room comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing has come.
    Silent,
    /// Something has come, from an address that nobody knows.
    Speaking,
    /// Something has come from an address from which a known key has come before, or just now.
    Trusted,
}

/// The right to a handshake. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
    number: u64,
    /// Comes, or fails, when the place is needed for another.
    pub(super) out: oneshot::Receiver<()>,
}

impl Gate {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let bucket = || Bucket::new(limits.rate, limits.burst, now);
        Self(Arc::new(Mutex::new(State {
            limits: *limits,
            strangers: bucket(),
            acquaintances: bucket(),
            last: 0,
            places: BTreeMap::new(),
            failed: BTreeMap::new(),
            counts: HashMap::new(),
            known: Acquaintances::default(),
        })))
    }

    /// Asks for a place. Another may have to make room.
    pub(super) fn admit(&self, source: Ipv4Addr, now: Instant) -> Result<Pass, Refusal> {
        let (number, out) = self.state().enter(source, now)?;
        Ok(Pass {
            gate: self.clone(),
            number,
            out,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The first byte has come: asks to spend processor time on it.
    pub(super) fn speaks(&self, now: Instant) -> Result<(), Refusal> {
        self.gate.state().speaks(self.number, now)
    }

    /// A known key has been shown.
    pub(super) fn proved(&self) {
        self.gate.state().proved(self.number);
    }

    /// Gives the place up; until the handshake's time would be over, it counts as one of its address.
    pub(super) fn failed(self) {
        self.gate.state().failed(self.number);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().leave(self.number);
    }
}

impl State {
    fn enter(
        &mut self,
        source: Ipv4Addr,
        now: Instant,
    ) -> Result<(u64, oneshot::Receiver<()>), Refusal> {
        self.forgive(now);
        let count = self.counts.get(&source).copied().unwrap_or(0);
        if count >= self.limits.per_source {
            return Err(Refusal::HalfOpen);
        }
        if self.places.len() >= self.limits.handshakes {
            self.make_room(now)?;
        }
        *self.counts.entry(source).or_default() += 1;
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        let place = Place {
            source,
            deadline: now + self.limits.time,
            stage: Stage::Silent,
            out: sender,
        };
        self.places.insert(self.last, place);
        Ok((self.last, receiver))
    }

    fn make_room(&mut self, now: Instant) -> Result<(), Refusal> {
        let oldest = self
            .places
            .iter()
            .filter(|(_, place)| place.stage < Stage::Trusted)
            .min_by_key(|(number, place)| (place.stage, **number));
        let number = *oldest.ok_or(Refusal::HalfOpen)?.0;
        if let Some(place) = self.places.remove(&number) {
            self.remember(number, place.source, place.deadline.max(now));
            // Nobody may wait for it any more.
            let _ = place.out.send(());
        }
        Ok(())
    }

    fn speaks(&mut self, number: u64, now: Instant) -> Result<(), Refusal> {
        // Whoever has had to make room learns it here if not before.
        let place = self.places.get_mut(&number).ok_or(Refusal::HalfOpen)?;
        let (bucket, stage) = if self.known.contains(place.source) {
            (&mut self.acquaintances, Stage::Trusted)
        } else {
            (&mut self.strangers, Stage::Speaking)
        };
        if !bucket.take(now) {
            return Err(Refusal::Rate);
        }
        place.stage = stage;
        Ok(())
    }

    fn proved(&mut self, number: u64) {
        if let Some(place) = self.places.get_mut(&number) {
            place.stage = Stage::Trusted;
            self.known.add(place.source);
        }
    }

    fn failed(&mut self, number: u64) {
        if let Some(place) = self.places.remove(&number) {
            self.remember(number, place.source, place.deadline);
        }
    }

    fn leave(&mut self, number: u64) {
        if let Some(place) = self.places.remove(&number) {
            self.uncount(place.source);
        }
    }

    /// Lets a handshake that is over count until its time is.
    fn remember(&mut self, number: u64, source: Ipv4Addr, deadline: Instant) {
        self.failed.insert(number, (source, deadline));
        if self.failed.len() > REMEMBERED
            && let Some((_, (oldest, _))) = self.failed.pop_first()
        {
            self.uncount(oldest);
        }
    }

    /// Forgets the failures whose time is over.
    fn forgive(&mut self, now: Instant) {
        // All have the same time, so those that began first are over first.
        while let Some(first) = self.failed.first_entry() {
            if first.get().1 > now {
                break;
            }
            let (source, _) = first.remove();
            self.uncount(source);
        }
    }

    fn uncount(&mut self, source: Ipv4Addr) {
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            rate: f64::from(rate),
            burst: f64::from(burst),
            tokens: f64::from(burst),
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

/// Addresses from which a known key has come.
#[derive(Debug, Default)]
struct Acquaintances {
    addresses: HashSet<Ipv4Addr>,
    order: VecDeque<Ipv4Addr>,
}

impl Acquaintances {
    fn contains(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }

    fn add(&mut self, address: Ipv4Addr) {
        if !self.addresses.insert(address) {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    const FRIEND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn gate(handshakes: usize, per_source: usize, rate: u32, burst: u32, now: Instant) -> Gate {
        let limits = Limits {
            handshakes,
            per_source,
            rate,
            burst,
            ..Limits::default()
        };
        Gate::new(&limits, now)
    }

    fn is_out(pass: &mut Pass) -> bool {
        pass.out.try_recv().is_ok()
    }

    #[test]
    fn one_address_takes_no_more_than_its_part() {
        let now = Instant::now();
        let gate = gate(9, 2, 0, 3, now);
        let first = gate.admit(ONE, now).unwrap();
        let _second = gate.admit(ONE, now).unwrap();
        for _ in 0..10 {
            assert_eq!(gate.admit(ONE, now).unwrap_err(), Refusal::HalfOpen);
        }
        let _third = gate.admit(OTHER, now).unwrap();
        drop(first);
        let _fourth = gate.admit(ONE, now).unwrap();
    }

    #[test]
    fn failures_count_until_their_time_is_over() {
        let start = Instant::now();
        let gate = gate(9, 1, 0, 9, start);
        gate.admit(ONE, start).unwrap().failed();
        let soon = start + Duration::from_secs(4);
        assert_eq!(gate.admit(ONE, soon).unwrap_err(), Refusal::HalfOpen);
        drop(gate.admit(ONE, start + Duration::from_secs(5)).unwrap());
        let state = gate.state();
        assert!(state.counts.is_empty() && state.failed.is_empty());
    }

    #[test]
    fn silence_costs_nothing_of_the_rate() {
        let now = Instant::now();
        let gate = gate(9, 9, 0, 1, now);
        let silent: Vec<_> = (0..5).map(|_| gate.admit(ONE, now).unwrap()).collect();
        let speaker = gate.admit(OTHER, now).unwrap();
        assert_eq!(speaker.speaks(now), Ok(()));
        assert_eq!(silent[0].speaks(now), Err(Refusal::Rate));
    }

    #[test]
    fn the_oldest_silent_one_makes_room_then_the_oldest_stranger() {
        let now = Instant::now();
        let gate = gate(3, 9, 0, 9, now);
        let mut friend = gate.admit(FRIEND, now).unwrap();
        friend.speaks(now).unwrap();
        friend.proved();
        let mut speaker = gate.admit(ONE, now).unwrap();
        speaker.speaks(now).unwrap();
        let mut silent = gate.admit(ONE, now).unwrap();

        let second = gate.admit(OTHER, now).unwrap();
        assert!(is_out(&mut silent) && !is_out(&mut speaker) && !is_out(&mut friend));
        assert_eq!(silent.speaks(now), Err(Refusal::HalfOpen));
        second.speaks(now).unwrap();
        let third = gate.admit(OTHER, now).unwrap();
        assert!(is_out(&mut speaker) && !is_out(&mut friend));
        second.proved();
        third.proved();
        // Now nobody has to make room.
        assert_eq!(gate.admit(ONE, now).unwrap_err(), Refusal::HalfOpen);
    }

    #[test]
    fn who_made_room_counts_as_one_of_its_address() {
        let now = Instant::now();
        let gate = gate(1, 1, 0, 9, now);
        let _out = gate.admit(ONE, now).unwrap();
        let _in = gate.admit(OTHER, now).unwrap();
        assert_eq!(gate.admit(ONE, now).unwrap_err(), Refusal::HalfOpen);
    }

    #[test]
    fn a_flood_of_speakers_leaves_known_addresses_their_rate() {
        let now = Instant::now();
        let gate = gate(9, 9, 0, 1, now);
        let friend = gate.admit(FRIEND, now).unwrap();
        friend.speaks(now).unwrap();
        friend.proved();
        drop(friend);
        let stranger = gate.admit(ONE, now).unwrap();
        assert_eq!(stranger.speaks(now), Err(Refusal::Rate));
        assert_eq!(gate.admit(FRIEND, now).unwrap().speaks(now), Ok(()));
    }

    #[test]
    fn addresses_are_forgotten() {
        let now = Instant::now();
        let gate = gate(9, 1, 0, 9, now);
        drop(gate.admit(ONE, now).unwrap());
        drop(gate.admit(ONE, now).unwrap());
        assert!(gate.state().counts.is_empty());
    }

    #[test]
    fn the_rate_holds_in_the_long_run_and_the_burst_at_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, 3, start);
        let taken = |bucket: &mut Bucket, now| (0..9).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_mins(1)), 3);
        // A clock that goes back gives nothing and breaks nothing.
        assert_eq!(taken(&mut bucket, start), 0);
    }

    proptest! {
        /// Whatever comes, memory is bounded, counts are right, and one who speaks at once gets its turn.
        #[test]
        fn floods_are_bounded_and_keep_nobody_out(
            events in prop::collection::vec((any::<u8>(), 0_u8..4, 0_u64..300), 0..400),
        ) {
            let mut now = Instant::now();
            let gate = gate(16, 4, 1000, 1000, now);
            let mut passes: Vec<Pass> = Vec::new();
            for (address, what, pause) in events {
                now += Duration::from_millis(pause);
                let source = Ipv4Addr::new(198, 18, 0, address);
                match (what, passes.pop()) {
                    (0, Some(pass)) => pass.failed(),
                    (1, Some(pass)) => drop(pass),
                    (2, Some(pass)) => {
                        let _ = pass.speaks(now);
                        passes.push(pass);
                    }
                    (_, pass) => {
                        passes.extend(pass);
                        passes.extend(gate.admit(source, now));
                    }
                }
                let state = gate.state();
                prop_assert!(state.places.len() <= 16);
                let counted: usize = state.counts.values().sum();
                prop_assert_eq!(counted, state.places.len() + state.failed.len());
                prop_assert!(state.counts.values().all(|count| (1..=4).contains(count)));
            }
            let pass = gate.admit(FRIEND, now).unwrap();
            prop_assert_eq!(pass.speaks(now), Ok(()));
        }
    }
}
