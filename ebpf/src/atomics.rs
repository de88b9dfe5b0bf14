//! Atomic operations that return a value (BPF ISA v3), and the virtual clocks made of them.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use withy_common::{
    label::FLOWS,
    maps::{Flows, MAX_IVCS, SvcState},
    schedule::Clocks,
};

/// Adds to a word and returns what it was.
///
/// Not relaxed: for that ordering LLVM 22 selects the instruction that returns nothing, although the
/// result is used, and hands out the operand instead.
///
/// # Safety
///
/// `word` points to an aligned word of a map's value.
#[inline(always)]
unsafe fn fetch_add(word: *mut u64, operand: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(word, operand) }
}

/// Takes the next sequence number of an SVC.
///
/// # Safety
///
/// `state` points to a value of the map `SVC_STATES`.
#[inline(always)]
pub(crate) unsafe fn next_sequence(state: *mut SvcState) -> u64 {
    // SAFETY: the caller's; the field is aligned to 8 bytes.
    unsafe { fetch_add(&raw mut (*state).sequence, 1) }
}

/// Counts what a flow sends.
///
/// # Safety
///
/// `flows` points to a value of the map `FLOWS`.
#[inline(always)]
pub(crate) unsafe fn count_flow(flows: *mut Flows, flow: u32, bytes: u16) {
    // SAFETY: the caller's; the mask keeps the flow inside the array, for the verifier to see as well.
    unsafe {
        let counter = flows.cast::<u64>().add((flow & (FLOWS - 1)) as usize);
        fetch_add(counter, bytes.into());
    }
}

/// How many packets of an SVC have been split.
///
/// # Safety
///
/// `state` points to a value of the map `SVC_STATES`.
#[inline(always)]
pub(crate) unsafe fn split(state: *const SvcState) -> u64 {
    // SAFETY: the caller's; the field is aligned to 8 bytes.
    unsafe { core::ptr::read_volatile(&raw const (*state).split) }
}

/// Counts a packet of an SVC that is split; returns how many were before.
///
/// # Safety
///
/// `state` points to a value of the map `SVC_STATES`.
#[inline(always)]
pub(crate) unsafe fn next_split(state: *mut SvcState) -> u64 {
    // SAFETY: the caller's; the field is aligned to 8 bytes.
    unsafe { fetch_add(&raw mut (*state).split, 1) }
}

/// The virtual clocks of an SVC, shared by all CPUs.
pub(crate) struct SharedClocks(*mut SvcState);

impl SharedClocks {
    /// Wraps the state of an SVC.
    ///
    /// # Safety
    ///
    /// `state` points to a value of the map `SVC_STATES`, for as long as the program runs.
    #[inline(always)]
    pub(crate) const unsafe fn new(state: *mut SvcState) -> Self {
        Self(state)
    }

    /// The word of `slot` in an array of the state.
    #[inline(always)]
    fn word(array: *mut [u64; MAX_IVCS], slot: usize) -> *mut u64 {
        // SAFETY: the mask keeps the slot inside the array, for the verifier to see as well.
        unsafe { array.cast::<u64>().add(slot & (MAX_IVCS - 1)) }
    }

    #[inline(always)]
    fn clock(&self, slot: usize) -> *mut u64 {
        // SAFETY: a field of the map's value.
        Self::word(unsafe { &raw mut (*self.0).clocks }, slot)
    }

    #[inline(always)]
    fn departure(&self, slot: usize) -> *mut u64 {
        // SAFETY: a field of the map's value.
        Self::word(unsafe { &raw mut (*self.0).departures }, slot)
    }
}

/// Advances a clock from the later of itself and `from` by `cost`, and returns which that was.
///
/// # Safety
///
/// `clock` points to an aligned word of a map's value.
#[inline(always)]
unsafe fn advance(clock: *mut u64, from: u64, cost: u64) -> u64 {
    // SAFETY: the caller's.
    let old = unsafe { fetch_add(clock, cost) };
    if old.wrapping_sub(from).cast_signed() >= 0 {
        return old;
    }
    // The link had been idle, so the booking begins now. If another CPU booked in between,
    // it found the clock behind as well and has set it right for both but for one packet.
    // SAFETY: the caller's.
    let _ = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Relaxed }>(
            clock,
            old.wrapping_add(cost),
            from.wrapping_add(cost),
        )
    };
    from
}

impl Clocks for SharedClocks {
    #[inline(always)]
    fn read(&self, slot: usize) -> u64 {
        // SAFETY: `clock` returns an aligned pointer into the map's value.
        unsafe { core::ptr::read_volatile(self.clock(slot)) }
    }

    #[inline(always)]
    fn reserve(&self, slot: usize, from: u64, cost: u64) {
        // SAFETY: as above.
        unsafe { advance(self.clock(slot), from, cost) };
    }

    #[inline(always)]
    fn depart(&self, slot: usize, now: u64, spacing: u64) -> u64 {
        // SAFETY: as above, of `departure`.
        unsafe { advance(self.departure(slot), now, spacing) }
    }
}
