//! Which routing table a link has. It stays the link's own while others come and go, so that a reload moves nobody's routes.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::LinkName;

/// The first routing table of links: an otherwise unused range.
const FIRST: u32 = 5700;
/// How many tables there are; a configuration has far fewer links.
const COUNT: u32 = 1024;

/// Chooses a table for each link by its name. Of two names that want the same one, the later gets the next that is free.
pub(super) fn of<'a>(links: impl Iterator<Item = &'a LinkName>) -> BTreeMap<LinkName, u32> {
    let mut taken = BTreeSet::new();
    let mut tables = BTreeMap::new();
    for link in links {
        let wanted = hash(link.as_str());
        let mut places = (0..COUNT).map(|step| FIRST + (wanted + step) % COUNT);
        if let Some(table) = places.find(|table| taken.insert(*table)) {
            tables.insert(link.clone(), table);
        }
    }
    tables
}

/// FNV-1a, which is the same in every version, folded to the range.
fn hash(name: &str) -> u32 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, mix) % COUNT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_link_has_a_table_of_its_own(numbers in prop::collection::btree_set(0_u32..100_000, 0..200)) {
            let names: BTreeSet<LinkName> = numbers.iter().map(|number| format!("l{number}").parse().unwrap()).collect();
            let tables = of(names.iter());
            let distinct: BTreeSet<_> = tables.values().collect();
            prop_assert_eq!(distinct.len(), names.len());
            prop_assert!(tables.values().all(|table| (FIRST..FIRST + COUNT).contains(table)));
        }
    }

    #[test]
    fn links_keep_their_tables_while_others_come_and_go() {
        let names = |text: &str| -> Vec<LinkName> {
            text.split(' ').map(|name| name.parse().unwrap()).collect()
        };
        let (few, many) = (names("dsl lte"), names("cable dsl lte sat wan0 wan1"));
        let (few, many) = (of(few.iter()), of(many.iter()));
        assert!(few.iter().all(|(name, table)| many[name] == *table));
    }
}
