//! What the data plane says of tunnels and their IVCs, read no more often than there is need.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use withy_common::maps::{Ivc, IvcCounters, MAX_IVCS, Svc, SvcState, Traffic};

use super::Plan;
use crate::{
    bundle::IvcId,
    dataplane::{Meters, Svcs, wire},
    estimate::Present,
};

/// What is known of an IVC at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What has been sent on it by then.
    pub(super) present: Present,
    /// What each piece costs beneath IP, in bytes.
    pub(super) overhead: u64,
    /// What has come by it.
    pub(super) rx: Traffic,
}

/// The bytes of data with what its pieces cost beneath IP.
pub(super) const fn volume(bytes: u64, pieces: u64, overhead: u64) -> u64 {
    bytes.saturating_add(pieces.saturating_mul(overhead))
}

/// A tunnel's SVC, as it was stated and as it stands.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) svc: Arc<Svc>,
    /// None if the map does not tell.
    pub(super) state: Option<SvcState>,
    /// By the places of the IVCs in the SVC.
    ivcs: [Option<Seen>; MAX_IVCS],
}

impl Reading {
    /// The place of an IVC in the SVC, if it is one of its.
    pub(super) fn place(&self, plan: &Plan, id: &IvcId) -> Option<usize> {
        place(plan, &self.svc, id)
    }

    /// What is known of an IVC, if it is one of the SVC's.
    pub(super) fn seen(&self, plan: &Plan, id: &IvcId) -> Option<Seen> {
        self.ivcs[self.place(plan, id)?]
    }

    /// The same for what may carry something.
    pub(super) fn usable(&self, plan: &Plan, id: &IvcId) -> Option<Seen> {
        let place = self.place(plan, id)?;
        (self.svc.ivcs[place].mtu > 0)
            .then(|| self.ivcs[place])
            .flatten()
    }

    /// How much longer than they are to be packets may be queued: as the configuration says.
    pub(super) fn burst(&self) -> Duration {
        let used = self.svc.ivcs.iter().filter(|ivc| ivc.mtu > 0);
        let slowest = used.map(|ivc| ivc.latency_ns).max().unwrap_or_default();
        Duration::from_nanos(self.svc.horizon_ns.saturating_sub(slowest))
    }
}

/// The readings of a gateway's tunnels, by their remote endpoints.
#[derive(Debug)]
pub(super) struct Readings {
    meters: Arc<Meters>,
    svcs: Svcs,
    read: BTreeMap<Ipv4Addr, Reading>,
}

impl Readings {
    pub(super) const fn new(meters: Arc<Meters>, svcs: Svcs) -> Self {
        Self {
            meters,
            svcs,
            read: BTreeMap::new(),
        }
    }

    /// Whatever has been read is old.
    pub(super) fn forget(&mut self) {
        self.read.clear();
    }

    /// What the data plane says of a tunnel, read `now` as far as it has not been of late; none if there is no such tunnel.
    pub(super) fn of(&mut self, endpoint: Ipv4Addr, now: Duration) -> Option<&Reading> {
        let is_missing = |reading: &Reading, place: usize| {
            reading.svc.ivcs[place].remote != 0 && reading.ivcs[place].is_none()
        };
        self.read(endpoint, now, is_missing)
    }

    /// What has been sent on an IVC by `now`, whatever was read before.
    pub(super) fn anew(&mut self, plan: &Plan, id: &IvcId, now: Duration) -> Option<Seen> {
        let svc = &known(&mut self.read, &self.svcs, id.0)?.svc;
        let wanted = place(plan, svc, id)?;
        self.read(id.0, now, |_, place| place == wanted)?.ivcs[wanted]
    }

    /// Reads what is wanted of the IVCs of a tunnel, together with how its SVC stands: clocks and counters tell something only together.
    fn read(
        &mut self,
        endpoint: Ipv4Addr,
        now: Duration,
        is_wanted: impl Fn(&Reading, usize) -> bool,
    ) -> Option<&Reading> {
        let Self { meters, svcs, read } = self;
        let reading = known(read, svcs, endpoint)?;
        let places = 0..MAX_IVCS;
        let wanted: Vec<_> = places.filter(|place| is_wanted(reading, *place)).collect();
        if reading.state.is_none() || !wanted.is_empty() {
            reading.state = meters.state(reading.svc.index);
        }
        for place in wanted {
            let ivc = &reading.svc.ivcs[place];
            let is_paced = svcs.is_paced(endpoint, ivc, now);
            reading.ivcs[place] = reading.state.and_then(|state| {
                let counters = meters.counters(ivc.counters)?;
                Some(see(
                    ivc,
                    counters,
                    (
                        state.clocks[place],
                        is_paced.then_some(state.departures[place]),
                    ),
                    now,
                ))
            });
        }
        Some(reading)
    }
}

/// The reading of a tunnel, of which nothing may have been read yet; none if there is no such tunnel. Until it is forgotten the SVC is the same, whatever is
/// stated meanwhile: places are its own.
fn known<'r>(
    read: &'r mut BTreeMap<Ipv4Addr, Reading>,
    svcs: &Svcs,
    endpoint: Ipv4Addr,
) -> Option<&'r mut Reading> {
    Some(match read.entry(endpoint) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => unknown.insert(Reading {
            svc: svcs.stated(endpoint)?,
            state: None,
            ivcs: [None; MAX_IVCS],
        }),
    })
}

/// What is known of an IVC `now`, by its counters, its virtual clock and, where pieces leave at a rate, when the last of them does.
fn see(
    ivc: &Ivc,
    counters: IvcCounters,
    (clock, departure): (u64, Option<u64>),
    now: Duration,
) -> Seen {
    let IvcCounters { tx, rx } = counters;
    let overhead = u64::from(ivc.overhead);
    let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    Seen {
        present: Present {
            at: now,
            bytes: volume(tx.bytes, tx.pieces, overhead),
            ahead: clock.wrapping_sub(nanoseconds).cast_signed(),
            // Behind those that have been counted.
            leaves: departure.map_or(now, |departure| now.max(Duration::from_nanos(departure))),
        },
        overhead,
        rx,
    }
}

/// The place of an IVC among those of its SVC.
fn place(plan: &Plan, svc: &Svc, id: &IvcId) -> Option<usize> {
    let slot = plan.slots.get(id)?;
    let is = |ivc: &Ivc| ivc.counters == *slot && ivc.remote == wire(id.2);
    svc.ivcs.iter().position(is)
}
