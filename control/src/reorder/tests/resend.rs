//! Links that lose, and another side that sends again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(30);
const AUTO: Terms = terms(
    Resequence::Auto,
    Some(RoundTrip {
        usual: ROUND_TRIP,
        least: ROUND_TRIP,
    }),
);
const AUTO_2: Terms = Terms { ivcs: 2, ..AUTO };
/// What [`asks::Patience`] makes of the round trip.
const PATIENCE: Duration = Duration::from_millis(95);
/// By when an answer comes, while links are as busy as they usually are.
const ANSWER: Duration = Duration::from_millis(34);

/// The receiving end in virtual time, and an other side that answers.
struct World<L> {
    resequencer: Resequencer<u64>,
    /// What comes when, with the slot.
    events: BTreeMap<(Time, usize), (u64, usize)>,
    seen: BTreeSet<u64>,
    out: Vec<(u64, Time)>,
    came: BTreeMap<u64, Time>,
    asked: Vec<(u64, Time)>,
    /// Whether what is sent again for the so many-th time is lost again.
    loses: L,
}

/// What has happened.
struct Played {
    out: Vec<(u64, Time)>,
    came: BTreeMap<u64, Time>,
    asked: Vec<(u64, Time)>,
    figures: Figures,
}

impl<L: FnMut(u64) -> bool> World<L> {
    fn play(arrivals: &[Arrival], loses: L) -> Played {
        let mut world = Self {
            resequencer: Resequencer::new(BOUND),
            events: BTreeMap::new(),
            seen: BTreeSet::new(),
            out: Vec::new(),
            came: BTreeMap::new(),
            asked: Vec::new(),
            loses,
        };
        let kin: BTreeMap<_, _> = arrivals.iter().map(|one| (one.number, one.kin)).collect();
        for arrival in arrivals {
            world.come(arrival.time, arrival.number, arrival.slot);
        }
        loop {
            let next = world.events.keys().next().copied();
            let deadline = world.resequencer.deadline();
            match (next, deadline) {
                (Some((time, _)), Some(due)) if due <= time => world.expire(due),
                (Some(next), _) => world.arrive(next, &kin),
                (None, Some(due)) => world.expire(due),
                (None, None) => return world.end(),
            }
        }
    }

    fn end(self) -> Played {
        Played {
            figures: self.resequencer.figures(),
            out: self.out,
            came: self.came,
            asked: self.asked,
        }
    }

    fn come(&mut self, time: Time, number: u64, slot: usize) {
        let place = self.events.len() + self.asked.len() * 1_000;
        self.events.insert((time, place), (number, slot));
    }

    fn arrive(&mut self, event: (Time, usize), kin: &BTreeMap<u64, Kin>) {
        let Some((number, slot)) = self.events.remove(&event) else {
            return;
        };
        let time = event.0;
        // As the anti-replay window does.
        if !self.seen.insert(number) {
            return;
        }
        self.came.insert(number, time);
        let arrival = Arrival {
            number,
            slot,
            time,
            kin: kin.get(&number).copied().unwrap_or_default(),
            waits: true,
        };
        let out = &mut self.out;
        let deliver = |number| out.push((number, time));
        self.resequencer.push(AUTO, arrival, number, deliver);
        self.answer(time);
    }

    fn expire(&mut self, now: Time) {
        let out = &mut self.out;
        self.resequencer
            .expire(now, |number| out.push((number, now)));
        self.answer(now);
    }

    fn answer(&mut self, now: Time) {
        let wanted: Vec<_> = self.resequencer.take_wanted().collect();
        for number in wanted {
            self.asked.push((number, now));
            if !(self.loses)(number) {
                self.come(now + ANSWER, number, usize::try_from(number % 4).unwrap());
            }
        }
    }
}

#[test]
fn what_is_lost_is_asked_for_once_every_live_ivc_has_passed_it() {
    let arrivals = [
        other(0, 0, ms(0)),
        other(1, 1, ms(0)),
        // Number 2 is lost.
        other(3, 0, ms(5)),
        other(4, 1, ms(7)),
        other(5, 0, ms(8)),
    ];
    let world = World::play(&arrivals, |_| false);
    assert_eq!(world.asked, [(2, ms(7))]);
    assert_eq!(numbers(&world.out), [0, 1, 2, 3, 4, 5]);
    assert_eq!(world.out[2].1, ms(7) + ANSWER);
    let figures = world.figures;
    assert_eq!((figures.asked, figures.mended, figures.lost), (1, 1, 0));
}

#[test]
fn what_is_lost_twice_is_asked_for_twice_and_given_up() {
    let arrivals = [
        other(0, 0, ms(0)),
        other(2, 0, ms(5)),
        // It does not end with what asked for it.
        other(3, 0, ms(60)),
    ];
    let mut left = 1;
    let world = World::play(&arrivals, |_| {
        left -= 1;
        left >= 0
    });
    let again = ms(5) + ROUND_TRIP * 5 / 4 + ms(5);
    assert_eq!(world.asked, [(1, ms(5)), (1, again)]);
    assert_eq!(numbers(&world.out), [0, 1, 2, 3]);
    let world = World::play(&arrivals, |_| true);
    assert_eq!(world.asked.len(), 2);
    assert_eq!(
        world.out[1..],
        [(2, ms(5) + PATIENCE), (3, ms(5) + PATIENCE)]
    );
    assert_eq!(world.figures.asked, 1);
}

/// Where answers take long it is asked twice within the time in which one can come.
#[test]
fn from_far_away_it_is_asked_for_twice_at_once() {
    for (usual, retry) in [(30, 42), (60, 75), (100, 25), (140, 8), (600, 8)] {
        let usual = ms(usual);
        let patience = Patience::new(RoundTrip {
            usual,
            least: usual,
        });
        assert_eq!(patience.retry.as_millis(), retry, "{usual:?}");
        assert!(patience.retry < patience.bound);
    }
}

#[test]
fn behind_an_ivc_that_says_nothing_it_is_asked_for_soon() {
    let arrivals = [other(0, 0, ms(0)), other(1, 1, ms(0)), other(3, 0, ms(5))];
    let world = World::play(&arrivals, |_| false);
    assert_eq!(world.asked, [(2, ms(30))]);
    assert_eq!(world.out[2..], [(2, ms(30) + ANSWER), (3, ms(30) + ANSWER)]);
}

#[test]
fn nobody_hesitates_for_an_ivc_that_is_not_used() {
    let arrivals = [
        other(0, 1, ms(0)),
        other(1, 0, ms(500)),
        other(2, 0, ms(1_001)),
        other(4, 0, ms(1_002)),
    ];
    let world = World::play(&arrivals, |_| false);
    assert_eq!(world.asked, [(3, ms(1_002))]);
}

#[test]
fn what_is_missing_behind_what_is_waited_for_is_asked_for_soon_too() {
    // The second IVC says nothing, so nobody knows that numbers 2 and 4 are lost, one after the other.
    let arrivals = [
        other(0, 1, ms(0)),
        other(1, 0, ms(0)),
        other(3, 0, ms(1)),
        other(5, 0, ms(6)),
    ];
    let world = World::play(&arrivals, |_| false);
    let hesitation = hesitation::LEAST;
    assert_eq!(
        world.asked,
        [(2, ms(1) + hesitation), (4, ms(6) + hesitation)]
    );
}

/// What comes by an IVC that is further away is asked for at first, until it shows when it comes. What is lost still is.
#[test]
fn what_is_late_as_a_rule_is_not_asked_for() {
    let lost = 1_501;
    let arrivals: Vec<_> = (0..2_000)
        .filter(|number| *number != lost)
        .map(|number| {
            let slot = usize::from(number % 5 == 4);
            let late = if slot == 1 { 32 } else { 0 };
            other(number, slot, ms(number + late))
        })
        .collect();
    let world = World::play(&arrivals, |_| false);
    let asked: Vec<_> = world.asked.iter().map(|(number, _)| *number).collect();
    assert!(asked.len() < 20, "{asked:?}");
    assert!(
        asked.iter().skip_while(|number| **number < 500).eq([&lost]),
        "{asked:?}"
    );
    assert!(numbers(&world.out).into_iter().eq(0..2_000));
}

#[test]
fn what_never_left_is_not_waited_for() {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    for arrival in [other(6, 0, ms(0)), other(9, 0, ms(1))] {
        resequencer.push(AUTO, arrival, arrival.number, |number| out.push(number));
    }
    assert_eq!(out, [6]);
    assert!(resequencer.take_wanted().eq([7, 8]));
    resequencer.void([7, 8].into_iter(), |number| out.push(number));
    assert_eq!(out, [6, 9]);
    // What is far ahead, or long past, says nothing, and nothing comes that was told of before.
    resequencer.part(1, std::iter::once(11), |_| unreachable!());
    resequencer.void(std::iter::once(11), |_| unreachable!());
    resequencer.part(1, std::iter::once(12), |_| unreachable!());
    resequencer.push(AUTO, other(12, 4, ms(1)), 12, |number| out.push(number));
    assert!(!resequencer.wants());
    resequencer.void([10_000_000, 5, 9].into_iter(), |_| unreachable!());
    assert_eq!(resequencer.figures().lost, 2);
    assert_eq!(resequencer.deadline(), None);
}

#[test]
fn a_number_without_a_packet_is_not_missed() {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    resequencer.push(AUTO, other(6, 0, ms(0)), 6, |number| out.push(number));
    resequencer.skip(7, |_| unreachable!());
    resequencer.push(AUTO, other(8, 0, ms(1)), 8, |number| out.push(number));
    assert_eq!(out, [6, 8]);
    assert!(!resequencer.wants());
}

/// What is told of by a near link, and comes by it, says nothing of what is still on its way by far ones.
#[test]
fn what_goes_apart_by_a_nearer_link_overtakes_nobody() {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    resequencer.push(AUTO, other(0, 0, ms(0)), 0, |_| {});
    let mut next = 1;
    for step in 0..300 {
        let near = 3 * step + 400;
        let told = u32::try_from(near).unwrap();
        resequencer.part(2, std::iter::once(told), |_| unreachable!());
        resequencer.skip(near + 1, |_| unreachable!());
        resequencer.push(AUTO, other(near, 3, ms(step)), near, |number| {
            assert_eq!(number, near);
        });
        let far = (next..).filter(|number| *number < 400 || number % 3 == 0);
        for number in far.take(2) {
            let arrival = other(number, usize::from(number % 2 == 0), ms(step));
            resequencer.push(AUTO, arrival, number, |number| out.push(number));
            next = number + 1;
        }
    }
    assert!(out.is_sorted());
    let figures = resequencer.figures();
    assert_eq!((figures.asked, figures.late), (0, 0));
}

#[test]
fn where_the_other_side_cannot_any_more_nothing_waits_for_it() {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    for (terms, number) in [(AUTO, 0), (AUTO, 2), (terms(Resequence::Auto, None), 3)] {
        let arrival = other(number, 0, ms(number));
        resequencer.push(terms, arrival, number, |number| out.push(number));
    }
    assert_eq!(out, [0, 2, 3]);
    assert_eq!(resequencer.deadline(), None);
}

proptest! {
    #[test]
    fn what_is_not_lost_twice_is_delivered_in_order_once(
        sent in prop::collection::vec(sent(), 150..500), latencies in prop::array::uniform4(0_u64..20), tcp: bool,
        unlucky: bool, seed: u64,
    ) {
        let arrivals = arrivals(&sent, &latencies, tcp);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lost = BTreeSet::new();
        let world = World::play(&arrivals, |number| {
            let again = unlucky && random.u8(..) < 50;
            if again {
                lost.insert(number);
            }
            again
        });
        let delivered: BTreeSet<_> = world.out.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(delivered.len(), world.out.len(), "something twice");
        // Before the first and behind the last of each IVC nobody misses anything.
        let settled = u64::try_from(sent.len()).unwrap() - 100;
        for number in arrivals[0].number + 1..settled {
            // Who has not been heard yet is not waited for.
            if number > 60 && !lost.contains(&number) {
                prop_assert!(delivered.contains(&number), "{number} is missing");
            }
        }
        let mut last = [None; 3];
        for (number, time) in &world.out {
            let waited = time.saturating_sub(world.came[number]);
            prop_assert!(waited <= PATIENCE, "{number} waited {waited:?}");
            let flow = sent[usize::try_from(*number).unwrap()].flow as usize;
            if !unlucky && world.came[number] > ms(120) {
                prop_assert!(last[flow] < Some(*number), "{number} after {:?}", last[flow]);
                last[flow] = Some(*number);
            }
        }
    }
}

/// Two threads number packets in turn, a burst each, and send them at the same time: on each IVC the one's come between the other's.
#[test]
fn what_threads_have_sent_across_each_other_is_not_taken_for_lost() {
    let mut resequencer = Resequencer::new(BOUND);
    let (mut asked, mut now) = (0, ms(0));
    let mut out = Vec::new();
    for burst in (0..200_u64).step_by(2) {
        for at in 0..20 {
            for (thread, slot) in [(0, 0), (1, 0), (1, 1), (0, 1)] {
                let number = 1_000 + (burst + thread) * 40 + 2 * at + slot as u64;
                now += Duration::from_micros(100);
                resequencer.push(AUTO_2, other(number, slot, now), number, |number| {
                    out.push(number);
                });
                let wanted = resequencer.take_wanted().count();
                // What is needed is found out once.
                asked += if burst > 2 { wanted } else { 0 };
            }
        }
    }
    assert_eq!(asked, 0);
    assert_eq!(out.len(), 8_000);
    assert!(out.is_sorted());
}

/// What comes because it was asked for says nothing of how long one should have waited before.
#[test]
fn what_was_sent_again_is_no_reason_to_be_slower() {
    let mut resequencer = Resequencer::new(BOUND);
    for round in 0..100 {
        let (first, at) = (round * 10, ms(round * 200));
        for number in [0, 1, 3, 4] {
            resequencer.push(AUTO, other(first + number, 0, at), 0, |_| ());
        }
        assert_eq!(
            resequencer.take_wanted().collect::<Vec<_>>(),
            [first + 2],
            "round {round}"
        );
        resequencer.push(AUTO, other(first + 2, 0, at + ANSWER), 0, |_| ());
        for number in 5..10 {
            resequencer.push(AUTO, other(first + number, 0, at + ANSWER), 0, |_| ());
        }
    }
}

/// What a far link loses is asked for when something has come by it that left later, once, and waits for nobody when it comes.
#[test]
fn what_goes_apart_and_is_lost_is_asked_for() {
    let mut resequencer = Resequencer::new(BOUND);
    let (mut out, mut asked) = (Vec::new(), Vec::new());
    let mut come = |resequencer: &mut Resequencer<u64>, number, slot| {
        let arrival = other(number, slot, ms(number));
        resequencer.push(AUTO, arrival, number, |number| out.push(number));
        asked.extend(resequencer.take_wanted());
    };
    come(&mut resequencer, 100, 0);
    for (lane, number) in [(0, 101), (1, 102), (0, 103), (1, 104), (0, 105), (1, 106)] {
        resequencer.part(lane, std::iter::once(number), |_| unreachable!());
    }
    // Of one lane 103 is lost, and of the other 104; only the one comes when it is sent again.
    for (number, slot) in [
        (107, 0),
        (101, 1),
        (102, 2),
        (105, 1),
        (106, 2),
        (103, 0),
        (108, 0),
    ] {
        come(&mut resequencer, number, slot);
    }
    assert_eq!(asked, [103, 104]);
    assert_eq!(out, [100, 107, 101, 102, 105, 106, 103, 108]);
    let figures = resequencer.figures();
    assert_eq!((figures.apart, figures.asked, figures.mended), (5, 2, 1));
    assert_eq!((figures.late, figures.held, figures.missed), (0, 0, 0));
}
