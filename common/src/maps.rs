//! The layouts of the maps that the eBPF programs and the controller share.
//!
//! A changed layout needs a new [`LAYOUT`]: pinned maps of another layout are never adopted.

use crate::{
    label::{FLOWS, Policies},
    schedule::cost,
    scratch::fresh,
};

/// The version of all layouts here; part of the path under which the maps are pinned.
pub const LAYOUT: u32 = 8;
/// The number of IVC slots of an SVC.
pub const MAX_IVCS: usize = 16;
/// The bits that a slot takes.
pub const SLOT_MASK: u32 = 0xf;
/// The most SVCs, or IVCs, that the maps can be sized for.
pub const MAX_ENTRIES: u32 = 65_536;
/// The key of a remote endpoint in the SVC map, of wire order.
pub type Endpoint = u32;

/// UDP port, both ways, of the header that the kernel's outbound SA puts before ESP and
/// [`crate::outbound`] removes: it keeps the kernel from deferring encryption until after the hook.
pub const SHIM_PORT: u16 = 4500;

/// How long bulk may be queued on an IVC while there are packets that must not wait, where nothing else is known.
pub const BRIEF_NS: u64 = 5_000_000;
/// For how long after a packet that must not wait bulk keeps out of the way of the next, in nanoseconds.
pub const URGENT_NS: u64 = 2_000_000_000;

/// How packets are cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Whole packets wherever they fit, else as few pieces as possible.
    Mtu,
    /// Pieces sized by link so that they arrive together.
    Always,
    /// Never: what does not fit is dropped, after path MTU discovery told the sender.
    WholeOnly,
    /// As `Always` over IVCs on which hardly anything waits, as `Mtu` where there are none.
    Idle,
}

impl Split {
    /// The value in [`Svc::split`].
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Mtu => 0,
            Self::Always => 1,
            Self::WholeOnly => 2,
            Self::Idle => 3,
        }
    }
}

/// One SVC. Map `SVCS`, by remote [`Endpoint`]: the controller writes, `bundle_tx` reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Svc {
    /// The local endpoint's address, in wire order.
    pub local: u32,
    /// The slot of this SVC in the map `SVC_STATES`.
    pub index: u32,
    /// The policy: a [`Split::code`].
    pub split: u32,
    /// How many slots there are to look at: no IVC behind them may carry anything.
    pub slots: u32,
    /// The longest IP packet that crosses any bonded IVC whole, in bytes; 0 while none may carry anything.
    pub room: u32,
    /// How many of 2^32 packets are to be marked, or dropped where they cannot be, because queues are getting long.
    pub early: u32,
    /// The policies of the tunnel's classes.
    pub policies: Policies,
    /// By how many bytes at least ESP packets are longer than those inside, where these are of classes; else 0.
    pub expansion: u32,
    /// The slot by which a packet arrives first if there are no queues: there bulk leaves hardly any while there are packets that must
    /// not wait.
    pub near: u32,
    /// As [`Self::room`], but without that one.
    pub far_room: u32,
    /// The slots of the IVCs by which packets go that may go by any, one bit each. What goes by the others goes by none but one.
    pub bonded: u32,
    /// Whether flows are told apart, and counted in the map `FLOWS`, so that some can go by other IVCs; 0 or 1.
    pub tells_flows: u32,
    /// How long after now a packet may be predicted to arrive at the latest, in nanoseconds: what would arrive later is dropped.
    pub horizon_ns: u64,
    /// The same for bulk while there are packets that must not wait.
    pub calm_ns: u64,
    /// How long bulk may be queued on the nearest IVC meanwhile, in nanoseconds.
    pub brief_ns: u64,
    /// Until when the controller vouches for all this, by the kernel's monotonic clock in nanoseconds. After that nothing is dropped for
    /// being late: whoever corrects the clocks is gone.
    pub until_ns: u64,
    /// The IVCs. A slot keeps its meaning while its IVC lives, also while it is unusable.
    pub ivcs: [Ivc; MAX_IVCS],
    /// Which flows go by an IVC of their own.
    pub ways: Ways,
}

/// For each flow that a label tells, the slot of the IVC that it goes by, or none if it goes by the bonded ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways([u8; FLOWS as usize]);

impl Default for Ways {
    fn default() -> Self {
        Self([0; FLOWS as usize])
    }
}

impl Ways {
    /// Has a flow go by the IVC in `slot`.
    pub fn set(&mut self, flow: u8, slot: u32) {
        self.0[usize::from(flow)] = (slot & SLOT_MASK) as u8 + 1;
    }

    /// The slot of the IVC that a flow goes by, if there is one for it.
    #[inline(always)]
    #[must_use]
    pub const fn get(&self, flow: u32) -> Option<u32> {
        match self.0[(flow & (FLOWS - 1)) as usize] {
            0 => None,
            slot => Some((slot as u32 - 1) & SLOT_MASK),
        }
    }
}

/// How much each flow of an SVC has sent, in bytes of ESP packets. Map `FLOWS`, by [`Svc::index`], for SVCs whose flows are told apart:
/// `bundle_tx` writes, the controller reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows(pub [u64; FLOWS as usize]);

/// One IVC as the sender sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ivc {
    /// The local link's address, in wire order.
    pub local: u32,
    /// The remote link's address, in wire order.
    pub remote: u32,
    /// The local link's interface index.
    pub ifindex: u32,
    /// Whose Ethernet address packets are sent to: the link's next hop, or the remote address where it has none, in wire order.
    pub next_hop: u32,
    /// The slot of this IVC in the map `IVC_COUNTERS`.
    pub counters: u32,
    /// The longest IP packet that crosses whole, in bytes; 0 while the IVC may carry nothing, as in
    /// slots that are not in use.
    pub mtu: u32,
    /// What a packet costs on the link beneath IP, in bytes.
    pub overhead: u32,
    /// Always 0, so that there is no gap before what follows.
    pub unused: u32,
    /// The time to send a byte, in 1/1024 nanoseconds.
    pub byte_time: u64,
    /// The link's rate, in bytes per 2^20 nanoseconds.
    pub rate: u64,
    /// The one-way latency of the empty link, in nanoseconds; of one SVC's IVCs, only the differences matter.
    pub latency_ns: u64,
    /// What is to be added to the virtual clock so that it tells when the link will be free, in nanoseconds; may be negative, in
    /// two's complement.
    pub shift_ns: u64,
    /// As [`Self::byte_time`], but steady: by it flows that stay on an IVC are shared out.
    pub share: u64,
    /// How long packets of flows that have the IVC for themselves may be queued, in nanoseconds.
    pub alone_ns: u64,
    /// How long the link's own queue may become, in nanoseconds; 0 while it has not been seen to overflow.
    pub most_ns: u64,
    /// The time between the departures of two bytes, in 1/1024 nanoseconds; 0 where pieces leave as soon as they are ready, because the link
    /// has no queue that would hold them until then, or because it is not known what the link carries.
    pub spacing: u64,
}

impl Svc {
    /// States an SVC.
    #[must_use]
    pub fn new(
        local: u32,
        index: u32,
        split: Split,
        horizon_ns: u64,
        ivcs: [Ivc; MAX_IVCS],
    ) -> Self {
        let used = (1..).zip(&ivcs).filter(|(_, ivc)| ivc.mtu > 0);
        let slots = used.map(|(count, _)| count).max().unwrap_or(0);
        let mut svc = Self {
            local,
            index,
            split: split.code(),
            slots,
            room: 0,
            early: 0,
            policies: Policies::default(),
            expansion: 0,
            near: 0,
            far_room: 0,
            bonded: 0,
            tells_flows: 0,
            horizon_ns,
            calm_ns: horizon_ns,
            brief_ns: BRIEF_NS,
            until_ns: u64::MAX,
            ivcs,
            ways: Ways::default(),
        };
        svc.bond(|_| true);
        svc
    }

    /// States which IVCs are bonded, after these, their latencies or rates have changed. If none of those may carry anything, all are.
    pub fn bond(&mut self, is_bonded: impl Fn(&Ivc) -> bool) {
        let any = self.ivcs.iter().any(|ivc| ivc.mtu > 0 && is_bonded(ivc));
        let is_bonded = |ivc: &Ivc| !any || is_bonded(ivc);
        self.near = nearest(&self.ivcs);
        (self.bonded, self.room, self.far_room) = (0, 0, 0);
        for (slot, ivc) in (0..).zip(&self.ivcs) {
            if ivc.mtu == 0 || !is_bonded(ivc) {
                continue;
            }
            self.bonded |= 1 << slot;
            self.room = self.room.max(ivc.mtu);
            if slot != self.near {
                self.far_room = self.far_room.max(ivc.mtu);
            }
        }
    }

    /// The IVC that a flow goes by and leaves the bonded ones alone, if there is one for it that may carry anything.
    #[inline(always)]
    #[must_use]
    pub fn way(&self, flow: u32) -> Option<u32> {
        let slot = self.ways.get(flow)?;
        (self.ivcs[slot as usize].room() > 0).then_some(slot)
    }

    /// Tells whether the controller vouches for what is said of the IVCs.
    #[inline(always)]
    #[must_use]
    pub const fn is_steered(&self, now: u64) -> bool {
        now <= self.until_ns
    }

    /// Tells whether it matters what packets are taken for: not all of them are bulk that goes where it arrives first.
    #[inline(always)]
    #[must_use]
    pub const fn looks_at_labels(&self) -> bool {
        self.policies.0 != 0 || self.tells_flows != 0
    }

    /// Tells whether there is nothing to look at from `slot` on.
    #[inline(always)]
    #[must_use]
    pub fn ends_at(&self, slot: usize) -> bool {
        slot >= fresh(&self.slots) as usize
    }
}

/// The slot by which a packet of middling length arrives first if there are no queues; of those that may carry anything, if there are any.
fn nearest(ivcs: &[Ivc; MAX_IVCS]) -> u32 {
    let used = (0..).zip(ivcs).filter(|(_, ivc)| ivc.mtu > 0);
    let nearest = used.min_by_key(|(_, ivc)| ivc.latency_ns.saturating_add(cost(ivc, 500)));
    nearest.map_or(0, |(slot, _)| slot)
}

impl Ivc {
    /// Tells how long a packet crosses whole; 0 where the IVC may carry nothing.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> u32 {
        fresh(&self.mtu)
    }

    /// Tells whether the link's own queue may be `queue` nanoseconds long.
    #[inline(always)]
    #[must_use]
    pub const fn bears(&self, queue: u64) -> bool {
        self.most_ns == 0 || queue <= self.most_ns
    }

    /// Returns [`Self::byte_time`] and [`Self::rate`] for a rate in bits per second.
    ///
    /// Rates are clamped to 1 kbit/s to 1 Tbit/s, between which neither value degenerates.
    #[must_use]
    pub fn pace(bits_per_second: u64) -> (u64, u64) {
        let rate = bits_per_second.clamp(1_000, 1_000_000_000_000);
        let byte_time = 8 * 1_000_000_000 * 1024 / rate;
        let per_tick = u128::from(rate) * (1 << 20) / 8 / 1_000_000_000;
        (
            byte_time.max(1),
            u64::try_from(per_tick).unwrap_or(u64::MAX).max(1),
        )
    }
}

/// What the sender remembers of an SVC. Map `SVC_STATES`, by [`Svc::index`]: `bundle_tx` writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvcState {
    /// How many packets have been sent. The low 16 bits are the IPv4 identification of the next that goes whole.
    pub sequence: u64,
    /// How many packets have been split. The low 16 bits are the IPv4 identification of the next one's pieces: packets that go whole use up
    /// none, so the numbers last as long as they can. The bits above tell how often they have come around.
    pub split: u64,
    /// For each slot, when its last accepted byte will have left the link (`bpf_ktime_get_ns`).
    pub clocks: [u64; MAX_IVCS],
    /// When the last packet was sent that must not wait (`bpf_ktime_get_ns`).
    pub urgent: u64,
    /// For each slot, when the next piece may leave where departures are spaced out (`bpf_ktime_get_ns`).
    pub departures: [u64; MAX_IVCS],
}

impl SvcState {
    /// Tells at the time `now` whether packets are to be expected that must not wait.
    #[inline(always)]
    #[must_use]
    pub const fn is_urgent(urgent: u64, now: u64) -> bool {
        // Another CPU may have noted a later time.
        now.wrapping_sub(urgent).cast_signed() < URGENT_NS.cast_signed()
    }
}

/// What there is to know of a remote subnet at the private network. Map `SUBNETS`, by prefix: the controller writes, `lan_in` and
/// `lan_out` read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The largest MSS of connections with it; [`Self::ANY_MSS`] for any.
    pub mss: u32,
    /// The [`Svc::index`] of the tunnel, if there is a value for it in the map `CLASSES`, else [`Self::NO_CLASSES`].
    pub classes: u32,
}

impl Subnet {
    /// No MSS is too large.
    pub const ANY_MSS: u32 = 0xffff;
    /// Nothing is to be found out of packets to it.
    pub const NO_CLASSES: u32 = u32::MAX;
}

/// An address pair as an arriving piece carries it, in wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IvcKey {
    /// The remote link's address.
    pub source: u32,
    /// The local link's address.
    pub destination: u32,
}

/// One IVC as the receiver sees it. Map `IVCS`, by [`IvcKey`]: the controller writes, `link_rx` reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IvcRx {
    /// The remote endpoint's address, in wire order: the source that XFRM will see.
    pub source: u32,
    /// The local endpoint's address, in wire order.
    pub destination: u32,
    /// The slot of this IVC in the map `IVC_COUNTERS`.
    pub counters: u32,
    /// The slot of this IVC among those of its SVC, below [`MAX_IVCS`].
    pub slot: u32,
}

impl IvcRx {
    /// Its slot among those of its SVC, whatever the map holds.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> usize {
        (self.slot & SLOT_MASK) as usize
    }

    /// The time to live that an ESP packet has at its destination: it tells by which IVC the packet, or its first piece, came.
    #[inline(always)]
    #[must_use]
    pub const fn mark(&self) -> u8 {
        (self.slot & SLOT_MASK) as u8 + 1
    }

    /// The slot that such a time to live tells.
    #[must_use]
    pub const fn marked(ttl: u8) -> usize {
        ttl.wrapping_sub(1) as usize % MAX_IVCS
    }
}

/// What crossed an IVC. Map `IVC_COUNTERS`, per CPU: the programs write, the controller reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IvcCounters {
    /// Sent.
    pub tx: Traffic,
    /// Received.
    pub rx: Traffic,
}

/// Traffic in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// ESP packets whose first byte went this way.
    pub packets: u64,
    /// Pieces: whole packets and fragments.
    pub pieces: u64,
    /// Bytes of those pieces, IP headers included, link headers not.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one piece.
    #[inline(always)]
    pub fn add(&mut self, bytes: u16, first: bool) {
        self.packets = self.packets.wrapping_add(u64::from(first));
        self.pieces = self.pieces.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(u64::from(bytes));
    }
}

#[cfg(feature = "user")]
mod pod {
    use super::{Flows, IvcCounters, IvcKey, IvcRx, Subnet, Svc, SvcState};
    use crate::classes::Classes;

    // SAFETY: `repr(C)` structures of integers in which every byte is a field's, so that any bits are valid.
    unsafe impl aya::Pod for Svc {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SvcState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Flows {}
    // SAFETY: as above.
    unsafe impl aya::Pod for IvcKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for IvcRx {}
    // SAFETY: as above.
    unsafe impl aya::Pod for IvcCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Subnet {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Classes {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_no_hidden_padding() {
        assert_eq!(SLOT_MASK as usize, MAX_IVCS - 1);
        assert_eq!(size_of::<Ivc>(), 8 * 4 + 8 * 8);
        let ivcs = MAX_IVCS * size_of::<Ivc>();
        assert_eq!(size_of::<Svc>(), 12 * 4 + 4 * 8 + ivcs + 256);
        assert_eq!(size_of::<SvcState>(), 8 * (3 + 2 * MAX_IVCS));
        assert_eq!(size_of::<Subnet>(), 8);
        assert_eq!(size_of::<IvcRx>(), 16);
        assert_eq!(size_of::<IvcCounters>(), 48);
    }

    #[test]
    fn slots_and_room_follow_from_the_usable_ivcs() {
        let found = |used: &[(usize, u32)]| {
            let mut ivcs = [Ivc::default(); MAX_IVCS];
            for (slot, mtu) in used {
                ivcs[*slot].mtu = *mtu;
            }
            ivcs[0].latency_ns = 1;
            let svc = Svc::new(1, 0, Split::Mtu, 0, ivcs);
            (svc.slots, svc.room, svc.near, svc.far_room)
        };
        assert_eq!(found(&[]), (0, 0, 0, 0));
        assert_eq!(found(&[(0, 1492), (2, 1500)]), (3, 1500, 2, 1492));
        assert_eq!(found(&[(MAX_IVCS - 1, 1280)]), (16, 1280, 15, 0));
    }

    #[test]
    fn a_flow_goes_its_own_way_only_where_it_leads_somewhere() {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        (ivcs[0].mtu, ivcs[0].counters) = (1400, 7);
        (ivcs[15].mtu, ivcs[15].counters) = (1500, 8);
        let mut svc = Svc::new(1, 0, Split::Mtu, 0, ivcs);
        assert_eq!((svc.bonded, svc.room), (1 | 1 << 15, 1500));
        svc.bond(|ivc| ivc.counters == 7);
        assert_eq!((svc.bonded, svc.room, svc.far_room), (1, 1400, 0));
        let mut left = svc;
        left.ivcs[0].mtu = 0;
        left.bond(|ivc| ivc.counters == 7);
        assert_eq!((left.bonded, left.room), (1 << 15, 1500));
        svc.ways.set(255, 15);
        svc.ways.set(3, 1);
        let ways = [0, 3, 255, 256 + 255].map(|flow| svc.way(flow));
        assert_eq!(ways, [None, None, Some(15), Some(15)]);
    }

    #[test]
    fn pace_of_known_rates() {
        assert_eq!(Ivc::pace(1_000_000_000), (8 * 1024, 131_072));
        assert_eq!(Ivc::pace(8_000_000), (1_024_000, 1_048));
        assert_eq!(Ivc::pace(0), Ivc::pace(1_000));
        assert_eq!(Ivc::pace(u64::MAX), Ivc::pace(1_000_000_000_000));
    }
}
