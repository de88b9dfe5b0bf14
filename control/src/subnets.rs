//! Subnets and who owns them. Two subnets overlap only if one lies in the other, and both ways are found without looking at
//! all of them.

use std::{collections::BTreeMap, iter::successors, net::Ipv4Addr};

use ipnet::Ipv4Net;

/// Owners by subnet; a subnet may have several.
#[derive(Clone, Debug)]
pub(crate) struct SubnetMap<T> {
    owners: BTreeMap<(Ipv4Addr, u8), Vec<T>>,
}

impl<T> Default for SubnetMap<T> {
    fn default() -> Self {
        Self {
            owners: BTreeMap::new(),
        }
    }
}

impl<T> SubnetMap<T> {
    /// Adds an owner of a subnet.
    pub(crate) fn insert(&mut self, net: Ipv4Net, owner: T) {
        self.owners.entry(key(net)).or_default().push(owner);
    }

    /// Removes the owners of a subnet that are meant.
    pub(crate) fn remove(&mut self, net: Ipv4Net, meant: impl Fn(&T) -> bool) {
        if let Some(owners) = self.owners.get_mut(&key(net)) {
            owners.retain(|owner| !meant(owner));
            if owners.is_empty() {
                self.owners.remove(&key(net));
            }
        }
    }

    /// Returns a `wanted` owner of the smallest subnet around `net`, or equal to it.
    pub(crate) fn around(&self, net: Ipv4Net, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        successors(Some(net), Ipv4Net::supernet)
            .filter_map(|outer| self.owners.get(&key(outer)))
            .flatten()
            .find(|owner| wanted(owner))
    }

    /// Returns a `wanted` owner of a subnet within `net`, or equal to it.
    pub(crate) fn within(&self, net: Ipv4Net, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        self.owners
            .range((net.network(), net.prefix_len())..=(net.broadcast(), 32))
            .flat_map(|(_, owners)| owners)
            .find(|owner| wanted(owner))
    }

    /// Returns a `wanted` owner of a subnet that overlaps `net`.
    pub(crate) fn overlapping(&self, net: Ipv4Net, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        self.around(net, &wanted)
            .or_else(|| self.within(net, &wanted))
    }
}

fn key(net: Ipv4Net) -> (Ipv4Addr, u8) {
    (net.network(), net.prefix_len())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn subnet() -> impl Strategy<Value = Ipv4Net> {
        // Few distinct bits, so that overlaps are common.
        (0_u32..8, 24_u8..=32).prop_filter_map("prefix", |(bits, len)| {
            Ipv4Net::new((0x0a00_0000 | bits << 5 | bits).into(), len)
                .ok()
                .map(|net| net.trunc())
        })
    }

    proptest! {
        #[test]
        fn overlaps_are_found_as_by_looking_at_all(nets in prop::collection::vec(subnet(), 0..12), gone in 0_usize..12, net in subnet()) {
            let mut map = SubnetMap::default();
            for (owner, net) in nets.iter().enumerate() {
                map.insert(*net, owner);
            }
            if let Some(net) = nets.get(gone) {
                map.remove(*net, |owner| *owner == gone);
            }
            let all = nets.iter().enumerate().filter(|(owner, _)| *owner != gone);
            let overlaps: Vec<_> = all
                .filter(|(_, other)| other.contains(&net) || net.contains(*other))
                .map(|(owner, _)| owner)
                .collect();
            let found = map.overlapping(net, |_| true);
            prop_assert_eq!(found.is_some(), !overlaps.is_empty());
            prop_assert!(found.is_none_or(|owner| overlaps.contains(owner)));
            prop_assert_eq!(map.overlapping(net, |_| false), None);
        }
    }
}
