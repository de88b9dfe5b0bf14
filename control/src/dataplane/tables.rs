//! The maps, typed.

use std::{fmt, hash::Hash, net::Ipv4Addr};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, lpm_trie::Key},
};
use ipnet::Ipv4Net;
use rustix::time::{ClockId, clock_gettime};
use withy_common::{
    classes::Classes,
    drops::DropReason,
    maps::{IvcCounters, IvcKey, IvcRx, Subnet, Svc, SvcState, Traffic},
};

use super::{
    DataplaneError, Keepalives, Limits, Meters, Svcs,
    flows::{self, FlowCounters},
    layout::Layout,
};

/// Drops since the maps were made, by reason.
pub type Drops = Vec<(&'static str, u64)>;

/// Returns an address as the maps hold it: in wire order.
#[must_use]
pub fn wire(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The layouts of all pinned maps.
pub(super) fn layouts(limits: Limits) -> [Layout; 8] {
    let layout = |name, entries, value| Layout {
        name,
        entries,
        value,
    };
    [
        layout("SVCS", limits.svcs, size_of::<Svc>()),
        layout("SVC_STATES", limits.svcs, size_of::<SvcState>()),
        layout("IVCS", limits.ivcs, size_of::<IvcRx>()),
        layout("IVC_COUNTERS", limits.ivcs, size_of::<IvcCounters>()),
        layout("DROPS", DropReason::COUNT, size_of::<u64>()),
        layout("SUBNETS", limits.svcs, size_of::<Subnet>()),
        layout("CLASSES", limits.svcs, size_of::<Classes>()),
        layout("CLASSIFIED", 1, size_of::<u32>()),
    ]
}

/// The maps that the controller reads and writes.
pub struct Tables {
    svcs: Svcs,
    states: Array<MapData, SvcState>,
    ivcs: HashMap<MapData, IvcKey, IvcRx>,
    counters: PerCpuArray<MapData, IvcCounters>,
    drops: PerCpuArray<MapData, u64>,
    subnets: LpmTrie<MapData, u32, Subnet>,
    classes: HashMap<MapData, u32, Classes>,
    classified: Array<MapData, u32>,
    keepalives: Option<(Keepalives, Meters)>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not all of aya's map types have a form to show.
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let meters = Meters::open(ebpf)?;
        Ok(Self {
            svcs: Svcs::new(
                take(ebpf, "SVCS")?,
                FlowCounters::new(take(ebpf, flows::MAP)?),
            ),
            states: take(ebpf, "SVC_STATES")?,
            ivcs: take(ebpf, "IVCS")?,
            counters: take(ebpf, "IVC_COUNTERS")?,
            drops: take(ebpf, "DROPS")?,
            subnets: take(ebpf, "SUBNETS")?,
            classes: take(ebpf, "CLASSES")?,
            classified: take(ebpf, "CLASSIFIED")?,
            keepalives: Some((Keepalives(take(ebpf, "KEEPALIVES")?), meters)),
        })
    }

    /// Takes the keepalives that come away from the other maps, to be read elsewhere, with what is needed to steer by them; once.
    pub fn take_keepalives(&mut self) -> Option<(Keepalives, Meters, Svcs)> {
        let (keepalives, meters) = self.keepalives.take()?;
        Some((keepalives, meters, self.svcs.clone()))
    }

    /// Makes the SVC map hold exactly `wanted`, steered as before, writing only what differs.
    ///
    /// # Errors
    ///
    /// Fails where the map is full.
    pub fn set_svcs(&mut self, wanted: &[(Ipv4Addr, Svc)]) -> Result<(), DataplaneError> {
        let now = clock_gettime(ClockId::Monotonic);
        let now = u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or_default();
        let clocks = |index| Some(self.states.get(&index, 0).ok()?.clocks);
        self.svcs.state(wanted, clocks, now)
    }

    /// Makes the map of arriving IVCs hold exactly `wanted`, writing only what differs.
    ///
    /// # Errors
    ///
    /// Fails where the map is full.
    pub fn set_ivcs(&mut self, wanted: &[(IvcKey, IvcRx)]) -> Result<(), DataplaneError> {
        converge("IVCS", &mut self.ivcs, wanted)
    }

    /// Makes the map of classes hold exactly `wanted`, by SVC, writing only what differs.
    ///
    /// # Errors
    ///
    /// Fails where the map is full.
    pub fn set_classes(&mut self, wanted: &[(u32, Classes)]) -> Result<(), DataplaneError> {
        converge("CLASSES", &mut self.classes, wanted)?;
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let written = self.classified.set(0, count, 0);
        written.map_err(|source| DataplaneError::Map {
            map: "CLASSIFIED",
            source,
        })
    }

    /// Makes the map of remote subnets hold exactly `wanted`.
    ///
    /// # Errors
    ///
    /// Fails where the map is full.
    pub fn set_subnets(&mut self, wanted: &[(Ipv4Net, Subnet)]) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::Map {
            map: "SUBNETS",
            source,
        };
        let key = |net: &Ipv4Net| Key::new(u32::from(net.prefix_len()), wire(net.network()));
        for (net, subnet) in wanted {
            self.subnets.insert(&key(net), *subnet, 0).map_err(failed)?;
        }
        let keys: Vec<_> = self
            .subnets
            .keys()
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for found in keys {
            let keep = wanted.iter().any(|(net, _)| {
                let key = key(net);
                key.prefix_len() == found.prefix_len() && key.data() == found.data()
            });
            if !keep {
                self.subnets.remove(&found).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Reads what every SVC in the map is, by remote endpoint.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does.
    pub fn svcs(&self) -> Result<Vec<(Ipv4Addr, Svc)>, DataplaneError> {
        self.svcs.all()
    }

    /// Reads what every arriving IVC in the map is.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does.
    pub fn ivcs(&self) -> Result<Vec<(IvcKey, IvcRx)>, DataplaneError> {
        self.ivcs
            .iter()
            .collect::<Result<_, _>>()
            .map_err(|source| DataplaneError::Map {
                map: "IVCS",
                source,
            })
    }

    /// Reads the state of the SVC in slot `index`.
    ///
    /// # Errors
    ///
    /// Fails where the index is beyond the map.
    pub fn state(&self, index: u32) -> Result<SvcState, DataplaneError> {
        self.states
            .get(&index, 0)
            .map_err(|source| DataplaneError::Map {
                map: "SVC_STATES",
                source,
            })
    }

    /// Reads the counters in slot `index`, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// Fails where the index is beyond the map.
    pub fn counters(&self, index: u32) -> Result<IvcCounters, DataplaneError> {
        let values = self
            .counters
            .get(&index, 0)
            .map_err(|source| DataplaneError::Map {
                map: "IVC_COUNTERS",
                source,
            })?;
        Ok(values
            .iter()
            .fold(IvcCounters::default(), |sum, cpu| IvcCounters {
                tx: add(sum.tx, cpu.tx),
                rx: add(sum.rx, cpu.rx),
            }))
    }

    /// Zeroes the counters in slot `index`, for a new IVC.
    ///
    /// # Errors
    ///
    /// Fails where the index is beyond the map.
    pub fn clear_counters(&mut self, index: u32) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::Map {
            map: "IVC_COUNTERS",
            source,
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = aya::maps::PerCpuValues::try_from(vec![IvcCounters::default(); cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        self.counters.set(index, zero, 0).map_err(failed)
    }

    /// Reads the drops, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// Fails where the kernel does.
    pub fn drops(&self) -> Result<Drops, DataplaneError> {
        DropReason::ALL
            .iter()
            .map(|(reason, label)| {
                let values = self.drops.get(&(*reason as u32), 0)?;
                Ok((*label, values.iter().sum()))
            })
            .collect::<Result<_, _>>()
            .map_err(|source| DataplaneError::Map {
                map: "DROPS",
                source,
            })
    }
}

fn add(left: Traffic, right: Traffic) -> Traffic {
    Traffic {
        packets: left.packets + right.packets,
        pieces: left.pieces + right.pieces,
        bytes: left.bytes + right.bytes,
    }
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, DataplaneError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(DataplaneError::Missing(name))?;
    T::try_from(map).map_err(|source| DataplaneError::Map { map: name, source })
}

/// Writes new and changed entries, then removes the others, so that nothing is missing in between.
pub(super) fn converge<K, V>(
    map: &'static str,
    table: &mut HashMap<MapData, K, V>,
    wanted: &[(K, V)],
) -> Result<(), DataplaneError>
where
    K: Pod + Eq + Hash,
    V: Pod + PartialEq,
{
    let failed = |source| DataplaneError::Map { map, source };
    let mut found: std::collections::HashMap<K, V> =
        table.iter().collect::<Result<_, _>>().map_err(failed)?;
    for (key, value) in wanted {
        if found.remove(key).as_ref() != Some(value) {
            table.insert(key, value, 0).map_err(failed)?;
        }
    }
    for key in found.keys() {
        table.remove(key).map_err(failed)?;
    }
    Ok(())
}
