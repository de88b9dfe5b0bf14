//! Which slots of the maps belong to which SVC and IVC.
//!
//! A slot must keep its owner while the owner lives: the sequence number of an SVC and the counters of
//! an IVC are in it. After a restart the owners are read back from the pinned maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use withy_common::maps::{IvcKey, IvcRx, MAX_IVCS, Svc};

use crate::config::LinkName;

/// What an IVC is known by while its link's address may change: its tunnel's remote endpoint, its
/// link and the remote link's address.
pub type IvcId = (Ipv4Addr, LinkName, Ipv4Addr);

/// What an IVC has in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The slot of its counters.
    pub counters: u32,
    /// Its slot among the IVCs of its SVC, below [`MAX_IVCS`]: what corrects the clock there is nothing for another's.
    pub place: usize,
}

/// The owners of slots.
#[derive(Debug, Default)]
pub struct Slots {
    svcs: BTreeMap<Ipv4Addr, u32>,
    ivcs: BTreeMap<IvcId, Seat>,
    /// IVCs of an earlier run, by the pair of addresses, with their tunnels' remote endpoints: which links they were, the maps do not say.
    found: BTreeMap<(Ipv4Addr, Ipv4Addr), (Ipv4Addr, Seat)>,
}

impl Slots {
    /// Takes over what an earlier run left in the maps.
    #[must_use]
    pub fn adopt(svcs: &[(Ipv4Addr, Svc)], ivcs: &[(IvcKey, IvcRx)]) -> Self {
        let address = |wire: u32| Ipv4Addr::from(wire.to_ne_bytes());
        let found = |(key, ivc): &(IvcKey, IvcRx)| {
            let seat = Seat {
                counters: ivc.counters,
                place: ivc.place(),
            };
            (
                (address(key.destination), address(key.source)),
                (address(ivc.source), seat),
            )
        };
        Self {
            svcs: svcs
                .iter()
                .map(|(endpoint, svc)| (*endpoint, svc.index))
                .collect(),
            ivcs: BTreeMap::new(),
            found: ivcs.iter().map(found).collect(),
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

    /// Returns the slot of an IVC's counters, if it has one.
    #[must_use]
    pub fn ivc_of(&self, id: &IvcId) -> Option<u32> {
        self.ivcs.get(id).map(|seat| seat.counters)
    }

    /// Returns the IVC that owns each counters' slot.
    #[must_use]
    pub fn owners(&self) -> BTreeMap<u32, IvcId> {
        let ivcs = self.ivcs.iter();
        ivcs.map(|(id, seat)| (seat.counters, id.clone())).collect()
    }

    /// Returns the slot of an SVC, a free one below `limit` if it has none yet.
    pub fn svc(&mut self, endpoint: Ipv4Addr, limit: u32) -> Option<u32> {
        if let Some(slot) = self.svcs.get(&endpoint) {
            return Some(*slot);
        }
        let slot = free(&self.svcs.values().copied().collect(), 0..limit)?;
        self.svcs.insert(endpoint, slot);
        Some(slot)
    }

    /// Returns what an IVC has whose link has the address `local` now, and whether it is the counters' new
    /// owner, so that they must be zeroed.
    pub fn ivc(&mut self, id: &IvcId, local: Option<Ipv4Addr>, limit: u32) -> Option<(Seat, bool)> {
        if let Some(seat) = self.ivcs.get(id) {
            return Some((*seat, false));
        }
        let adopted = self.claim(id, local, limit);
        let seat = adopted.or_else(|| self.vacant(id.0, limit))?;
        self.ivcs.insert(id.clone(), seat);
        Some((seat, adopted.is_none()))
    }

    /// What an IVC had in an earlier run, if nobody else has it by now.
    fn claim(&mut self, id: &IvcId, local: Option<Ipv4Addr>, limit: u32) -> Option<Seat> {
        let (endpoint, seat) = self.found.remove(&(local?, id.2))?;
        let is_free = !self.places(id.0).contains(&seat.place);
        (endpoint == id.0 && seat.counters < limit && is_free).then_some(seat)
    }

    /// What is free for an IVC of the SVC to `endpoint`; what an earlier run has left is not, as long as there is another place.
    fn vacant(&self, endpoint: Ipv4Addr, limit: u32) -> Option<Seat> {
        let found = || self.found.values();
        let owned = self.ivcs.values().chain(found().map(|(_, seat)| seat));
        let counters = free(&owned.map(|seat| seat.counters).collect(), 0..limit)?;
        let places = self.places(endpoint);
        let before = found().filter(|(of, _)| *of == endpoint);
        let taken = places
            .iter()
            .copied()
            .chain(before.map(|(_, seat)| seat.place));
        let place = free(&taken.collect(), 0..MAX_IVCS).or_else(|| free(&places, 0..MAX_IVCS))?;
        Some(Seat { counters, place })
    }

    /// The places that are taken in an SVC.
    fn places(&self, endpoint: Ipv4Addr) -> BTreeSet<usize> {
        let ivcs = self.ivcs.iter().filter(|(id, _)| id.0 == endpoint);
        ivcs.map(|(_, seat)| seat.place).collect()
    }
}

fn free<T: Ord>(taken: &BTreeSet<T>, mut all: impl Iterator<Item = T>) -> Option<T> {
    all.find(|slot| !taken.contains(slot))
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

    fn seat(counters: u32, place: usize) -> Seat {
        Seat { counters, place }
    }

    #[test]
    fn an_ivc_keeps_its_slot_while_its_address_changes() {
        let mut slots = Slots::default();
        let first = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(slots.ivc(&id("dsl"), first, 8), Some((seat(0, 0), true)));
        assert_eq!(slots.ivc(&id("lte"), None, 8), Some((seat(1, 1), true)));
        assert_eq!(
            slots.ivc(&id("dsl"), Some(Ipv4Addr::new(192, 0, 2, 77)), 8),
            Some((seat(0, 0), false))
        );
    }

    #[test]
    fn an_ivc_keeps_its_place_while_others_come_and_go() {
        let mut slots = Slots::default();
        let other = (endpoint(2), "dsl".parse().unwrap(), endpoint(9));
        for (id, expected) in [
            (id("dsl"), seat(0, 0)),
            (other, seat(1, 0)),
            (id("lte"), seat(2, 1)),
        ] {
            assert_eq!(slots.ivc(&id, None, 8), Some((expected, true)));
        }
        slots.retain(|_| true, |known| *known != id("dsl"));
        assert_eq!(slots.ivc(&id("lte"), None, 8), Some((seat(2, 1), false)));
        assert_eq!(slots.ivc(&id("sat"), None, 8), Some((seat(0, 0), true)));
    }

    #[test]
    fn an_svc_has_no_more_places_than_its_map() {
        let mut slots = Slots::default();
        let link = |number: usize| id(&format!("link{number}"));
        let all = (0..=MAX_IVCS).map(|number| slots.ivc(&link(number), None, 99).is_some());
        assert_eq!(all.filter(|has| *has).count(), MAX_IVCS);
    }

    #[test]
    fn a_restart_finds_the_slots_again() {
        let local = Ipv4Addr::new(192, 0, 2, 1);
        let key = IvcKey {
            source: wire(id("dsl").2),
            destination: wire(local),
        };
        let ivc = IvcRx {
            source: wire(endpoint(1)),
            destination: 0,
            counters: 5,
            slot: 0,
        };
        let mut slots = Slots::adopt(&[], &[(key, ivc)]);
        assert_eq!(slots.ivc(&id("lte"), None, 8), Some((seat(0, 1), true)));
        assert_eq!(
            slots.ivc(&id("dsl"), Some(local), 8),
            Some((seat(5, 0), false))
        );
        // Of another tunnel: its place says nothing.
        let foreign = IvcRx {
            source: wire(endpoint(2)),
            ..ivc
        };
        let mut slots = Slots::adopt(&[], &[(key, foreign)]);
        assert_eq!(
            slots.ivc(&id("dsl"), Some(local), 8),
            Some((seat(0, 0), true))
        );
    }
}
