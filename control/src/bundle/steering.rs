//! How the scheduler is programmed, by what has been found out of the IVCs.

use std::{collections::BTreeMap, time::Duration};

use withy_common::maps::{Ivc, Svc};

use crate::estimate::{Plan, Term};

/// For how long what the scheduler is programmed with holds: a second is the longest until it is programmed anew.
const HOLDS: Duration = Duration::from_secs(2);

/// How the scheduler is programmed for an SVC.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    horizon_ns: u64,
    calm_ns: u64,
    brief_ns: u64,
    early: u32,
    until_ns: u64,
    /// By the slot of their counters.
    ivcs: BTreeMap<u32, Term>,
    /// The flows that go by an IVC of their own, which is told by the slot of its counters.
    ways: BTreeMap<u8, u32>,
    /// Whether flows are to be told apart.
    tells_flows: bool,
}

impl Steering {
    /// Programs what `plan` says, and which flows go where; `slot` tells the slot of an IVC's counters. It holds for a while from `now` on, the
    /// kernel's monotonic time.
    pub fn new<'k, K: Ord + 'k>(
        plan: &Plan<K>,
        ways: impl Iterator<Item = (u8, &'k K)>,
        now: Duration,
        slot: impl Fn(&K) -> Option<u32>,
    ) -> Self {
        let ivcs = plan.ivcs.iter();
        Self {
            horizon_ns: nanoseconds(plan.horizon),
            calm_ns: nanoseconds(plan.calm),
            brief_ns: nanoseconds(plan.brief),
            early: plan.early,
            until_ns: nanoseconds(now + HOLDS),
            ivcs: ivcs
                .filter_map(|(key, term)| Some((slot(key)?, *term)))
                .collect(),
            ways: ways
                .filter_map(|(flow, key)| Some((flow, slot(key)?)))
                .collect(),
            tells_flows: !plan.places.others.is_empty(),
        }
    }

    /// Forgets an IVC, by the slot of its counters: it has another clock now.
    pub fn forget(&mut self, counters: u32) {
        self.ivcs.remove(&counters);
    }

    /// Whether pieces leave an SVC's IVC at a rate, at the time `now` of the kernel's monotonic clock: the IVC is `stated` so.
    #[must_use]
    pub fn is_paced(&self, stated: &Ivc, now: Duration) -> bool {
        let term = self.ivcs.get(&stated.counters);
        stated.spacing > 0
            && nanoseconds(now) <= self.until_ns
            && term.is_some_and(|term| term.leave.is_some())
    }

    /// Applies it to an SVC. An IVC of which nothing is known keeps its rate, and counts as no faster than the slowest.
    #[must_use]
    pub fn steer(&self, mut svc: Svc) -> Svc {
        let slowest = self.ivcs.values().map(|term| term.latency).max();
        let Some(slowest) = slowest else {
            return svc;
        };
        for ivc in svc.ivcs.iter_mut().filter(|ivc| ivc.mtu > 0) {
            let Some(term) = self.ivcs.get(&ivc.counters) else {
                (ivc.latency_ns, ivc.spacing) = (nanoseconds(slowest), 0);
                continue;
            };
            (ivc.byte_time, ivc.rate) = Ivc::pace(term.rate);
            ivc.share = ivc.byte_time;
            ivc.latency_ns = nanoseconds(term.latency);
            ivc.shift_ns = term.shift.cast_unsigned();
            ivc.alone_ns = nanoseconds(term.alone);
            ivc.most_ns = term.most.map_or(0, nanoseconds);
            ivc.spacing = match term.leave {
                Some(leave) if ivc.spacing > 0 => Ivc::pace(leave).0,
                _ => 0,
            };
        }
        (svc.horizon_ns, svc.calm_ns) = (self.horizon_ns, self.calm_ns);
        svc.brief_ns = self.brief_ns;
        // Of what nothing is known yet, packets tell most.
        svc.bond(|ivc| self.ivcs.get(&ivc.counters).is_none_or(|term| term.bonded));
        (svc.early, svc.until_ns) = (self.early, self.until_ns);
        svc.tells_flows = self.tells_flows.into();
        for (flow, counters) in &self.ways {
            let is = |(_, ivc): &(u32, &Ivc)| ivc.counters == *counters && ivc.mtu > 0;
            if let Some((slot, _)) = (0..).zip(&svc.ivcs).find(is) {
                svc.ways.set(*flow, slot);
            }
        }
        svc
    }
}

/// By how much a rate must have changed, up or down, for flows that stay on IVCs to be shared out anew.
const CHANGE: u64 = 2;

/// Keeps the shares that flows have gone by: they move when a link goes or comes, and not with each estimate of a rate.
pub fn keep_shares(svc: &mut Svc, before: &Svc) {
    let same = |ivc: &Ivc| {
        let mut known = before.ivcs.iter();
        known.find(|old| (old.remote, old.counters) == (ivc.remote, ivc.counters) && old.share > 0)
    };
    for ivc in svc.ivcs.iter_mut().filter(|ivc| ivc.share > 0) {
        let Some(old) = same(ivc).map(|old| old.share) else {
            continue;
        };
        if ivc.share <= old.saturating_mul(CHANGE) && old <= ivc.share.saturating_mul(CHANGE) {
            ivc.share = old;
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use withy_common::maps::{MAX_IVCS, Split};

    use super::*;
    use crate::estimate::Places;

    #[test]
    fn what_is_known_is_programmed_and_the_rest_kept() {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (slot, ivc) in (0_u32..).zip(ivcs.iter_mut().take(3)) {
            let (byte_time, rate) = Ivc::pace(1_000_000);
            (ivc.counters, ivc.mtu) = (10 + slot, if slot == 2 { 0 } else { 1500 });
            (ivc.byte_time, ivc.rate, ivc.latency_ns) = (byte_time, rate, 7);
            ivc.spacing = byte_time;
        }
        let svc = Svc::new(1, 0, Split::Mtu, 100, ivcs);
        let term = Term {
            rate: 8_000_000,
            latency: Duration::from_nanos(500),
            shift: -3,
            bonded: true,
            alone: Duration::from_nanos(60),
            most: Some(Duration::from_nanos(50)),
            leave: Some(4_000_000),
        };
        let plan = Plan {
            horizon: Duration::from_nanos(900),
            calm: Duration::from_nanos(800),
            brief: Duration::from_nanos(70),
            early: 4,
            ivcs: [("a", term), ("gone", term)].into(),
            places: Places::default(),
            ..Plan::default()
        };
        let ways = [(5, &"a"), (6, &"gone")].into_iter();
        let steering = Steering::new(&plan, ways, Duration::from_secs(5), |key| {
            (*key == "a").then_some(10)
        });
        let steered = steering.steer(svc);
        assert_eq!((steered.horizon_ns, steered.early), (900, 4));
        assert_eq!(steered.until_ns, 7_000_000_000);
        assert_eq!((steered.calm_ns, steered.brief_ns), (800, 70));
        assert_eq!(steered.ivcs[0].alone_ns, 60);
        assert_eq!([0, 1].map(|at: usize| steered.ivcs[at].most_ns), [50, 0]);
        assert_eq!(steered.near, 0);
        let ways = [4, 5, 6].map(|flow| steered.way(flow));
        assert_eq!((ways, steered.tells_flows), ([None, Some(0), None], 0));
        let of = |slot: usize| {
            let ivc = &steered.ivcs[slot];
            (ivc.rate, ivc.latency_ns, ivc.shift_ns.cast_signed())
        };
        assert_eq!(of(0), (Ivc::pace(8_000_000).1, 500, -3));
        assert_eq!(of(1), (Ivc::pace(1_000_000).1, 500, 0));
        assert_eq!(steered.ivcs[2], svc.ivcs[2]);
        assert_eq!(steered.ivcs[0].share, Ivc::pace(8_000_000).0);
        let nothing = Steering::new(
            &Plan::<u8>::default(),
            iter::empty(),
            Duration::ZERO,
            |_| None,
        );
        assert_eq!(nothing.steer(svc), svc);
        // Nobody knows at which rate the other should leave.
        let spacings = [0, 1].map(|slot: usize| steered.ivcs[slot].spacing);
        assert_eq!(spacings, [Ivc::pace(4_000_000).0, 0]);
        let mut unpaced = svc;
        unpaced.ivcs[0].spacing = 0;
        assert_eq!(steering.steer(unpaced).ivcs[0].spacing, 0);
    }

    #[test]
    fn shares_stay_until_a_rate_is_another() {
        let svc = |shares: [u64; 3], first| {
            let mut ivcs = [Ivc::default(); MAX_IVCS];
            for ((ivc, share), counters) in ivcs.iter_mut().zip(shares).zip(first..) {
                (ivc.share, ivc.counters) = (share, counters);
            }
            Svc::new(1, 0, Split::Mtu, 100, ivcs)
        };
        let before = svc([1000, 1000, 1000], 5);
        let mut now = svc([1900, 500, 2100], 5);
        keep_shares(&mut now, &before);
        assert_eq!(
            [0, 1, 2].map(|at: usize| now.ivcs[at].share),
            [1000, 1000, 2100]
        );
        // Other IVCs, in the same places.
        let mut others = svc([1900, 500, 999], 8);
        keep_shares(&mut others, &before);
        assert_eq!(
            [0, 1, 2].map(|at: usize| others.ivcs[at].share),
            [1900, 500, 999]
        );
    }
}
