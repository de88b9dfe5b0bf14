//! SVCs and IVCs as the benches state them.

use std::net::Ipv4Addr;

use withy::dataplane::wire;
use withy_common::maps::{Ivc, IvcKey, IvcRx, MAX_IVCS, Split, Svc};

/// The largest packet of a link.
pub(super) const LINK_MTU: u16 = 1500;
/// No virtual queue is ever too long.
const UNBOUNDED: u64 = u64::MAX / 2;

/// The two ends of anything.
pub(super) type Ends = (Ipv4Addr, Ipv4Addr);

/// How an IVC leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The link's interface index.
    pub(super) ifindex: u32,
    /// To whom packets are handed there.
    pub(super) next_hop: Ipv4Addr,
    /// Bits a second.
    pub(super) rate: u64,
}

/// An IVC of the sender, counted in slot `counters`.
pub(super) fn ivc((local, remote): Ends, way: Way, counters: u32) -> Ivc {
    let (byte_time, rate) = Ivc::pace(way.rate);
    Ivc {
        local: wire(local),
        remote: wire(remote),
        ifindex: way.ifindex,
        next_hop: wire(way.next_hop),
        counters,
        mtu: LINK_MTU.into(),
        overhead: 14,
        unused: 0,
        byte_time,
        rate,
        latency_ns: 10_000_000,
        shift_ns: 0,
        share: byte_time,
        alone_ns: 0,
        most_ns: 0,
        spacing: 0,
    }
}

/// An SVC whose local end is `local`.
pub(super) fn svc(local: Ipv4Addr, index: u32, split: Split, ivcs: &[Ivc]) -> Svc {
    let mut slots = [Ivc::default(); MAX_IVCS];
    for (slot, ivc) in slots.iter_mut().zip(ivcs) {
        *slot = *ivc;
    }
    Svc::new(wire(local), index, split, UNBOUNDED, slots)
}

/// An IVC of the receiver: what arrives between `from` goes on between `to`.
pub(super) fn arriving(from: Ends, to: Ends, counters: u32) -> (IvcKey, IvcRx) {
    let key = IvcKey {
        source: wire(from.0),
        destination: wire(from.1),
    };
    let value = IvcRx {
        source: wire(to.0),
        destination: wire(to.1),
        counters,
        slot: 0,
    };
    (key, value)
}
