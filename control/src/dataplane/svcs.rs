//! The map of SVCs: what they are is stated by one thread, how they are steered by another.

use std::{
    collections::BTreeMap,
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::maps::{HashMap, MapData};
use withy_common::maps::{Endpoint, Svc};

use super::{DataplaneError, tables::converge, wire};
use crate::bundle::Steering;

const MAP: &str = "SVCS";

/// The map, shared by both.
#[derive(Clone)]
pub struct Svcs(Arc<Mutex<Inner>>);

struct Inner {
    map: HashMap<MapData, Endpoint, Svc>,
    stated: BTreeMap<Endpoint, Svc>,
    steered: BTreeMap<Endpoint, Steering>,
}

impl fmt::Debug for Svcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Svcs")
    }
}

impl Svcs {
    pub(super) fn new(map: HashMap<MapData, Endpoint, Svc>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            map,
            stated: BTreeMap::new(),
            steered: BTreeMap::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the map hold exactly `wanted`, steered as before, writing only what differs.
    pub(super) fn state(&self, wanted: &[(Ipv4Addr, Svc)]) -> Result<(), DataplaneError> {
        let mut inner = self.inner();
        let wanted = wanted.iter().map(|(address, svc)| (wire(*address), *svc));
        inner.stated = wanted.collect();
        let Inner {
            map,
            stated,
            steered,
        } = &mut *inner;
        steered.retain(|endpoint, _| stated.contains_key(endpoint));
        let wanted = stated.iter().map(|(endpoint, svc)| {
            let steering = steered.get(endpoint);
            (
                *endpoint,
                steering.map_or(*svc, |steering| steering.steer(*svc)),
            )
        });
        converge(MAP, map, &wanted.collect::<Vec<_>>())
    }

    /// Returns what an SVC was stated to be.
    #[must_use]
    pub fn stated(&self, endpoint: Ipv4Addr) -> Option<Svc> {
        self.inner().stated.get(&wire(endpoint)).copied()
    }

    /// Steers an SVC otherwise from now on; nothing happens if there is none.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does.
    pub fn steer(&self, endpoint: Ipv4Addr, steering: Steering) -> Result<(), DataplaneError> {
        let mut inner = self.inner();
        let endpoint = wire(endpoint);
        let Some(svc) = inner.stated.get(&endpoint) else {
            return Ok(());
        };
        let svc = steering.steer(*svc);
        inner.steered.insert(endpoint, steering);
        let written = inner.map.insert(endpoint, svc, 0);
        written.map_err(|source| DataplaneError::Map { map: MAP, source })
    }

    /// Reads what every SVC in the map is, by remote endpoint.
    pub(super) fn all(&self) -> Result<Vec<(Ipv4Addr, Svc)>, DataplaneError> {
        let entry = |(key, svc): (Endpoint, Svc)| (Ipv4Addr::from(key.to_ne_bytes()), svc);
        self.inner()
            .map
            .iter()
            .map(|found| found.map(entry))
            .collect::<Result<_, _>>()
            .map_err(|source| DataplaneError::Map { map: MAP, source })
    }
}
