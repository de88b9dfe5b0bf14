//! What the flows of SVCs have sent, where that is to be known.

use std::collections::BTreeSet;

use aya::maps::{HashMap, MapData, MapError};
use withy_common::maps::Flows;

use super::DataplaneError;

pub(super) const MAP: &str = "FLOWS";

/// The map, in which there is an entry for each SVC whose flows are told apart.
pub(super) struct FlowCounters {
    map: HashMap<MapData, u32, Flows>,
    counted: BTreeSet<u32>,
}

impl FlowCounters {
    pub(super) const fn new(map: HashMap<MapData, u32, Flows>) -> Self {
        let counted = BTreeSet::new();
        Self { map, counted }
    }

    /// Begins to count for an SVC, by its index, or ends.
    pub(super) fn count(&mut self, index: u32, counts: bool) -> Result<(), DataplaneError> {
        if counts == self.counted.contains(&index) {
            return Ok(());
        }
        if counts {
            let none = Flows([0; _]);
            self.map.insert(index, none, 0).map_err(failed)?;
            self.counted.insert(index);
            return Ok(());
        }
        self.counted.remove(&index);
        match self.map.remove(&index) {
            Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Ends to count for all but some SVCs.
    pub(super) fn retain(&mut self, stays: impl Fn(u32) -> bool) -> Result<(), DataplaneError> {
        let gone: Vec<_> = self
            .counted
            .iter()
            .copied()
            .filter(|index| !stays(*index))
            .collect();
        gone.into_iter()
            .try_for_each(|index| self.count(index, false))
    }

    /// What the flows of an SVC have sent; nothing where that is not counted.
    pub(super) fn of(&self, index: u32) -> Option<Flows> {
        self.counted.get(&index)?;
        self.map.get(&index, 0).ok()
    }
}

fn failed(source: MapError) -> DataplaneError {
    DataplaneError::Map { map: MAP, source }
}
