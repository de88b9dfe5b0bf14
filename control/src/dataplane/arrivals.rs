//! How much has arrived on each IVC, as another thread than the tables' sees it.

use std::fmt;

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray},
};
use withy_common::maps::IvcCounters;

use super::DataplaneError;

const MAP: &str = "IVC_COUNTERS";

/// The counters of the IVCs, to be read only.
pub struct Arrivals(PerCpuArray<MapData, IvcCounters>);

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrivals")
    }
}

impl Arrivals {
    /// Opens the counters of programs that are loaded once more.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, DataplaneError> {
        let failed = |source| DataplaneError::Map { map: MAP, source };
        let Some(Map::PerCpuArray(counters)) = ebpf.map(MAP) else {
            return Err(DataplaneError::Missing(MAP));
        };
        let id = counters.info().map_err(failed)?.id();
        let again = MapData::from_id(id).map_err(failed)?;
        let counters = PerCpuArray::try_from(Map::PerCpuArray(again)).map_err(failed)?;
        Ok(Self(counters))
    }

    /// How many pieces have arrived on the IVC in slot `index`; none if the map does not tell.
    #[must_use]
    pub fn pieces(&self, index: u32) -> Option<u64> {
        let values = self.0.get(&index, 0).ok()?;
        Some(values.iter().map(|cpu| cpu.rx.pieces).sum())
    }
}
