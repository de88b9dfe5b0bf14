//! Flows in virtual time, over links that they share equally.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a simulation"
)]

use super::*;

const MBIT: f64 = 125_000.0;
const STEP: Duration = Duration::from_millis(50);

/// Bonded links and others, shared equally by the flows that go there.
struct World {
    bonded: f64,
    /// The others' rates, and whether they are known.
    others: Vec<(f64, bool)>,
    /// How much each flow sends at most, in Mbit/s.
    flows: BTreeMap<u8, f64>,
    sent: Flows,
    apart: Apart<usize>,
    now: Duration,
}

impl World {
    fn new(bonded: f64, others: &[f64], flows: impl IntoIterator<Item = (u8, f64)>) -> Self {
        Self {
            bonded,
            others: others.iter().map(|rate| (*rate, true)).collect(),
            flows: flows.into_iter().collect(),
            sent: Flows([0; FLOWS as usize]),
            apart: Apart::default(),
            now: Duration::from_secs(9),
        }
    }

    fn way(&self, flow: u8) -> Option<usize> {
        self.apart
            .ways()
            .find(|way| way.0 == flow)
            .map(|way| *way.1)
    }

    /// What each flow gets, in Mbit/s: those that want less than their share leave the rest to others.
    fn shares(&self) -> BTreeMap<u8, f64> {
        let mut shares = BTreeMap::new();
        for place in std::iter::once(None).chain((0..self.others.len()).map(Some)) {
            let mut left = place.map_or(self.bonded, |place| self.others[place].0);
            let mut here: Vec<_> = self
                .flows
                .iter()
                .filter(|flow| self.way(*flow.0) == place)
                .collect();
            here.sort_by(|a, b| a.1.total_cmp(b.1));
            for (at, (flow, most)) in here.iter().enumerate() {
                let share = most.min(left / many(here.len() - at));
                left -= share;
                shares.insert(**flow, share);
            }
        }
        shares
    }

    fn places(&self) -> Places<usize> {
        let place = |(rate, known): &(f64, bool)| Place {
            rate: known.then_some(rate * MBIT),
            lag: 0.2,
            random: 0.0,
        };
        Places {
            bonded: Some(self.bonded * MBIT),
            others: self.others.iter().map(place).enumerate().collect(),
        }
    }

    /// Returns how many flows have changed their way.
    fn run(&mut self, seconds: u64) -> usize {
        let end = self.now + Duration::from_secs(seconds);
        let mut changes = 0;
        while self.now < end {
            for (flow, share) in self.shares() {
                self.sent.0[usize::from(flow)] += (share * MBIT * STEP.as_secs_f64()) as u64;
            }
            self.now += STEP;
            let before: Vec<_> = self.apart.ways().map(|(flow, by)| (flow, *by)).collect();
            self.apart.decide(&self.sent, &self.places(), self.now);
            let after: Vec<_> = self.apart.ways().map(|(flow, by)| (flow, *by)).collect();
            changes += usize::from(before != after);
        }
        changes
    }

    fn apart(&self) -> usize {
        self.apart.ways().count()
    }
}

fn greedy(count: u8) -> impl Iterator<Item = (u8, f64)> {
    (1..=count).map(|flow| (flow, f64::INFINITY))
}

#[test]
fn large_flows_fill_what_is_far_away_and_stay() {
    for (bonded, others, flows, expected) in [
        (80.0, &[20.0][..], 8, 2..=3),
        (80.0, &[20.0, 15.0], 8, 3..=5),
        (20.0, &[60.0], 4, 3..=3),
        (50.0, &[50.0], 2, 1..=1),
    ] {
        let mut world = World::new(bonded, others, greedy(flows));
        let mut changes = world.run(2);
        assert!(
            expected.contains(&world.apart()),
            "{bonded} {others:?}: {}",
            world.apart()
        );
        assert_eq!(changes, world.apart());
        let all: f64 = bonded + others.iter().sum::<f64>();
        assert!(world.shares().values().sum::<f64>() > 0.999 * all);
        changes = world.run(20);
        assert_eq!(changes, 0, "{bonded} {others:?}");
    }
}

#[test]
fn who_would_not_gain_stays() {
    let stays = |mut world: World| assert_eq!((world.run(5), world.apart()), (0, 0));
    // One that has most of it for itself; a link that is too slow; and bonded links that are not full.
    stays(World::new(80.0, &[100.0], greedy(1)));
    stays(World::new(80.0, &[3.0], greedy(8)));
    stays(World::new(80.0, &[20.0], (1..9).map(|flow| (flow, 7.0))));
}

#[test]
fn one_flow_alone_goes_where_it_gets_much_more() {
    let mut world = World::new(5.0, &[100.0], greedy(1));
    world.run(2);
    assert_eq!(world.apart(), 1);
    assert_eq!(world.run(20), 0);
}

#[test]
fn small_flows_and_what_is_not_told_apart_stay() {
    let small = (10..250).map(|flow| (flow, 0.02));
    let mut world = World::new(40.0, &[20.0], greedy(4).chain(small).chain([(0, 5.0)]));
    world.run(5);
    let ways: Vec<_> = world.apart.ways().map(|way| way.0).collect();
    assert!(
        !ways.is_empty() && ways.iter().all(|flow| (1..5).contains(flow)),
        "{ways:?}"
    );
}

#[test]
fn flows_come_back_when_there_is_room() {
    let mut world = World::new(80.0, &[20.0], greedy(8));
    world.run(3);
    let moved = world.apart();
    for most in world.flows.values_mut() {
        *most = 6.0;
    }
    assert_eq!(world.run(LONG as u64 + 5), moved);
    assert_eq!(world.apart(), 0);
    // One that ends is forgotten.
    world.flows = greedy(8).collect();
    world.run(3);
    assert_eq!(world.apart(), moved);
    world.flows.clear();
    world.run(2 * LONG as u64 + 1);
    assert_eq!(world.apart(), 0);
}

#[test]
fn flows_leave_an_ivc_that_is_gone_or_became_slow_or_lossy() {
    let mut world = World::new(80.0, &[20.0], greedy(8));
    world.run(3);
    let moved = world.apart();
    world.others[0].0 = 1.0;
    world.run(5);
    assert_eq!(world.apart(), 0);
    world.others[0].0 = 20.0;
    world.run(3);
    assert_eq!(world.apart(), moved);
    let mut places = world.places();
    places.others.clear();
    world.apart.decide(&world.sent, &places, world.now + STEP);
    assert_eq!(world.apart(), 0);
}

#[test]
fn flows_find_out_what_an_unknown_link_carries() {
    for (carries, stay) in [(20.0, 2..=3), (2.0, 0..=0)] {
        let mut world = World::new(80.0, &[carries], greedy(8));
        world.others[0].1 = false;
        world.run(1);
        assert!((2..=3).contains(&world.apart()));
        world.others[0].1 = true;
        world.run(6);
        assert!(
            stay.contains(&world.apart()),
            "{carries}: {}",
            world.apart()
        );
    }
}

#[test]
fn what_loses_or_would_be_taken_for_replay_is_left_alone() {
    let place = Place {
        rate: Some(20.0 * MBIT),
        lag: 0.2,
        random: 0.0,
    };
    assert!(place.is_useful(100.0 * MBIT, false));
    assert!(!place.is_useful(200.0 * MBIT, false));
    assert!(
        !Place {
            random: 0.005,
            ..place
        }
        .is_useful(100.0 * MBIT, false)
    );
}
