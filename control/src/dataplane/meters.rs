//! What has crossed the IVCs, and how far the scheduler has booked them, as another thread than the tables' sees it.

use std::fmt;

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuArray},
};
use withy_common::maps::{IvcCounters, SvcState, Traffic};

use super::DataplaneError;

const COUNTERS: &str = "IVC_COUNTERS";
const STATES: &str = "SVC_STATES";

/// The counters of the IVCs and the virtual clocks of the SVCs, to be read only.
pub struct Meters {
    counters: PerCpuArray<MapData, IvcCounters>,
    states: Array<MapData, SvcState>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    /// Opens the maps of programs that are loaded once more.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, DataplaneError> {
        let failed = |map| move |source| DataplaneError::Map { map, source };
        let Some(Map::PerCpuArray(counters)) = ebpf.map(COUNTERS) else {
            return Err(DataplaneError::Missing(COUNTERS));
        };
        let Some(Map::Array(states)) = ebpf.map(STATES) else {
            return Err(DataplaneError::Missing(STATES));
        };
        let again = |map: &MapData| MapData::from_id(map.info()?.id());
        let counters = again(counters).map_err(failed(COUNTERS))?;
        let states = again(states).map_err(failed(STATES))?;
        Ok(Self {
            counters: PerCpuArray::try_from(Map::PerCpuArray(counters))
                .map_err(failed(COUNTERS))?,
            states: Array::try_from(Map::Array(states)).map_err(failed(STATES))?,
        })
    }

    /// What has crossed the IVC in slot `index`; none if the map does not tell.
    #[must_use]
    pub fn counters(&self, index: u32) -> Option<IvcCounters> {
        let values = self.counters.get(&index, 0).ok()?;
        let add = |sum: Traffic, cpu: Traffic| Traffic {
            packets: sum.packets + cpu.packets,
            pieces: sum.pieces + cpu.pieces,
            bytes: sum.bytes + cpu.bytes,
        };
        let add = |sum: IvcCounters, cpu: &IvcCounters| IvcCounters {
            tx: add(sum.tx, cpu.tx),
            rx: add(sum.rx, cpu.rx),
        };
        Some(values.iter().fold(IvcCounters::default(), add))
    }

    /// The state of the SVC in slot `index`; none if the map does not tell.
    #[must_use]
    pub fn state(&self, index: u32) -> Option<SvcState> {
        self.states.get(&index, 0).ok()
    }
}
