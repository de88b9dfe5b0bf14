//! Which slots of the maps belong to which SVC and IVC.
//!
//! A slot must keep its owner while the owner lives: the sequence number of an SVC and the counters of
//! an IVC are in it. After a restart the owners are read back from the pinned maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use withy_common::maps::{IvcKey, IvcRx, Svc};

use crate::config::LinkName;

/// What an IVC is known by while its link's address may change: its tunnel's remote endpoint, its
/// link and the remote link's address.
pub type IvcId = (Ipv4Addr, LinkName, Ipv4Addr);

/// The owners of slots.
#[derive(Debug, Default)]
pub struct Slots {
    svcs: BTreeMap<Ipv4Addr, u32>,
    ivcs: BTreeMap<IvcId, u32>,
    /// IVCs of an earlier run, by the pair of addresses: which links they were, the maps do not say.
    found: BTreeMap<(Ipv4Addr, Ipv4Addr), u32>,
}

impl Slots {
    /// Takes over what an earlier run left in the maps.
    #[must_use]
    pub fn adopt(svcs: &[(Ipv4Addr, Svc)], ivcs: &[(IvcKey, IvcRx)]) -> Self {
        let address = |wire: u32| Ipv4Addr::from(wire.to_ne_bytes());
        Self {
            svcs: svcs
                .iter()
                .map(|(endpoint, svc)| (*endpoint, svc.index))
                .collect(),
            ivcs: BTreeMap::new(),
            found: ivcs
                .iter()
                .map(|(key, ivc)| {
                    (
                        (address(key.destination), address(key.source)),
                        ivc.counters,
                    )
                })
                .collect(),
        }
    }

    /// Frees the slots of owners that `svc` and `known` do not know.
    pub fn retain(&mut self, svc: impl Fn(Ipv4Addr) -> bool, known: impl Fn(&IvcId) -> bool) {
        self.svcs.retain(|endpoint, _| svc(*endpoint));
        self.ivcs.retain(|id, _| known(id));
    }

    /// Forgets what an earlier run left and nobody has claimed.
    pub fn forget_found(&mut self) {
        self.found.clear();
    }

    /// Returns the slot of an SVC, if it has one.
    #[must_use]
    pub fn svc_of(&self, endpoint: Ipv4Addr) -> Option<u32> {
        self.svcs.get(&endpoint).copied()
    }

    /// Returns the slot of an IVC, if it has one.
    #[must_use]
    pub fn ivc_of(&self, id: &IvcId) -> Option<u32> {
        self.ivcs.get(id).copied()
    }

    /// Returns the IVC that owns each counters' slot.
    #[must_use]
    pub fn owners(&self) -> BTreeMap<u32, IvcId> {
        let ivcs = self.ivcs.iter();
        ivcs.map(|(id, slot)| (*slot, id.clone())).collect()
    }

    /// Returns the slot of an SVC, a free one below `limit` if it has none yet.
    pub fn svc(&mut self, endpoint: Ipv4Addr, limit: u32) -> Option<u32> {
        if let Some(slot) = self.svcs.get(&endpoint) {
            return Some(*slot);
        }
        let slot = free(&self.svcs.values().copied().collect(), limit)?;
        self.svcs.insert(endpoint, slot);
        Some(slot)
    }

    /// Returns the slot of an IVC whose link has the address `local` now, and whether it is a new
    /// owner's, so that its counters must be zeroed.
    pub fn ivc(&mut self, id: &IvcId, local: Option<Ipv4Addr>, limit: u32) -> Option<(u32, bool)> {
        if let Some(slot) = self.ivcs.get(id) {
            return Some((*slot, false));
        }
        let adopted = local.and_then(|local| self.found.remove(&(local, id.2)));
        let slot = match adopted.filter(|slot| *slot < limit) {
            Some(slot) => slot,
            None => free(
                &self
                    .ivcs
                    .values()
                    .chain(self.found.values())
                    .copied()
                    .collect(),
                limit,
            )?,
        };
        self.ivcs.insert(id.clone(), slot);
        Some((slot, adopted.is_none()))
    }
}

fn free(taken: &BTreeSet<u32>, limit: u32) -> Option<u32> {
    (0..limit).find(|slot| !taken.contains(slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::wire;

    fn endpoint(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 255, 0, last)
    }

    fn id(link: &str) -> IvcId {
        (
            endpoint(1),
            link.parse().unwrap(),
            Ipv4Addr::new(198, 51, 100, 1),
        )
    }

    #[test]
    fn owners_keep_their_slots_and_free_ones_are_taken_again() {
        let mut slots = Slots::default();
        assert_eq!(slots.svc(endpoint(1), 2), Some(0));
        assert_eq!(slots.svc(endpoint(2), 2), Some(1));
        assert_eq!(slots.svc(endpoint(3), 2), None);
        slots.retain(|svc| svc != endpoint(1), |_| true);
        assert_eq!(slots.svc(endpoint(3), 2), Some(0));
        assert_eq!(slots.svc(endpoint(2), 2), Some(1));
    }

    #[test]
    fn an_ivc_keeps_its_slot_while_its_address_changes() {
        let mut slots = Slots::default();
        let first = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(slots.ivc(&id("dsl"), first, 8), Some((0, true)));
        assert_eq!(slots.ivc(&id("lte"), None, 8), Some((1, true)));
        assert_eq!(
            slots.ivc(&id("dsl"), Some(Ipv4Addr::new(192, 0, 2, 77)), 8),
            Some((0, false))
        );
    }

    #[test]
    fn a_restart_finds_the_slots_again() {
        let local = Ipv4Addr::new(192, 0, 2, 1);
        let key = IvcKey {
            source: wire(id("dsl").2),
            destination: wire(local),
        };
        let ivc = IvcRx {
            source: 0,
            destination: 0,
            counters: 5,
            slot: 0,
        };
        let mut slots = Slots::adopt(&[], &[(key, ivc)]);
        assert_eq!(slots.ivc(&id("lte"), None, 8), Some((0, true)));
        assert_eq!(slots.ivc(&id("dsl"), Some(local), 8), Some((5, false)));
    }
}
