//! Two gateways in virtual time, with what befalls the packets between them.

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(1);
const TUNNEL: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The address of link `link` of gateway `side`.
fn address(side: usize, link: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        192,
        0,
        u8::try_from(side).unwrap(),
        u8::try_from(link).unwrap() + 1,
    )
}

/// IVC `link` as gateway `side` knows it.
fn id(side: usize, link: usize) -> IvcId {
    (
        TUNNEL,
        format!("l{link}").parse().unwrap(),
        address(1 - side, link),
    )
}

fn terms(side: usize, link: usize) -> Terms {
    Terms {
        interval: ms(100),
        idle: ms(100),
        metered: false,
        local: Some(address(side, link)),
        up: true,
        mtu: None,
    }
}

/// What an IVC does to packets, one way.
#[derive(Clone, Copy, Debug)]
struct Way {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    cut: bool,
    mtu: u16,
    /// Whether data flows.
    data: bool,
}

const FINE: Way = Way {
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    loss: 0.0,
    cut: false,
    mtu: 1500,
    data: false,
};

/// Two gateways.
struct World {
    now: Duration,
    sides: [Liveness; 2],
    terms: [Vec<Terms>; 2],
    /// By IVC, then by sender.
    ways: Vec<[Way; 2]>,
    /// Until when a side is held up: it neither hears nor says anything.
    held_up: [Duration; 2],
    /// How many pieces have arrived, by IVC, then by sender.
    pieces: Vec<[u64; 2]>,
    under_way: BTreeMap<(Duration, u64), (usize, usize, Message)>,
    random: fastrand::Rng,
    /// How many messages each side sent, how many of them long.
    sent: [usize; 2],
    /// How often each side sent any.
    spoke: [usize; 2],
    number: u64,
}

impl World {
    fn new(ways: &[Way]) -> Self {
        let sides = [0, 1].map(|side| (0..ways.len()).map(|link| terms(side, link)).collect());
        Self::with(ways, sides, 1)
    }

    fn with(ways: &[Way], terms: [Vec<Terms>; 2], seed: u64) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1000),
            sides: [Liveness::default(), Liveness::default()],
            terms,
            ways: ways.iter().map(|way| [*way; 2]).collect(),
            held_up: [Duration::ZERO; 2],
            pieces: vec![[0; 2]; ways.len()],
            under_way: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            sent: [0; 2],
            spoke: [0; 2],
            number: 0,
        };
        world.set();
        world
    }

    fn set(&mut self) {
        for (side, liveness) in self.sides.iter_mut().enumerate() {
            let terms = self.terms[side].iter().enumerate();
            let wanted = terms
                .map(|(link, terms)| (id(side, link), *terms))
                .collect();
            liveness.set(&wanted, self.now, 7_000_000_000_000);
        }
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.now.as_nanos()).unwrap()
    }

    fn run(&mut self, time: Duration) {
        self.run_while(time, |_| true);
    }

    /// Lets time pass while a condition holds; returns how long that was.
    fn run_while(&mut self, time: Duration, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let begin = self.now;
        while self.now < begin + time && holds(self) {
            self.now += STEP;
            for (ways, pieces) in self.ways.iter().zip(&mut self.pieces) {
                for (way, pieces) in ways.iter().zip(pieces) {
                    *pieces += u64::from(way.data && !way.cut);
                }
            }
            while let Some(entry) = self.under_way.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, link, message) = entry.remove();
                // Jitter brings packets out of order: then the older one is a replay.
                let _ = self.sides[to].heard(&id(to, link), &message, self.now);
            }
            for side in 0..2 {
                if self.now >= self.held_up[side] {
                    self.poll(side);
                }
            }
        }
        self.now.saturating_sub(begin)
    }

    fn poll(&mut self, side: usize) {
        let deadline = self.sides[side].deadline(self.now);
        if deadline.is_none_or(|deadline| deadline > self.now) {
            return;
        }
        let (clock, pieces) = (self.clock(), &self.pieces);
        let arrived = |of: &IvcId| {
            let link = (0..pieces.len()).find(|link| id(side, *link) == *of)?;
            Some(pieces[link][1 - side])
        };
        let due = self.sides[side].poll(self.now, clock, arrived);
        self.spoke[side] += usize::from(!due.is_empty());
        for due in due {
            self.sent[side] += 1;
            let link = (0..self.ways.len())
                .find(|link| id(side, *link) == due.id)
                .unwrap();
            let way = self.ways[link][side];
            if way.cut || due.message.length > way.mtu || self.random.f64() < way.loss {
                continue;
            }
            let arrival = self.now + way.delay + way.jitter.mul_f64(self.random.f64());
            self.number += 1;
            self.under_way
                .insert((arrival, self.number), (1 - side, link, due.message));
        }
    }

    fn is_silent(&self, side: usize, link: usize) -> bool {
        self.sides[side].silent().contains(&id(side, link))
    }

    fn report(&self, side: usize, link: usize) -> Report {
        self.sides[side].report(&id(side, link), self.now).unwrap()
    }

    fn cut(&mut self, link: usize, cut: bool) {
        for way in &mut self.ways[link] {
            way.cut = cut;
        }
    }
}

/// Each time costs more than what is said.
#[test]
fn under_load_all_ivcs_speak_at_once() {
    let mut world = World::new(&[FINE; 4]);
    world.run(ms(500));
    for (link, interval) in [25, 25, 40, 100].into_iter().enumerate() {
        world.sides[0].load(&id(0, link), Some(ms(interval)));
        world.run(ms(7));
    }
    world.run(ms(100));
    let before = (world.sent, world.spoke);
    world.run(ms(2000));
    for side in 0..2 {
        let sent = world.sent[side] - before.0[side];
        let spoke = world.spoke[side] - before.1[side];
        assert!((78..=82).contains(&spoke), "side {side}: {spoke}");
        // That of 40 ms speaks every 50.
        assert!((215..=225).contains(&sent), "side {side}: {sent}");
    }
}

/// The other side may not know of it yet.
#[test]
fn an_ivc_that_joins_others_is_used_when_it_is_known_to_work() {
    let all = |side| (0..2).map(move |link| id(side, link));
    let waits = |world: &World, side: usize| !world.sides[side].unusable(all(side)).is_empty();
    let mut world = World::with(&[FINE; 2], [0, 1].map(|side| vec![terms(side, 0)]), 1);
    // Where none is known to work, none is better than another.
    assert!(!waits(&world, 0));
    world.run(ms(500));
    let second = [id(0, 1)].into();
    assert_eq!(world.sides[0].unusable(all(0)), second);
    world.terms[0].push(terms(0, 1));
    world.set();
    world.run(ms(300));
    assert_eq!(world.sides[0].unusable(all(0)), second);
    assert!(world.sides[0].silent().is_empty());
    world.terms[1].push(terms(1, 1));
    world.set();
    let joins = world.run_while(ms(1000), |world| waits(world, 0) || waits(world, 1));
    assert!(joins > ms(20) && joins < ms(200), "{joins:?}");
}

/// Longer than this nothing silent is used.
const BOUND: Duration = Duration::from_millis(300);

#[test]
fn a_cut_ivc_is_out_in_time_at_both_ends_and_comes_back() {
    for phase in 0..100 {
        let mut world = World::new(&[FINE; 3]);
        world.run(ms(2000 + phase));
        assert!(world.sides.iter().all(|side| side.silent().is_empty()));
        world.cut(1, true);
        for side in 0..2 {
            // What was under way when it was cut still comes.
            let out = world.run_while(ms(1000), |world| !world.is_silent(side, 1));
            assert!(out < BOUND, "{out:?}");
        }
        assert_eq!(world.report(0, 1).state, State::Silent);
        world.run(ms(5000));
        assert_eq!(world.report(0, 0).state, State::Live);
        world.cut(1, false);
        let back = world.run_while(ms(1000), |world| {
            world.is_silent(0, 1) || world.is_silent(1, 1)
        });
        assert!(back <= ms(100 + 3 * 20 + 10), "{back:?}");
    }
}

#[test]
fn an_ivc_that_carries_data_is_not_silent_but_one_that_is_cut_is() {
    for phase in 0..100 {
        let mut world = World::new(&[FINE; 3]);
        world.ways[1] = [Way { data: true, ..FINE }; 2];
        world.run(ms(2000 + phase));
        // Queues, say, hold up every keepalive, but not the data.
        for way in &mut world.ways[1] {
            way.loss = 1.0;
        }
        let silent = world.run_while(ms(5000), |world| {
            !world.is_silent(0, 1) && !world.is_silent(1, 1)
        });
        assert_eq!(silent, ms(5000));
        world.cut(1, true);
        for side in 0..2 {
            let out = world.run_while(ms(1000), |world| !world.is_silent(side, 1));
            assert!(out < BOUND, "{out:?}");
        }
    }
}

#[test]
fn a_machine_that_is_held_up_silences_nothing() {
    for phase in 0..100 {
        let slow = Way {
            delay: ms(60),
            ..FINE
        };
        let mut world = World::new(&[FINE, slow, FINE]);
        world.run(ms(2000 + phase));
        world.held_up[1] = world.now + ms(600);
        let all_well = world.run_while(ms(3000), |world| {
            (0..3).all(|link| !world.is_silent(0, link) && !world.is_silent(1, link))
        });
        assert_eq!(all_well, ms(3000), "phase {phase}");
    }
}

#[test]
fn an_ivc_that_works_one_way_only_is_out_at_both_ends() {
    let mut world = World::new(&[FINE; 2]);
    world.run(ms(2000));
    world.ways[0][0].cut = true;
    let out = world.run_while(ms(1000), |world| {
        !(world.is_silent(0, 0) && world.is_silent(1, 0))
    });
    assert!(out < BOUND, "{out:?}");
    world.run(ms(100));
    assert_eq!(world.report(0, 0).state, State::Unheard);
    assert_eq!(world.report(1, 0).state, State::Silent);
}

#[test]
fn a_link_that_is_down_is_told_over_the_others() {
    let mut world = World::new(&[FINE; 3]);
    world.run(ms(2033));
    world.cut(2, true);
    world.terms[0][2].up = false;
    world.set();
    let out = world.run_while(ms(1000), |world| !world.is_silent(1, 2));
    assert!(out <= ms(30), "{out:?}");
    world.cut(2, false);
    world.terms[0][2].up = true;
    world.set();
    let back = world.run_while(ms(1000), |world| world.is_silent(1, 2));
    assert!(back <= ms(100), "{back:?}");
}

#[test]
fn who_is_not_probed_is_used_and_who_is_never_heard_is_not() {
    let mut world = World::new(&[FINE; 2]);
    world.cut(1, true);
    world.run(ms(990));
    assert_eq!(world.report(0, 1).state, State::Waiting);
    assert!(world.sides[0].silent().is_empty());
    world.run(ms(20));
    assert!(world.is_silent(0, 1));
    // The other daemon is down.
    world.cut(0, true);
    world.run(ms(1000));
    assert!(world.sides[0].silent().is_empty());
}

#[test]
fn replays_are_refused() {
    let mut world = World::new(&[FINE]);
    let message = Message {
        time: 7,
        length: Message::LENGTH,
        ..Message::default()
    };
    let now = world.now;
    let liveness = &mut world.sides[0];
    assert_eq!(liveness.heard(&id(0, 0), &message, now), Ok(()));
    let again = liveness.heard(&id(0, 0), &message, now);
    assert_eq!(again, Err(Rejected::Replayed));
    assert_eq!(
        liveness.heard(&id(0, 9), &message, now),
        Err(Rejected::Unknown)
    );
}

#[test]
fn one_lost_keepalive_in_ten_does_not_stop_an_ivc() {
    let lossy = Way { loss: 0.1, ..FINE };
    let mut world = World::new(&[FINE, lossy]);
    world.run(ms(2000));
    let mut silent = Duration::ZERO;
    world.run_while(Duration::from_mins(10), |world| {
        if world.is_silent(0, 1) || world.is_silent(1, 1) {
            silent += STEP;
        }
        true
    });
    println!("silent for {silent:?} in 10 min");
    assert!(silent < Duration::from_secs(1), "{silent:?}");
    let report = world.report(0, 1);
    for loss in [report.loss_tx, report.loss_rx] {
        assert!((0.03..0.2).contains(&loss.unwrap()), "{report:?}");
    }
    assert_eq!(world.report(0, 0).loss_tx, Some(0.0));
}

#[test]
fn round_trips_are_measured() {
    let slow = Way {
        delay: ms(150),
        ..FINE
    };
    let mut world = World::new(&[FINE, slow]);
    world.run(ms(10_000));
    for side in 0..2 {
        for (link, trip) in [(0, 40), (1, 300)] {
            let measured = world.report(side, link).round_trip.unwrap();
            let error = measured.abs_diff(ms(trip));
            assert!(error <= ms(2), "{measured:?}");
        }
    }
}

/// A link that is paid by the byte at side 0; data flows over it when a test says so.
fn metered() -> World {
    let mut sides: [Vec<Terms>; 2] =
        [0, 1].map(|side| (0..2).map(|link| terms(side, link)).collect());
    sides[0][1].metered = true;
    sides[0][1].idle = ms(5000);
    World::with(&[FINE; 2], sides, 3)
}

fn data(world: &mut World, pieces: u64) {
    for side in 0..2 {
        let now = world.now;
        for sparing in world.sides[side].sparing() {
            world.sides[side].traffic(&sparing, pieces, now);
        }
    }
}

#[test]
fn a_metered_ivc_is_spared_at_both_ends_until_there_is_data() {
    let mut world = metered();
    world.run(ms(10_000));
    let before = world.sent;
    world.run(ms(60_000));
    for (side, before) in before.into_iter().enumerate() {
        // The other IVC has 10 a second; this one has one in 5 s.
        let sent = world.sent[side] - before;
        assert!((600..=630).contains(&sent), "{sent}");
        assert!(world.sides[side].silent().is_empty());
    }
    // With the first data it is probed as any other, and a cut is noticed as fast.
    data(&mut world, 1);
    world.run(ms(1000));
    data(&mut world, 2);
    world.cut(1, true);
    let out = world.run_while(ms(1000), |world| {
        !(world.is_silent(0, 1) && world.is_silent(1, 1))
    });
    assert!(out < BOUND, "{out:?}");
    world.cut(1, false);
    let back = world.run_while(ms(1000), |world| {
        world.is_silent(0, 1) || world.is_silent(1, 1)
    });
    assert!(back < ms(200), "{back:?}");
}

#[test]
fn a_metered_ivc_that_broke_while_idle_is_found_out_by_the_first_data() {
    let mut world = metered();
    world.run(ms(20_000));
    world.cut(1, true);
    world.run(ms(1000));
    data(&mut world, 1);
    let out = world.run_while(ms(3000), |world| !world.is_silent(0, 1));
    assert!(out < ms(350), "{out:?}");
}

#[test]
fn the_path_mtu_is_found_on_the_way() {
    let narrow = Way { mtu: 1432, ..FINE };
    let probed = Some(PathMtu {
        most: 1500,
        found: None,
    });
    let sides = [0, 1].map(|side| {
        let terms = |link| Terms {
            mtu: probed,
            ..terms(side, link)
        };
        (0..2).map(terms).collect()
    });
    let mut world = World::with(&[FINE, narrow], sides, 5);
    world.run(ms(500));
    assert_eq!(world.sides[0].path_mtu(&id(0, 0)), Some(1500));
    assert!(world.report(0, 0).mtu_found);
    world.run(ms(30_000));
    for side in 0..2 {
        assert_eq!(world.sides[side].path_mtu(&id(side, 1)), Some(1432));
        assert!(world.report(side, 1).mtu_found);
        assert!(world.sides[side].take_changed());
        // The probes that were too long are no loss.
        assert_eq!(world.report(side, 1).loss_tx, Some(0.0));
        assert!(world.sides[side].silent().is_empty());
    }
}

fn way() -> impl Strategy<Value = Way> {
    (0_u64..300, 0_u64..40, 0.0..0.5_f64).prop_map(|(delay, jitter, loss)| Way {
        delay: ms(delay),
        jitter: ms(jitter),
        loss,
        ..FINE
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever becomes of the packets, a tunnel is never left without an IVC that may carry data, and the machine
    /// sleeps until there is something to do.
    #[test]
    fn never_are_all_silent(
        ways in prop::collection::vec(way(), 1..5),
        events in prop::collection::vec((0_usize..5, 0_usize..3, 1_u64..2000), 0..12),
        seed: u64,
    ) {
        let count = ways.len();
        let sides = [0, 1].map(|side| (0..count).map(|link| terms(side, link)).collect());
        let mut world = World::with(&ways, sides, seed);
        let never = |world: &World| {
            let all = world.sides.iter().any(|side| side.silent().len() == count);
            assert!(!all, "all are silent");
            true
        };
        for (link, what, time) in events {
            match what {
                0 | 1 => world.ways[link % count][what].cut ^= true,
                _ => {
                    let up = &mut world.terms[0][link % count].up;
                    *up = !*up;
                    world.set();
                }
            }
            world.run_while(ms(time), never);
            for side in &mut world.sides {
                prop_assert!(side.deadline(world.now).is_none_or(|at| at > world.now));
            }
        }
    }

    /// A cut is noticed in time whatever the delays are, once what was under way has arrived.
    #[test]
    fn cuts_are_noticed_in_time(delay in 0_u64..400, jitter in 0_u64..30, phase in 0_u64..200, seed: u64) {
        let way = Way { delay: ms(delay), jitter: ms(jitter), ..FINE };
        let sides = [0, 1].map(|side| (0..2).map(|link| terms(side, link)).collect());
        let mut world = World::with(&[FINE, way], sides, seed);
        world.run(ms(3000 + phase));
        prop_assert!(world.sides.iter().all(|side| side.silent().is_empty()));
        world.cut(1, true);
        world.run(ms(delay + jitter));
        for side in 0..2 {
            let out = world.run_while(ms(1000), |world| !world.is_silent(side, 1));
            prop_assert!(out < BOUND, "{:?}", out);
        }
        world.cut(1, false);
        let back = world.run_while(ms(5000), |world| world.is_silent(0, 1) || world.is_silent(1, 1));
        prop_assert!(back <= ms(110 + 3 * (delay + jitter)), "{back:?}");
    }
}

#[test]
fn a_ping_is_answered_at_once_however_seldom_the_two_speak() {
    let seldom = |side| {
        vec![Terms {
            interval: ms(5000),
            idle: ms(5000),
            ..terms(side, 0)
        }]
    };
    let mut world = World::with(&[FINE], [seldom(0), seldom(1)], 1);
    world.run(ms(7000));
    assert!(world.sides[0].take_echoes().is_empty());
    world.sides[0].ping(&id(0, 0));
    assert!(world.sides[0].deadline(world.now) <= Some(world.now + ms(5)));
    world.run(ms(2 * 20 + 5));
    let echoes = world.sides[0].take_echoes();
    let [sent, answered] = &echoes[..] else {
        panic!("{echoes:?}");
    };
    assert_eq!((sent.fate, sent.number), (Fate::Sent, answered.number));
    let Fate::Answered(answer) = answered.fate else {
        panic!("{answered:?}");
    };
    assert_eq!(answer.trip, ms(40));
    // The other side's own word is no answer to anything.
    assert!(world.sides[1].take_echoes().is_empty());
}

#[test]
fn a_ping_that_is_lost_has_no_answer_and_one_over_a_link_that_is_down_is_not_sent() {
    let mut world = World::new(&[FINE, FINE]);
    world.run(ms(1000));
    world.ways[1][0].cut = true;
    for link in [0, 1] {
        world.sides[0].ping(&id(0, link));
    }
    world.run(ms(1000));
    let echoes = world.sides[0].take_echoes();
    let of = |link| {
        echoes
            .iter()
            .filter(move |echo| echo.id == id(0, link))
            .count()
    };
    assert_eq!((of(0), of(1)), (2, 1), "{echoes:?}");
    world.terms[0][0].up = false;
    world.set();
    world.sides[0].ping(&id(0, 0));
    world.run(ms(100));
    assert!(world.sides[0].take_echoes().is_empty());
}
