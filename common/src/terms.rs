//! By which IVCs a packet may go, and how late.

use crate::{
    maps::{Ivc, SLOT_MASK, Svc},
    schedule::cost,
    scratch::Word,
};

/// The length of a full packet, in bytes.
pub const FULL: u16 = 1500;

/// By which IVCs a packet may go, and how late. In eBPF it lives in a map, where what led to it is forgotten.
#[derive(Debug)]
#[repr(C)]
pub struct Terms {
    /// The slots, one bit each.
    slots: Word,
    /// How long a packet may be to go whole.
    room: Word,
    /// How long after now it may be predicted to arrive, in nanoseconds.
    latest: Word,
    /// How long it may be queued, in nanoseconds, or for two full packets; 0 for any time.
    brief: Word,
}

impl Default for Terms {
    fn default() -> Self {
        Self::new()
    }
}

impl Terms {
    /// A packet that may go by no IVC.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Word::new(0),
            room: Word::new(0),
            latest: Word::new(0),
            brief: Word::new(0),
        }
    }

    /// From now on the packet may go by any bonded IVC.
    #[inline(always)]
    pub fn any(&self, svc: &Svc) {
        self.slots.store(svc.bonded.into());
        self.room.store(svc.room.into());
        self.latest.store(svc.horizon_ns);
        self.brief.store(0);
    }

    /// From now on the packet may go by any IVC at all.
    #[inline(always)]
    pub fn all(&self) {
        self.slots.store(u64::MAX);
    }

    /// From now on the packet goes by the IVC in `slot` alone. It may be a slow one: only its queue counts.
    #[inline(always)]
    pub fn only(&self, svc: &Svc, slot: u32) {
        self.by_one(svc, slot, |_| svc.horizon_ns);
    }

    /// From now on the packet is of a flow that has the IVC in `slot` for itself, but for others of its kind.
    #[inline(always)]
    pub fn alone(&self, svc: &Svc, slot: u32) {
        self.by_one(svc, slot, |ivc| ivc.alone_ns);
    }

    /// From now on the packet goes by the IVC in `slot`, where it may be queued as long as `queue` says, in nanoseconds.
    #[inline(always)]
    fn by_one(&self, svc: &Svc, slot: u32, queue: impl Fn(&Ivc) -> u64) {
        let slot = slot & SLOT_MASK;
        let ivc = &svc.ivcs[slot as usize];
        self.slots.store(1 << slot);
        self.room.store(ivc.mtu.into());
        self.latest.store(queue(ivc).wrapping_add(ivc.latency_ns));
    }

    /// From now on the packet is bulk that makes way for packets that must not wait. Nothing but the queue that others have left on an IVC
    /// makes those wait, so bulk leaves hardly any on the nearest: only flows go there that keep to it, for they would be out of order
    /// if they went by others, too, where they arrive later.
    #[inline(always)]
    pub fn make_way(&self, svc: &Svc, near: bool) {
        if near {
            self.only(svc, svc.near);
            self.brief.store(svc.brief_ns);
        } else {
            let others = svc.bonded & !(1 << (svc.near & SLOT_MASK));
            self.slots.store(others.into());
            self.room.store(svc.far_room.into());
            self.latest.store(svc.calm_ns);
        }
    }

    /// From now on the packet may go at any time: one piece of it is booked and the others follow, for half a packet is worth nothing; or
    /// nobody vouches for the times.
    #[inline(always)]
    pub fn at_any_time(&self) {
        self.latest.store(u64::MAX);
        self.brief.store(0);
    }

    /// Tells whether a packet may go by more than one IVC.
    #[inline(always)]
    #[must_use]
    pub fn is_any(&self) -> bool {
        let slots = self.slots.load();
        slots & slots.wrapping_sub(1) != 0
    }

    /// How long a packet may be to go whole.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an MTU")]
    pub fn room(&self) -> u32 {
        self.room.load() as u32
    }

    /// How long after now a packet may be predicted to arrive, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest.load()
    }

    /// Tells whether a packet may be queued for `queue` nanoseconds on the IVC in `slot`.
    #[inline(always)]
    #[must_use]
    pub fn admits(&self, slot: usize, ivc: &Ivc, queue: u64) -> bool {
        if self.slots.load() >> slot & 1 == 0 {
            return false;
        }
        if !ivc.bears(queue) && self.latest.load() != u64::MAX {
            return false;
        }
        let brief = self.brief.load();
        brief == 0 || queue <= brief || queue <= 2 * cost(ivc, FULL)
    }
}
