//! The map of SVCs: what they are is stated by one thread, how they are steered by another.

use std::{
    collections::BTreeMap,
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aya::maps::{HashMap, MapData, MapError};
use withy_common::maps::{Endpoint, Flows, Ivc, MAX_IVCS, Split, Svc};

use super::{
    DataplaneError,
    begun::{Begun, taken_over},
    flows::FlowCounters,
    tables::converge,
    wire,
};
use crate::bundle::{Steering, keep_shares};

const MAP: &str = "SVCS";

/// The endpoint of filler: what is sent there takes the way of an SVC that is chosen. No tunnel has an endpoint in 0.0.0.0/8.
pub const FILLER_ENDPOINT: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 87);

/// The map, shared by both.
#[derive(Clone)]
pub struct Svcs(Arc<Mutex<Inner>>);

struct Inner {
    map: HashMap<MapData, Endpoint, Svc>,
    flows: FlowCounters,
    stated: BTreeMap<Endpoint, Arc<Svc>>,
    steered: BTreeMap<Endpoint, Steering>,
    /// What is in the map, as far as it has been written since all was stated.
    written: BTreeMap<Endpoint, Box<Svc>>,
    begun: Begun,
    /// The SVC whose way filler takes, and the slots of the counters of those of its IVCs that it is to take if not all.
    filled: Option<(Endpoint, Option<Vec<u32>>)>,
}

impl Inner {
    /// An SVC as it is steered.
    fn steered(&self, endpoint: Endpoint) -> Option<Svc> {
        let svc = self.stated.get(&endpoint)?;
        let steering = self.steered.get(&endpoint);
        let svc = self.begun.shifted(endpoint, **svc);
        let mut svc = steering.map_or(svc, |steering| steering.steer(svc));
        // Flows are shared out as before, be it by an earlier run.
        let written = self.written.get(&endpoint).map(|svc| **svc);
        if let Some(before) = written.or_else(|| self.map.get(&endpoint, 0).ok()) {
            keep_shares(&mut svc, &before);
        }
        Some(svc)
    }

    /// The way of filler.
    fn filler(&self) -> Option<Svc> {
        let (endpoint, only) = self.filled.as_ref()?;
        Some(filler(&self.steered(*endpoint)?, only.as_deref()))
    }

    fn write(&mut self, endpoint: Endpoint, svc: &Svc) -> Result<(), DataplaneError> {
        let written = self.map.insert(endpoint, svc, 0);
        written.map_err(|source| DataplaneError::Map { map: MAP, source })
    }

    /// Writes the way of filler, if there is one.
    fn write_filler(&mut self) -> Result<(), DataplaneError> {
        match self.filler() {
            Some(svc) => self.write(wire(FILLER_ENDPOINT), &svc),
            None => Ok(()),
        }
    }
}

/// The way of filler beside that of an SVC's data: the same clocks and counters, but nothing is split, and nothing dropped early.
fn filler(svc: &Svc, only: Option<&[u32]>) -> Svc {
    let mut ivcs = svc.ivcs;
    for ivc in &mut ivcs {
        if svc.until_ns == 0 {
            // Nobody has vouched for rates yet, and so none is paced.
            ivc.spacing = 0;
        }
        match only {
            Some(only) if only.contains(&ivc.counters) => {
                // It does not matter by which of them anything comes sooner.
                ivc.latency_ns = 0;
            }
            Some(_) => ivc.mtu = 0,
            None => {}
        }
    }
    Svc {
        calm_ns: svc.calm_ns,
        ..Svc::new(svc.local, svc.index, Split::Mtu, svc.horizon_ns, ivcs)
    }
}

impl fmt::Debug for Svcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Svcs")
    }
}

impl Svcs {
    pub(super) fn new(map: HashMap<MapData, Endpoint, Svc>, flows: FlowCounters) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            map,
            flows,
            stated: BTreeMap::new(),
            steered: BTreeMap::new(),
            written: BTreeMap::new(),
            begun: Begun::default(),
            filled: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the map hold exactly `wanted`, steered as before, writing only what differs.
    /// `clocks` are the virtual clocks of an SVC, by its index, as they stand `now` by the same clock.
    pub(super) fn state(
        &self,
        wanted: &[(Ipv4Addr, Svc)],
        clocks: impl Fn(u32) -> Option<[u64; MAX_IVCS]>,
        now: u64,
    ) -> Result<(), DataplaneError> {
        let mut inner = self.inner();
        let Inner {
            stated,
            steered,
            flows,
            begun,
            ..
        } = &mut *inner;
        let wanted = wanted
            .iter()
            .map(|(address, svc)| (wire(*address), Arc::new(*svc)));
        let before = std::mem::replace(stated, wanted.collect());
        steered.retain(|endpoint, _| stated.contains_key(endpoint));
        begun.retain(stated);
        for (endpoint, svc) in stated.iter() {
            let mut known = None;
            for slot in taken_over(before.get(endpoint).map(|before| &**before), svc) {
                let counters = svc.ivcs[slot].counters;
                let clocks = known.get_or_insert_with(|| clocks(svc.index).unwrap_or_default());
                begun.begin(*endpoint, counters, now.wrapping_sub(clocks[slot]));
                if let Some(steering) = steered.get_mut(endpoint) {
                    steering.forget(counters);
                }
            }
        }
        let counts = |index| stated.values().any(|svc| svc.index == index);
        flows.retain(counts)?;
        let endpoints = inner.stated.keys();
        let wanted = endpoints.filter_map(|endpoint| Some((*endpoint, inner.steered(*endpoint)?)));
        let filler = inner.filler().map(|svc| (wire(FILLER_ENDPOINT), svc));
        let wanted: Vec<_> = wanted.chain(filler).collect();
        // From here on, also if it ends halfway, the map tells what is in it.
        inner.written.clear();
        converge(MAP, &mut inner.map, &wanted)
    }

    /// Has filler take the way of an SVC, or some of its IVCs alike, by the slots of their counters; or no way any more.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does: the map may be full.
    pub fn fill(&self, target: Option<(Ipv4Addr, Option<Vec<u32>>)>) -> Result<(), DataplaneError> {
        let mut inner = self.inner();
        inner.filled = target.map(|(endpoint, only)| (wire(endpoint), only));
        if inner.filled.is_some() {
            return inner.write_filler();
        }
        match inner.map.remove(&wire(FILLER_ENDPOINT)) {
            Err(error) if !matches!(error, MapError::KeyNotFound) => Err(DataplaneError::Map {
                map: MAP,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the way that filler takes, if it takes any.
    #[must_use]
    pub fn filled(&self) -> Option<Svc> {
        self.inner().filler()
    }

    /// Returns what an SVC was stated to be.
    #[must_use]
    pub fn stated(&self, endpoint: Ipv4Addr) -> Option<Arc<Svc>> {
        self.inner().stated.get(&wire(endpoint)).cloned()
    }

    /// Returns what the flows of an SVC have sent, if that is counted.
    #[must_use]
    pub fn flows(&self, endpoint: Ipv4Addr) -> Option<Flows> {
        let inner = self.inner();
        let svc = inner.stated.get(&wire(endpoint))?;
        inner.flows.of(svc.index)
    }

    /// Whether pieces leave by an IVC of an SVC at a rate.
    #[must_use]
    pub fn is_paced(&self, endpoint: Ipv4Addr, stated: &Ivc, now: Duration) -> bool {
        let inner = self.inner();
        let steering = inner.steered.get(&wire(endpoint));
        steering.is_some_and(|steering| steering.is_paced(stated, now))
    }

    /// Steers an SVC otherwise from now on; nothing happens if there is none.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does.
    pub fn steer(&self, endpoint: Ipv4Addr, steering: Steering) -> Result<(), DataplaneError> {
        let mut inner = self.inner();
        let endpoint = wire(endpoint);
        if !inner.stated.contains_key(&endpoint) {
            return Ok(());
        }
        inner.steered.insert(endpoint, steering);
        if let Some(svc) = inner.steered(endpoint) {
            inner.flows.count(svc.index, svc.tells_flows > 0)?;
            inner.write(endpoint, &svc)?;
            inner.written.insert(endpoint, Box::new(svc));
        }
        match &inner.filled {
            Some((filled, _)) if *filled == endpoint => inner.write_filler(),
            _ => Ok(()),
        }
    }

    /// Reads what every SVC in the map is, by remote endpoint; without the way of filler.
    pub(super) fn all(&self) -> Result<Vec<(Ipv4Addr, Svc)>, DataplaneError> {
        let entry = |(key, svc): (Endpoint, Svc)| (Ipv4Addr::from(key.to_ne_bytes()), svc);
        let is_filler = |key: &Endpoint| *key == wire(FILLER_ENDPOINT);
        self.inner()
            .map
            .iter()
            .filter(|found| !found.as_ref().is_ok_and(|(key, _)| is_filler(key)))
            .map(|found| found.map(entry))
            .collect::<Result<_, _>>()
            .map_err(|source| DataplaneError::Map { map: MAP, source })
    }
}

#[cfg(test)]
mod tests {
    use withy_common::maps::MAX_IVCS;

    use super::*;

    #[test]
    fn filler_takes_the_way_of_data_or_one_ivc_of_it() {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (counters, ivc) in (70..).zip(ivcs.iter_mut().take(3)) {
            (ivc.mtu, ivc.counters, ivc.latency_ns) = (1500, counters, 8);
        }
        let mut svc = Svc::new(1, 5, Split::Always, 99, ivcs);
        (svc.early, svc.calm_ns) = (7, 44);
        let all = filler(&svc, None);
        assert_eq!((all.ivcs, all.horizon_ns, all.index), (ivcs, 99, 5));
        assert_eq!((all.early, all.split), (0, Split::Mtu.code()));
        assert_eq!(all.calm_ns, 44);
        let one = filler(&svc, Some(&[71]));
        let usable = one.ivcs.iter().filter(|ivc| ivc.mtu > 0);
        let usable: Vec<_> = usable.map(|ivc| ivc.counters).collect();
        assert_eq!((usable, one.slots, one.room), (vec![71], 2, 1500));
        assert_eq!((all.ivcs[1].latency_ns, one.ivcs[1].latency_ns), (8, 0));
        assert_eq!(filler(&svc, Some(&[80])).room, 0);
        assert_eq!(filler(&svc, Some(&[70, 72])).bonded, 5);
        let spacing = |svc: &Svc| filler(svc, None).ivcs[0].spacing;
        svc.ivcs[0].spacing = 9;
        assert_eq!(spacing(&svc), 9);
        svc.until_ns = 0;
        assert_eq!(spacing(&svc), 0);
    }
}
