//! What BPF objects the kernel holds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

/// Objects may go while they are being listed, which fails the listing.
const ATTEMPTS: u32 = 20;

/// Lists programs, maps and links with their identifiers.
pub(super) fn sections() -> Result<BTreeMap<String, BTreeSet<String>>> {
    Ok(BTreeMap::from([
        ("BPF programs".to_owned(), listed(programs)?),
        ("BPF maps".to_owned(), listed(maps)?),
        ("BPF links".to_owned(), listed(links)?),
    ]))
}

fn listed(list: fn() -> Result<BTreeSet<String>>) -> Result<BTreeSet<String>> {
    let mut result = list();
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        result = list();
    }
    result.context("cannot list the kernel's BPF objects")
}

fn programs() -> Result<BTreeSet<String>> {
    loaded_programs()
        .map(|program| {
            let program = program?;
            Ok(format!(
                "{} {}",
                program.id(),
                program.name_as_str().unwrap_or("")
            ))
        })
        .collect()
}

fn maps() -> Result<BTreeSet<String>> {
    loaded_maps()
        .map(|map| {
            let map = map?;
            Ok(format!("{} {}", map.id(), map.name_as_str().unwrap_or("")))
        })
        .collect()
}

fn links() -> Result<BTreeSet<String>> {
    loaded_links()
        .map(|link| {
            let link = link?;
            Ok(format!("{} of program {}", link.id(), link.program_id()))
        })
        .collect()
}
