//! Earliest predicted arrival: which IVC carries a piece.
//!
//! Each IVC has a rate, a latency and a virtual clock, the time at which its last accepted byte will
//! have left the link. A piece's arrival is `max(now, clock + shift) + size / rate + latency`; the smallest
//! wins and its clock advances. Where the figures are right, pieces arrive in the order in which they
//! were sent and every link is as full as every other. The shift is what the controller has found the
//! clock to be wrong by: clocks are the programs' alone to write.

use crate::{
    drops::DropReason,
    maps::{Ivc, MAX_IVCS, SLOT_MASK, Svc},
    scratch::Word,
    terms::Terms,
};

/// The virtual clocks of one SVC, by slot, in nanoseconds.
pub trait Clocks {
    /// Reads the clock of `slot`.
    fn read(&self, slot: usize) -> u64;

    /// Advances the clock of `slot` from the later of itself and `from` by `cost`. Clocks wrap, so which is later is told by the
    /// sign of their difference.
    ///
    /// Other CPUs may do so at the same time: no cost may be lost.
    fn reserve(&self, slot: usize, from: u64, cost: u64);

    /// Returns when a piece may leave by `slot` that is ready at `now`: when the time that those before it were given is over. It is given
    /// `spacing`. What holds for [`Self::reserve`] holds here, too.
    fn depart(&self, slot: usize, now: u64, spacing: u64) -> u64;
}

/// Returns the time in nanoseconds that an IP packet of `len` bytes occupies the link of `ivc`.
#[inline(always)]
#[must_use]
pub fn cost(ivc: &Ivc, len: u16) -> u64 {
    (u64::from(len) + u64::from(ivc.overhead)).wrapping_mul(ivc.byte_time) >> 10
}

/// Returns when an IP packet of `len` bytes is to leave by the IVC in `slot`, by the clock of `now`; nothing where nobody paces.
///
/// What is asked is not when the link will be free, as the virtual clock has it: that is corrected by what was measured, and each error of
/// a measurement would be time in which the link stands idle. So pieces are spaced out at the rate of the link, and are early at the most.
#[inline(always)]
pub fn departure<C: Clocks>(clocks: &C, slot: usize, ivc: &Ivc, now: u64, len: u16) -> Option<u64> {
    if ivc.spacing == 0 {
        return None;
    }
    let bytes = u64::from(len) + u64::from(ivc.overhead);
    Some(clocks.depart(slot, now, bytes.wrapping_mul(ivc.spacing) >> 10))
}

/// Returns when an IVC whose clock stands at `clock` could begin to send, in nanoseconds after now.
#[inline(always)]
#[must_use]
pub fn start(ivc: &Ivc, clock: u64, now: u64) -> u64 {
    let queue = clock.wrapping_add(ivc.shift_ns).wrapping_sub(now);
    if queue.cast_signed() < 0 { 0 } else { queue }
}

/// Books `cost` nanoseconds of the link of `ivc`, which has `slot`.
#[inline(always)]
pub fn book<C: Clocks>(clocks: &C, slot: usize, ivc: &Ivc, now: u64, cost: u64) {
    clocks.reserve(slot, now.wrapping_sub(ivc.shift_ns), cost);
}

/// The best slot so far.
#[derive(Debug)]
#[repr(C)]
pub struct Best {
    arrival: Word,
    cost: Word,
    slot: Word,
}

impl Default for Best {
    fn default() -> Self {
        Self::new()
    }
}

impl Best {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            arrival: Word::new(u64::MAX),
            cost: Word::new(0),
            slot: Word::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn clear(&self) {
        self.arrival.store(u64::MAX);
    }

    #[inline(always)]
    pub(crate) fn offer(&self, slot: usize, arrival: u64, cost: u64) {
        if arrival < self.arrival.load() {
            self.arrival.store(arrival);
            self.cost.store(cost);
            self.slot.store(slot as u64);
        }
    }

    #[inline(always)]
    pub(crate) fn take(&self, latest: u64) -> Option<(u32, u64)> {
        let arrival = self.arrival.load();
        if arrival == u64::MAX || arrival > latest {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let slot = self.slot.load() as u32 & SLOT_MASK;
        Some((slot, self.cost.load()))
    }
}

/// Picks the slot where an IP packet of `len` bytes arrives first, and advances its clock.
///
/// # Errors
///
/// Says why no slot can take the packet: no IVC at all, none whose MTU it fits, or it would arrive later than it may by whatever IVC
/// it fits.
#[inline(always)]
pub fn pick<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    best: &Best,
    now: u64,
    len: u16,
    terms: &Terms,
) -> Result<u32, DropReason> {
    let room = terms.room();
    if room < u32::from(len) {
        return Err(match room {
            0 => DropReason::TxNoIvc,
            _ => DropReason::TxTooBig,
        });
    }
    best.clear();
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let ivc = &svc.ivcs[slot];
        if u32::from(len) > ivc.room() {
            continue;
        }
        let queue = start(ivc, clocks.read(slot), now);
        if !terms.admits(slot, ivc, queue) {
            continue;
        }
        let cost = cost(ivc, len);
        let arrival = queue.wrapping_add(cost).wrapping_add(ivc.latency_ns);
        best.offer(slot, arrival, cost);
    }
    let (slot, cost) = best.take(terms.latest()).ok_or(DropReason::TxQueueFull)?;
    let ivc = &svc.ivcs[slot as usize];
    book(clocks, slot as usize, ivc, now, cost);
    Ok(slot)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::maps::Split;

    /// Terms of an SVC that lets packets arrive as late as `latest`.
    fn by(svc: &Svc, latest: u64) -> Terms {
        let terms = Terms::new();
        terms.any(&Svc {
            horizon_ns: latest,
            ..*svc
        });
        terms
    }

    /// Clocks of one thread: the virtual ones, and those by which pieces leave.
    #[derive(Default)]
    pub(crate) struct TestClocks(
        pub(crate) [Cell<u64>; MAX_IVCS],
        pub(crate) [Cell<u64>; MAX_IVCS],
    );

    fn advance(clock: &Cell<u64>, from: u64, cost: u64) -> u64 {
        let behind = clock.get().wrapping_sub(from).cast_signed() < 0;
        let begin = if behind { from } else { clock.get() };
        clock.set(begin.wrapping_add(cost));
        begin
    }

    impl Clocks for TestClocks {
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

    /// Builds an SVC of links given by (bits per second, latency in ms).
    pub(crate) fn svc(links: &[(u64, u64)], split: Split) -> Svc {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for ((ivc, (rate, latency)), counters) in ivcs.iter_mut().zip(links).zip(0..) {
            let (byte_time, rate) = Ivc::pace(*rate);
            *ivc = Ivc {
                counters,
                mtu: 1500,
                overhead: 14,
                byte_time,
                share: byte_time,
                rate,
                latency_ns: latency * 1_000_000,
                ..Ivc::default()
            };
        }
        let slowest = ivcs.iter().map(|ivc| ivc.latency_ns).max().unwrap();
        Svc::new(1, 0, split, slowest + 100_000_000, ivcs)
    }

    #[test]
    fn says_why_nothing_can_be_picked() {
        let clocks = TestClocks::default();
        let mut svc = svc(&[(1_000_000, 1)], Split::Mtu);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 1501, &by(&svc, u64::MAX)),
            Err(DropReason::TxTooBig)
        );
        // The latency alone is 1 ms, and 114 bytes take 912 us.
        clocks.0[0].set(1);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 100, &by(&svc, 1_912_000)),
            Err(DropReason::TxQueueFull)
        );
        svc = Svc::new(1, 0, Split::Mtu, 100, [Ivc::default(); MAX_IVCS]);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 100, &by(&svc, 100)),
            Err(DropReason::TxNoIvc)
        );
    }

    /// A burst leaves at the link's rate, and what comes when that is over leaves at once; a correction of the clock changes nothing.
    #[test]
    fn pieces_leave_spaced_out() {
        let clocks = TestClocks::default();
        let mut ivc = svc(&[(8_000_000, 1)], Split::Mtu).ivcs[0];
        let now = u64::MAX - 2_000_000;
        assert_eq!(departure(&clocks, 0, &ivc, now, 986), None);
        ivc.spacing = ivc.byte_time;
        // An interface that has not been used yet has a clock of anything.
        clocks.1[0].set(now.wrapping_sub(5));
        for (ready, len, leaves) in [
            (0_u64, 986, 0_u64),
            (0, 86, 1_000_000),
            (500_000, 986, 1_100_000),
            (9_000_000, 986, 9_000_000),
        ] {
            ivc.shift_ns = ready.wrapping_mul(7);
            let found = departure(&clocks, 0, &ivc, now.wrapping_add(ready), len);
            assert_eq!(found, Some(now.wrapping_add(leaves)), "{ready}");
        }
    }

    #[test]
    fn a_shift_corrects_the_clock() {
        let clocks = TestClocks::default();
        let mut svc = svc(&[(8_000_000, 1)], Split::Mtu);
        let ivc = &mut svc.ivcs[0];
        let now = 1_000_000_000;
        ivc.shift_ns = 0;
        assert_eq!(start(ivc, now + 7, now), 7);
        ivc.shift_ns = (-5_i64).cast_unsigned();
        assert_eq!(start(ivc, now + 7, now), 2);
        assert_eq!(start(ivc, now + 3, now), 0);
        // A clock that has never been used, and a queue that is of others' packets.
        ivc.shift_ns = now + 40;
        assert_eq!(start(ivc, 0, now), 40);
        book(&clocks, 0, ivc, now, 2);
        assert_eq!(start(ivc, clocks.read(0), now), 42);
        // It has drained, and begins anew.
        let later = now + 1_000;
        book(&clocks, 0, ivc, later, 2);
        assert_eq!(start(ivc, clocks.read(0), later), 2);
    }

    /// A satellite's link is used when the other's queue would make packets arrive no sooner, and nothing is used that would make
    /// them arrive too late.
    #[test]
    fn a_far_link_is_used_when_the_queue_of_the_near_one_is_as_long() {
        let clocks = TestClocks::default();
        let svc = svc(&[(8_000_000, 10), (8_000_000, 300)], Split::Mtu);
        let mut picks = [0_u32; 2];
        let horizon = 325_000_000;
        while let Ok(slot) = pick(&svc, &clocks, &Best::new(), 0, 1486, &by(&svc, horizon)) {
            if slot == 1 && picks[1] == 0 {
                assert!(clocks.read(0) >= 288_000_000);
            }
            picks[slot as usize] += 1;
        }
        // 1.5 ms each: 315 ms of the one and 25 ms of the other.
        assert_eq!(picks, [210, 16]);
        // Where nobody waits for the far one, nothing goes there.
        let clocks = TestClocks::default();
        while let Ok(slot) = pick(&svc, &clocks, &Best::new(), 0, 1486, &by(&svc, 35_000_000)) {
            assert_eq!(slot, 0);
        }
    }

    #[test]
    fn bulk_that_makes_way_goes_by_the_nearest_link_or_by_the_others() {
        let links = [(8_000_000, 40), (8_000_000, 10), (4_000_000, 30)];
        let mut svc = svc(&links, Split::Mtu);
        svc.calm_ns = 60_000_000;
        assert_eq!((svc.near, svc.far_room), (1, 1500));
        let fill = |near| {
            let (clocks, terms) = (TestClocks::default(), Terms::new());
            let mut picks = [0_u32; 3];
            terms.any(&svc);
            terms.make_way(&svc, near);
            while let Ok(slot) = pick(&svc, &clocks, &Best::new(), 0, 1486, &terms) {
                picks[slot as usize] += 1;
            }
            picks
        };
        // 1.5 and 3 ms each: 5 ms of queue, and 20 and 30 ms that come in time.
        assert_eq!(fill(true), [0, 4, 0]);
        assert_eq!(fill(false), [13, 0, 10]);
    }

    #[test]
    fn an_idle_fast_link_beats_a_slow_one_until_its_queue_grows() {
        let clocks = TestClocks::default();
        let svc = svc(&[(8_000_000, 10), (1_000_000, 10)], Split::Mtu);
        let picks: Vec<_> = (0..18)
            .map(|_| pick(&svc, &clocks, &Best::new(), 0, 1486, &by(&svc, u64::MAX)).unwrap())
            .collect();
        assert_eq!(picks.iter().filter(|slot| **slot == 1).count(), 2);
        assert_eq!(picks[0], 0);
    }

    proptest! {
        /// Under saturation each link carries its share of the sum, and arrivals stay in order.
        #[test]
        fn saturated_links_share_by_rate(
            links in prop::collection::vec((500_000_u64..1_000_000_000, 0_u64..50), 1..=16),
        ) {
            let clocks = TestClocks::default();
            let svc = svc(&links, Split::Mtu);
            let total: u64 = links.iter().map(|link| link.0).sum();
            let mut sent = [0_u64; MAX_IVCS];
            let mut last = 0;
            let slowest = links.iter().map(|link| 1500 * 8 * 1_000_000_000 / link.0).max().unwrap_or(0);
            let horizon = 50_000_000 + 10 * slowest;
            while clocks.0.iter().take(links.len()).any(|clock| clock.get() < horizon) {
                let slot = pick(&svc, &clocks, &Best::new(), 0, 1486, &by(&svc, u64::MAX)).unwrap() as usize;
                sent[slot] += 1500;
                let arrival = clocks.0[slot].get() + svc.ivcs[slot].latency_ns;
                // Ties aside, the greedy choice never arrives before an earlier packet's arrival by
                // more than what the slot then costs.
                prop_assert!(arrival + cost(&svc.ivcs[slot], 1486) >= last);
                last = arrival;
                if sent.iter().sum::<u64>() > 20_000_000 { break; }
            }
            let time = clocks.0.iter().take(links.len()).map(Cell::get).max().unwrap_or(0);
            let carried = sent.iter().sum::<u64>() * 8;
            let capacity = u128::from(total) * u128::from(time) / 1_000_000_000;
            // The last packets' arrivals differ by at most one packet on the slowest link plus the spread of latencies.
            let edge = u128::from(total) * u128::from(slowest + 50_000_000) / 1_000_000_000;
            prop_assert!(u128::from(carried) + edge + 12_000 >= capacity);
        }
    }
}
