//! Cutting an ESP packet into pieces: whole, or IPv4 fragments (RFC 791) of chosen lengths.

use crate::{
    drops::DropReason,
    header::LEN,
    maps::{MAX_IVCS, Split, Svc},
    schedule::{Best, Clocks, book, cost, pick, start},
    scratch::Word,
    terms::{FULL, Terms},
};

/// The most pieces of one packet.
pub const MAX_PIECES: usize = 8;
/// Under `always`, the least payload in bytes that is worth a header of its own.
pub const MIN_PAYLOAD: u16 = 128;
/// The bits of how often identifications have come around that are told by where packets are cut.
const ROUNDS_APART: u64 = 3;
/// Under `always`, how often slots may leave before the packet is rather left whole.
const ROUNDS: usize = 6;

/// A piece: the slot of its IVC above its payload's length in bytes.
///
/// Pieces follow each other in the packet, so the offset is the sum of the lengths before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Piece(u32);

impl Piece {
    #[inline(always)]
    const fn new(slot: u32, payload: u16) -> Self {
        Self(slot << 16 | payload as u32)
    }

    #[inline(always)]
    fn stored(piece: &Word) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only `Piece::new` was stored"
        )]
        Self(piece.load() as u32)
    }

    /// The slot of the IVC that carries the piece, below [`MAX_IVCS`].
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 >> 16 & 0xf
    }

    /// The payload's length in bytes, IP header excluded.
    #[inline(always)]
    #[must_use]
    pub const fn payload(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

/// The pieces of one packet, and the scratch space in which they are found.
///
/// In eBPF it lives in a map: what the verifier reads back from there it takes for unknown, so that
/// it need not follow every way in which the loops below can end.
#[derive(Debug)]
#[repr(C)]
pub struct Plan {
    best: Best,
    terms: Terms,
    count: Word,
    /// By how many bytes pieces are longer than they need to be: see [`Plan::vary`].
    excess: Word,
    pieces: [Word; MAX_PIECES],
    /// Under `always`: when a piece of no payload would arrive on each slot, after now; `u64::MAX` for
    /// a slot that takes no part.
    offsets: [Word; MAX_IVCS],
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// A plan of no pieces.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            best: Best::new(),
            terms: Terms::new(),
            offsets: [const { Word::new(0) }; MAX_IVCS],
            pieces: [const { Word::new(0) }; MAX_PIECES],
            count: Word::new(0),
            excess: Word::new(0),
        }
    }

    /// Has packets that are cut to fit cut elsewhere than those whose pieces bore the same identifications before, `split` packets having been
    /// split by now. A piece that waits for one that was lost then fits no piece of a later packet: the receiver drops both, where it would
    /// otherwise take them for one packet, keep a piece of the later one, and take that for a part of the next, and so on.
    #[inline(always)]
    pub fn vary(&self, split: u64) {
        // Mostly a little less than the time before: what is left of a packet then costs one more, and no two.
        let round = (split >> 16).wrapping_neg();
        self.excess.store((round & ROUNDS_APART) << 3);
    }

    /// Where a slot is looked for before there is a plan.
    #[inline(always)]
    #[must_use]
    pub const fn best(&self) -> &Best {
        &self.best
    }

    /// The terms of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How many pieces there are.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
    pub fn count(&self) -> usize {
        self.count.load() as usize
    }

    /// The piece `at`, in the order of the packet's bytes; it means something below [`Self::count`].
    #[inline(always)]
    #[must_use]
    pub fn piece(&self, at: usize) -> Piece {
        Piece::stored(&self.pieces[at & (MAX_PIECES - 1)])
    }

    #[inline(always)]
    fn clear(&self) {
        self.count.store(0);
    }

    #[inline(always)]
    fn push(&self, slot: u32, payload: u16) -> Result<(), DropReason> {
        let at = self.count();
        if at >= MAX_PIECES {
            return Err(DropReason::TxTooBig);
        }
        self.pieces[at].store(Piece::new(slot, payload).0.into());
        self.count.store(at as u64 + 1);
        Ok(())
    }
}

/// Decides the pieces of a packet with `payload` bytes behind its IP header, and books them on the
/// virtual clocks, by the plan's terms. A packet that may go by one IVC alone is cut only to fit it.
///
/// # Errors
///
/// Says why the packet must be dropped; no clock has moved then.
#[inline(always)]
pub fn plan<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    now: u64,
    payload: u16,
    plan: &Plan,
) -> Result<(), DropReason> {
    plan.clear();
    let is_chosen = svc.split == Split::Always.code() || svc.split == Split::Idle.code();
    if is_chosen && plan.terms.is_any() && together(svc, clocks, now, payload, plan)? {
        return Ok(());
    }
    let length = payload.saturating_add(LEN);
    match pick(svc, clocks, &plan.best, now, length, &plan.terms) {
        Ok(slot) => plan.push(slot, payload),
        Err(DropReason::TxTooBig) if svc.split != Split::WholeOnly.code() => {
            fewest(svc, clocks, now, payload, plan)
        }
        Err(reason) => Err(reason),
    }
}

/// Cuts into the fewest pieces, all but the last of one length.
#[inline(always)]
fn fewest<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    now: u64,
    payload: u16,
    plan: &Plan,
) -> Result<(), DropReason> {
    let room = (plan.terms.room().saturating_sub(LEN.into()) & 0xfff8) as u16;
    if room < 8 {
        return Err(DropReason::TxTooBig);
    }
    let count = payload.div_ceil(room);
    if count as usize > MAX_PIECES {
        return Err(DropReason::TxTooBig);
    }
    let length = (payload.div_ceil(count.max(1)).saturating_add(7)) & !7;
    let length = vary(length, room, plan);
    let mut rest = payload;
    for _ in 0..MAX_PIECES {
        if rest == 0 {
            break;
        }
        let piece = if rest < length { rest } else { length };
        let slot = pick(svc, clocks, &plan.best, now, piece + LEN, &plan.terms)?;
        plan.push(slot, piece)?;
        rest -= piece;
        plan.terms.at_any_time();
    }
    Ok(())
}

/// Makes pieces of a length longer as far as there is room, to tell them from others.
#[inline(always)]
fn vary(length: u16, room: u16, plan: &Plan) -> u16 {
    let longer = length.saturating_add((plan.excess.load() & ROUNDS_APART << 3) as u16);
    if longer < room { longer } else { room }
}

/// Cuts so that all pieces arrive together; returns `false` where the packet is better left whole or
/// must be cut by MTU.
///
/// Water-filling: with the time `T` at which all arrive, slot `i` carries `(T - offset_i) * rate_i`
/// bytes, and these add up to the payload. Slots whose part would be too small leave, and `T` is
/// found again.
#[inline(always)]
fn together<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    now: u64,
    payload: u16,
    plan: &Plan,
) -> Result<bool, DropReason> {
    if payload < 2 * MIN_PAYLOAD {
        return Ok(false);
    }
    if !prepare(svc, clocks, now, plan) {
        return Ok(false);
    }
    // No more than MAX_PIECES slots can each have an eighth of the whole.
    let eighth = payload.div_ceil(8);
    let least = u64::from(if eighth > MIN_PAYLOAD {
        eighth
    } else {
        MIN_PAYLOAD
    });
    let mut level = 0;
    let mut settled = false;
    for _ in 0..ROUNDS {
        level = fill(svc, plan, payload);
        if level == 0 || !leave(svc, plan, level, least) {
            settled = true;
            break;
        }
    }
    if level == 0 || !settled {
        return Ok(false);
    }
    assign(svc, clocks, now, payload, level, plan)
}

/// Fills in the offsets; returns whether any slot takes part.
#[inline(always)]
fn prepare<C: Clocks>(svc: &Svc, clocks: &C, now: u64, plan: &Plan) -> bool {
    let mut any = false;
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        plan.offsets[slot].store(u64::MAX);
        let ivc = &svc.ivcs[slot];
        if ivc.room() == 0 {
            continue;
        }
        let queue = start(ivc, clocks.read(slot), now);
        // Where a packet waits for others anyway, what pieces cost would make those behind it wait longer.
        if svc.split == Split::Idle.code() && queue > cost(ivc, FULL) {
            continue;
        }
        let offset = queue
            .wrapping_add(cost(ivc, LEN))
            .wrapping_add(ivc.latency_ns);
        if offset <= plan.terms.latest() && plan.terms.admits(slot, ivc, queue) {
            plan.offsets[slot].store(offset);
            any = true;
        }
    }
    any
}

/// Returns the time after now at which all pieces would arrive, or 0 where no slot takes part.
#[inline(always)]
fn fill(svc: &Svc, plan: &Plan, payload: u16) -> u64 {
    let mut rates: u64 = 0;
    let mut weighted: u64 = 0;
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let offset = plan.offsets[slot].load();
        if offset != u64::MAX {
            rates = rates.wrapping_add(svc.ivcs[slot].rate);
            weighted = weighted.wrapping_add(svc.ivcs[slot].rate.wrapping_mul(offset));
        }
    }
    if rates == 0 {
        return 0;
    }
    ((u64::from(payload) << 20).wrapping_add(weighted)) / rates
}

/// Takes out the slots whose part is below `least` bytes; returns whether there was any.
#[inline(always)]
fn leave(svc: &Svc, plan: &Plan, level: u64, least: u64) -> bool {
    let mut left = false;
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let offset = plan.offsets[slot].load();
        if offset != u64::MAX && part(level, offset, svc.ivcs[slot].rate) < least {
            plan.offsets[slot].store(u64::MAX);
            left = true;
        }
    }
    left
}

/// Returns the bytes that a slot sends up to the time `level`.
#[inline(always)]
fn part(level: u64, offset: u64, rate: u64) -> u64 {
    if offset >= level {
        0
    } else {
        (level - offset).wrapping_mul(rate) >> 20
    }
}

/// Turns the filled slots into pieces and books them; `false` where the parts do not fit the MTUs.
#[inline(always)]
fn assign<C: Clocks>(
    svc: &Svc,
    clocks: &C,
    now: u64,
    payload: u16,
    level: u64,
    plan: &Plan,
) -> Result<bool, DropReason> {
    let mut rest = payload;
    for slot in 0..MAX_IVCS {
        if svc.ends_at(slot) {
            break;
        }
        let offset = plan.offsets[slot].load();
        if offset == u64::MAX || rest == 0 {
            continue;
        }
        let ivc = &svc.ivcs[slot];
        let room = ivc.room().saturating_sub(u32::from(LEN));
        // Rounded up past what `part` rounded down, so that the parts add up to the payload.
        let part = part(level, offset, ivc.rate).wrapping_add(8) & !7;
        let piece = if part < u64::from(rest) {
            (part & 0xfff8) as u16
        } else {
            rest
        };
        if piece == 0 || u32::from(piece) > room {
            plan.clear();
            return Ok(false);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a slot is below 16")]
        plan.push(slot as u32, piece)?;
        rest -= piece;
    }
    if rest != 0 {
        plan.clear();
        return Ok(false);
    }
    for at in 0..MAX_PIECES {
        if at >= plan.count() {
            break;
        }
        let piece = Piece::stored(&plan.pieces[at]);
        let slot = piece.slot() as usize;
        let ivc = &svc.ivcs[slot];
        book(clocks, slot, ivc, now, cost(ivc, piece.payload() + LEN));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::tests::{TestClocks, svc};

    /// Plans one packet and returns its pieces as (slot, offset, payload).
    fn pieces(
        svc: &Svc,
        clocks: &TestClocks,
        payload: u16,
    ) -> Result<Vec<(u32, u16, u16)>, DropReason> {
        let found = Plan::new();
        found.terms().any(svc);
        plan(svc, clocks, 0, payload, &found)?;
        let mut offset = 0;
        Ok((0..found.count())
            .map(|at| found.piece(at))
            .map(|piece| {
                let at = offset;
                offset += piece.payload();
                (piece.slot(), at, piece.payload())
            })
            .collect())
    }

    fn links() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((100_000_u64..10_000_000_000, 0_u64..400), 1..=MAX_IVCS)
    }

    fn policy() -> impl Strategy<Value = Split> {
        prop_oneof![
            Just(Split::Mtu),
            Just(Split::Always),
            Just(Split::WholeOnly),
            Just(Split::Idle)
        ]
    }

    proptest! {
        #[test]
        fn every_byte_once_at_legal_offsets_in_legal_sizes(
            links in links(), policy in policy(), mtus in prop::collection::vec(576_u16..=1500, MAX_IVCS),
            payloads in prop::collection::vec(1_u16..=9000, 1..40),
        ) {
            let Svc { mut ivcs, horizon_ns, .. } = svc(&links, policy);
            for (ivc, mtu) in ivcs.iter_mut().zip(&mtus) {
                ivc.mtu = if ivc.mtu == 0 { 0 } else { u32::from(*mtu) };
            }
            let svc = Svc::new(1, 0, policy, horizon_ns, ivcs);
            let clocks = TestClocks::default();
            for payload in payloads {
                let before = clocks.0.clone();
                match pieces(&svc, &clocks, payload) {
                    Ok(pieces) => {
                        let mut next = 0;
                        for (index, (slot, offset, length)) in pieces.iter().enumerate() {
                            prop_assert_eq!(*offset, next);
                            prop_assert_eq!(offset % 8, 0);
                            prop_assert!(*length > 0);
                            prop_assert!(u32::from(length + LEN) <= svc.ivcs[*slot as usize].mtu);
                            prop_assert!((*slot as usize) < links.len());
                            prop_assert!(length % 8 == 0 || index + 1 == pieces.len());
                            next += length;
                        }
                        prop_assert_eq!(next, payload);
                        prop_assert!(policy != Split::WholeOnly || pieces.len() == 1);
                    }
                    Err(reason) => {
                        prop_assert!(reason != DropReason::TxNoIvc);
                        // A dropped packet costs no link any time.
                        prop_assert_eq!(before, clocks.0.clone());
                    }
                }
            }
        }

        #[test]
        fn mtu_takes_as_few_pieces_as_possible(
            links in links(), payload in 1_u16..=9000, mtu in 576_u32..=1500, split in any::<u64>(),
        ) {
            let Svc { mut ivcs, horizon_ns, .. } = svc(&links, Split::Mtu);
            for ivc in ivcs.iter_mut().filter(|ivc| ivc.mtu > 0) {
                ivc.mtu = mtu;
            }
            let svc = Svc::new(1, 0, Split::Mtu, horizon_ns, ivcs);
            let found = Plan::new();
            found.terms().any(&svc);
            found.vary(split);
            let room = mtu - 20;
            let whole = u32::from(payload) <= room;
            let least = if whole { 1 } else { u32::from(payload).div_ceil(room & !7) as usize };
            let outcome = plan(&svc, &TestClocks::default(), 0, payload, &found);
            if least > MAX_PIECES {
                prop_assert_eq!(outcome, Err(DropReason::TxTooBig));
            } else {
                prop_assert_eq!(outcome, Ok(()));
                prop_assert_eq!(found.count(), least);
                let sum: u16 = (0..least).map(|at| found.piece(at).payload()).sum();
                prop_assert_eq!(sum, payload);
                for at in 0..least {
                    prop_assert!(u32::from(found.piece(at).payload()) <= room);
                    prop_assert!(at + 1 == least || found.piece(at).payload().is_multiple_of(8));
                }
            }
        }

        #[test]
        fn always_makes_pieces_arrive_together(
            links in prop::collection::vec((1_000_000_u64..20_000_000, 0_u64..5), 2..=4),
        ) {
            let svc = svc(&links, Split::Always);
            let clocks = TestClocks::default();
            for _ in 0..20 {
                let pieces = pieces(&svc, &clocks, 1460).unwrap();
                let arrivals: Vec<_> = pieces
                    .iter()
                    .map(|(slot, ..)| clocks.0[*slot as usize].get() + svc.ivcs[*slot as usize].latency_ns)
                    .collect();
                let spread = arrivals.iter().max().unwrap() - arrivals.iter().min().unwrap();
                // Eight bytes of rounding on each slot, the last of which gives back what the others took.
                let eight_bytes = 8 * 8 * 1_000 * (pieces.len() as u64 + 1);
                prop_assert!(spread <= eight_bytes, "{spread} ns between {arrivals:?}");
            }
        }
    }

    #[test]
    fn always_shares_one_packet_by_rate() {
        let svc = svc(
            &[(2_000_000, 10), (2_000_000, 10), (4_000_000, 10)],
            Split::Always,
        );
        let found = pieces(&svc, &TestClocks::default(), 1480).unwrap();
        assert_eq!(
            found.iter().map(|piece| piece.0).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert!(found[0].2.abs_diff(found[1].2) <= 16, "{found:?}");
        assert!(found[2].2.abs_diff(2 * found[0].2) <= 64, "{found:?}");
    }

    #[test]
    fn idle_links_get_pieces_and_busy_ones_whole_packets() {
        let svc = svc(&[(1_000_000, 10); 4], Split::Idle);
        let clocks = TestClocks::default();
        let count = |clocks| pieces(&svc, clocks, 1480).unwrap().len();
        // A quarter of a packet takes 3.2 ms on each link, and a whole one 12.1 ms.
        let sent: Vec<_> = (0..8).map(|_| count(&clocks)).collect();
        assert_eq!(sent, [4, 4, 4, 4, 1, 1, 1, 1]);
        // What is too long goes in as few pieces as possible meanwhile.
        assert_eq!(pieces(&svc, &clocks, 1600).unwrap().len(), 2);
        let quiet = TestClocks::default();
        assert_eq!(pieces(&svc, &quiet, 1600).unwrap().len(), 4);
    }

    #[test]
    fn always_leaves_small_packets_whole() {
        let svc = svc(&[(2_000_000, 10), (2_000_000, 10)], Split::Always);
        assert_eq!(pieces(&svc, &TestClocks::default(), 200).unwrap().len(), 1);
        assert_eq!(pieces(&svc, &TestClocks::default(), 400).unwrap().len(), 2);
    }

    #[test]
    fn pieces_of_one_number_do_not_fit_those_of_the_time_before() {
        let svc = svc(&[(2_000_000, 10), (2_000_000, 10)], Split::Mtu);
        let cuts: Vec<_> = (0..9)
            .map(|round| {
                let found = Plan::new();
                found.terms().any(&svc);
                found.vary(round << 16 | 0xabcd);
                plan(&svc, &TestClocks::default(), 0, 1534, &found).unwrap();
                assert_eq!(found.count(), 2);
                found.piece(0).payload()
            })
            .collect();
        assert_eq!(cuts, [768, 792, 784, 776, 768, 792, 784, 776, 768]);
    }

    #[test]
    fn pieces_of_one_packet_take_the_links_in_turn() {
        let svc = svc(&[(2_000_000, 10), (2_000_000, 10)], Split::Mtu);
        let found = pieces(&svc, &TestClocks::default(), 1500).unwrap();
        assert_eq!(found, [(0, 0, 752), (1, 752, 748)]);
    }
}
