//! Which IVCs a packet goes by that does not simply go where it arrives first.

use crate::{
    drops::DropReason,
    label::mix,
    maps::{Ivc, MAX_IVCS, SLOT_MASK, Svc},
    schedule::{Best, Clocks, cost, start},
    terms::Terms,
};

/// Chooses the slot of the IVC that carries a flow, by its number.
///
/// Weighted rendezvous hashing: each IVC draws a number for the flow, which is exponentially distributed with the IVC's rate, and the
/// smallest wins. So flows are shared out by rate, nothing need be remembered, and an IVC that goes or comes moves none but its own.
///
/// # Errors
///
/// No IVC may carry anything.
#[inline(always)]
pub fn flow(svc: &Svc, best: &Best, number: u32) -> Result<u32, DropReason> {
    best.clear();
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let ivc = &svc.ivcs[slot];
        if ivc.room() == 0 {
            continue;
        }
        best.offer(slot, draw(ivc, number), 0);
    }
    let (slot, _) = best.take(u64::MAX - 1).ok_or(DropReason::TxNoIvc)?;
    Ok(slot)
}

/// What an IVC draws for a flow: the shorter its time for a byte, the smaller.
#[inline(always)]
fn draw(ivc: &Ivc, number: u32) -> u64 {
    // An IVC keeps the slot of its counters as long as it lives.
    let uniform = mix(u64::from(ivc.counters) << 32 | u64::from(number));
    u64::from(minus_log2((uniform >> 32) as u32)).wrapping_mul(ivc.share)
}

/// The fraction's bits of [`minus_log2`].
const FRACTION: u32 = 16;

/// Minus the logarithm to the base of 2 of `(number + 1) / 2^32`, in 1/65536, by a hundredth wrong at the most: between powers of two a
/// cubic stands for the logarithm that has its slopes at both ends. Nothing but arithmetic, so that the verifier has one way to follow.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "32 at the most, and the fraction"
)]
const fn minus_log2(number: u32) -> u32 {
    const ONE: u64 = 1 << FRACTION;
    let number = number as u64 + 1;
    let mut below = number | number >> 1;
    below |= below >> 2;
    below |= below >> 4;
    below |= below >> 8;
    below |= below >> 16;
    below |= below >> 32;
    let halvings = 33 - below.count_ones() as u64;
    // From 1 to below 2, less 1.
    let x = ((number << halvings) >> (32 - FRACTION)) - ONE;
    let bend = 23_639 + 5_374 - ((2 * 5_374 * x) >> FRACTION);
    let log2 = x + ((((x * (ONE - x)) >> FRACTION) * bend) >> FRACTION);
    ((halvings << FRACTION) - log2) as u32
}

/// Chooses the slots of two IVCs by which a packet of `len` bytes arrives first, the second of another link than the first where there
/// is one. Nothing is booked.
///
/// # Errors
///
/// Says why there is not even one.
#[inline(always)]
pub fn pair<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    best: &Best,
    now: u64,
    len: u16,
    terms: &Terms,
) -> Result<(u32, Option<u32>), DropReason> {
    if svc.room == 0 {
        return Err(DropReason::TxNoIvc);
    }
    let soonest = |but| soonest(svc, clocks, best, now, len, terms, but);
    let first = soonest(But::NOTHING).ok_or(DropReason::TxQueueFull)?;
    let link = svc.ivcs[(first & SLOT_MASK) as usize].ifindex;
    let mut second = soonest(But { slot: first, link });
    if second.is_none() {
        second = soonest(But {
            slot: first,
            link: NO_LINK,
        });
    }
    Ok((first, second))
}

/// What is not to be chosen.
#[derive(Clone, Copy)]
struct But {
    slot: u32,
    /// The index of an interface.
    link: u32,
}

/// No interface has this index.
const NO_LINK: u32 = 0;

impl But {
    const NOTHING: Self = Self {
        slot: u32::MAX,
        link: NO_LINK,
    };
}

#[inline(always)]
fn soonest<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    best: &Best,
    now: u64,
    len: u16,
    terms: &Terms,
    but: But,
) -> Option<u32> {
    best.clear();
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let ivc = &svc.ivcs[slot];
        if ivc.room() == 0 || slot as u64 == u64::from(but.slot) || ivc.ifindex == but.link {
            continue;
        }
        let sent = start(ivc, clocks.read(slot), now).wrapping_add(cost(ivc, len));
        if sent <= terms.latest() {
            best.offer(slot, sent.wrapping_add(ivc.latency_ns), 0);
        }
    }
    best.take(u64::MAX - 1).map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        label::FLOWS,
        maps::Split,
        schedule::tests::{TestClocks, svc},
    };

    fn terms(svc: &Svc) -> Terms {
        let terms = Terms::new();
        terms.any(svc);
        terms
    }

    /// Counts the flows of each slot, of more than a label can tell.
    fn flows(svc: &Svc, count: u32) -> Vec<(u32, u32)> {
        let of = |number| (number, flow(svc, &Best::new(), number).unwrap());
        (0..count).map(of).collect()
    }

    #[test]
    fn logarithms_are_near_enough() {
        for number in (0..=u32::MAX).step_by(65_521).chain([0, 1, 2, u32::MAX]) {
            let exact = 32.0 - (f64::from(number) + 1.0).log2();
            let found = f64::from(minus_log2(number)) / 65_536.0;
            let slack = (0.015 * exact).min(0.01) + 0.0001;
            assert!(
                (found - exact).abs() < slack,
                "{number}: {found} for {exact}"
            );
        }
    }

    #[test]
    fn flows_are_shared_out_by_rate() {
        let svc = svc(
            &[(40_000_000, 1), (20_000_000, 300), (2_000_000, 1)],
            Split::Mtu,
        );
        let mut counts = [0_u32; 3];
        for (_, slot) in flows(&svc, 100_000) {
            counts[slot as usize] += 1;
        }
        let expected = [64_516, 32_258, 3_226];
        for (count, expected) in counts.into_iter().zip(expected) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
        // Of those that labels tell, too, none is left out.
        let slots: Vec<_> = flows(&svc, FLOWS)
            .into_iter()
            .map(|(_, slot)| slot)
            .collect();
        assert!((0..3).all(|slot| slots.contains(&slot)));
    }

    proptest! {
        /// What goes moves its own flows, and what comes back fetches the same ones.
        #[test]
        fn an_ivc_that_goes_moves_no_flow_but_its_own(
            rates in prop::collection::vec(100_000_u64..1_000_000_000, 2..=16), gone: prop::sample::Index,
        ) {
            let links: Vec<_> = rates.iter().map(|rate| (*rate, 10)).collect();
            let before = svc(&links, Split::Mtu);
            let gone = gone.index(links.len());
            let mut ivcs = before.ivcs;
            ivcs[gone].mtu = 0;
            let after = Svc::new(1, 0, Split::Mtu, before.horizon_ns, ivcs);
            for ((_, old), (_, new)) in flows(&before, 256).into_iter().zip(flows(&after, 256)) {
                prop_assert!(new as usize != gone);
                prop_assert!(old == new || old as usize == gone);
            }
        }

        #[test]
        fn two_copies_go_by_different_links(
            links in prop::collection::vec((500_000_u64..1_000_000_000, 0_u64..100, 1_u32..4), 1..=16),
            packets in prop::collection::vec(40_u16..1480, 1..50),
        ) {
            let figures: Vec<_> = links.iter().map(|(rate, latency, _)| (*rate, *latency)).collect();
            let mut ivcs = svc(&figures, Split::Mtu).ivcs;
            for (ivc, (.., link)) in ivcs.iter_mut().zip(&links) {
                ivc.ifindex = *link;
            }
            let svc = Svc::new(1, 0, Split::Mtu, 10_000_000_000, ivcs);
            let clocks = TestClocks::default();
            let of_links: BTreeSet<_> = links.iter().map(|(.., link)| *link).collect();
            for len in packets {
                let (first, second) = pair(&svc, &clocks, &Best::new(), 0, len, &terms(&svc)).unwrap();
                prop_assert!(Some(first) != second);
                prop_assert_eq!(second.is_some(), links.len() > 1);
                if let Some(second) = second {
                    let [first, second] = [first, second].map(|slot| svc.ivcs[slot as usize].ifindex);
                    prop_assert_eq!(first != second, of_links.len() > 1);
                }
                for slot in [Some(first), second].into_iter().flatten() {
                    let slot = slot as usize;
                    clocks.reserve(slot, 0, cost(&svc.ivcs[slot], len));
                }
            }
        }
    }

    #[test]
    fn says_why_there_is_not_even_one() {
        let mut svc = svc(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
        for (slot, ivc) in (1..).zip(&mut svc.ivcs) {
            ivc.ifindex = slot;
        }
        let clocks = TestClocks::default();
        let pair = |svc: &Svc| pair(svc, &clocks, &Best::new(), 0, 100, &terms(svc));
        clocks.0[1].set(svc.horizon_ns);
        assert_eq!(pair(&svc), Ok((0, None)));
        clocks.0[0].set(svc.horizon_ns);
        assert_eq!(pair(&svc), Err(DropReason::TxQueueFull));
        let none = Svc::new(1, 0, Split::Mtu, 1, [Ivc::default(); MAX_IVCS]);
        assert_eq!(pair(&none), Err(DropReason::TxNoIvc));
        assert_eq!(flow(&none, &Best::new(), 1), Err(DropReason::TxNoIvc));
    }
}
