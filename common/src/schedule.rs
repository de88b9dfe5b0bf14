//! Earliest predicted arrival: which IVC carries a piece.
//!
//! Each IVC has a rate, a latency and a virtual clock, the time at which its last accepted byte will
//! have left the link. A piece's arrival is `max(now, clock) + size / rate + latency`; the smallest
//! wins and its clock advances. Where the figures are right, pieces arrive in the order in which they
//! were sent and every link is as full as every other.

use crate::{
    drops::DropReason,
    maps::{Ivc, MAX_IVCS, SLOT_MASK, Svc},
    scratch::Word,
};

/// The virtual clocks of one SVC, by slot, in nanoseconds.
pub trait Clocks {
    /// Reads the clock of `slot`.
    fn read(&self, slot: usize) -> u64;

    /// Advances the clock of `slot` from the later of itself and `now` by `cost`.
    ///
    /// Other CPUs may do so at the same time: no cost may be lost.
    fn reserve(&self, slot: usize, now: u64, cost: u64);
}

/// Returns the time in nanoseconds that an IP packet of `len` bytes occupies the link of `ivc`.
#[inline(always)]
#[must_use]
pub fn cost(ivc: &Ivc, len: u16) -> u64 {
    (u64::from(len) + u64::from(ivc.overhead)).wrapping_mul(ivc.byte_time) >> 10
}

/// Returns when `ivc`, whose clock stands at `clock`, could begin to send, or `None` where its
/// virtual queue is longer than `bound`; all in nanoseconds.
#[inline(always)]
#[must_use]
pub fn start(clock: u64, now: u64, bound: u64) -> Option<u64> {
    if clock <= now {
        Some(now)
    } else if clock - now > bound {
        None
    } else {
        Some(clock)
    }
}

impl Default for Best {
    fn default() -> Self {
        Self::new()
    }
}

/// The best slot so far.
#[derive(Debug)]
#[repr(C)]
pub struct Best {
    arrival: Word,
    cost: Word,
    slot: Word,
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
    fn clear(&self) {
        self.arrival.store(u64::MAX);
    }

    #[inline(always)]
    fn offer(&self, slot: usize, arrival: u64, cost: u64) {
        if arrival < self.arrival.load() {
            self.arrival.store(arrival);
            self.cost.store(cost);
            self.slot.store(slot as u64);
        }
    }

    #[inline(always)]
    fn take(&self) -> Option<(u32, u64)> {
        if self.arrival.load() == u64::MAX {
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
/// Says why no slot can take the packet: no IVC at all, none whose MTU it fits, or every queue that
/// it fits is longer than `bound` nanoseconds.
#[inline(always)]
pub fn pick<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    best: &Best,
    now: u64,
    len: u16,
    bound: u64,
) -> Result<u32, DropReason> {
    if svc.room < u32::from(len) {
        return Err(match svc.room {
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
        if let Some(start) = start(clocks.read(slot), now, bound) {
            let cost = cost(ivc, len);
            let arrival = start.wrapping_add(cost).wrapping_add(ivc.latency_ns);
            best.offer(slot, arrival, cost);
        }
    }
    let (slot, cost) = best.take().ok_or(DropReason::TxQueueFull)?;
    clocks.reserve(slot as usize, now, cost);
    Ok(slot)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::maps::Split;

    /// Clocks of one thread.
    #[derive(Default)]
    pub(crate) struct TestClocks(pub(crate) [Cell<u64>; MAX_IVCS]);

    impl Clocks for TestClocks {
        fn read(&self, slot: usize) -> u64 {
            self.0[slot].get()
        }

        fn reserve(&self, slot: usize, now: u64, cost: u64) {
            self.0[slot].set(self.0[slot].get().max(now) + cost);
        }
    }

    /// Builds an SVC of links given by (bits per second, latency in ms).
    pub(crate) fn svc(links: &[(u64, u64)], split: Split) -> Svc {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (ivc, (rate, latency)) in ivcs.iter_mut().zip(links) {
            let (byte_time, rate) = Ivc::pace(*rate);
            *ivc = Ivc {
                mtu: 1500,
                overhead: 14,
                byte_time,
                rate,
                latency_ns: latency * 1_000_000,
                ..Ivc::default()
            };
        }
        Svc::new(1, 0, split, 100_000_000, ivcs)
    }

    #[test]
    fn says_why_nothing_can_be_picked() {
        let clocks = TestClocks::default();
        let mut svc = svc(&[(1_000_000, 1)], Split::Mtu);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 1501, u64::MAX),
            Err(DropReason::TxTooBig)
        );
        clocks.0[0].set(101);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 100, 100),
            Err(DropReason::TxQueueFull)
        );
        svc = Svc::new(1, 0, Split::Mtu, 100, [Ivc::default(); MAX_IVCS]);
        assert_eq!(
            pick(&svc, &clocks, &Best::new(), 0, 100, 100),
            Err(DropReason::TxNoIvc)
        );
    }

    #[test]
    fn an_idle_fast_link_beats_a_slow_one_until_its_queue_grows() {
        let clocks = TestClocks::default();
        let svc = svc(&[(8_000_000, 10), (1_000_000, 10)], Split::Mtu);
        let picks: Vec<_> = (0..18)
            .map(|_| pick(&svc, &clocks, &Best::new(), 0, 1486, u64::MAX).unwrap())
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
                let slot = pick(&svc, &clocks, &Best::new(), 0, 1486, u64::MAX).unwrap() as usize;
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
