//! What differs between two configurations, for people.

use std::{collections::BTreeMap, fmt::Display};

use super::Config;

/// Names the parts that differ: `link dsl changed`, `tunnel paris added`.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    if old.gateway != new.gateway {
        changes.push("gateway changed".to_owned());
    }
    part(&mut changes, "link", &old.links, &new.links);
    part(&mut changes, "bundle", &old.bundles, &new.bundles);
    part(&mut changes, "tunnel", &old.tunnels, &new.tunnels);
    changes
}

fn part<K: Ord + Display, V: PartialEq>(
    changes: &mut Vec<String>,
    what: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) {
    for (name, value) in old {
        match new.get(name) {
            None => changes.push(format!("{what} {name} removed")),
            Some(other) if other != value => changes.push(format!("{what} {name} changed")),
            Some(_) => {}
        }
    }
    let added = new.keys().filter(|name| !old.contains_key(name));
    changes.extend(added.map(|name| format!("{what} {name} added")));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(links: &str) -> Config {
        let text = format!(
            "gateway: {{name: a, lan: [lan0]}}\nlinks: {links}\nbundles: {{}}\ntunnels: {{}}\n"
        );
        super::super::parse(&text, "test", Path::new(""))
            .unwrap()
            .config
    }

    #[test]
    fn every_part_that_differs_is_named() {
        let dsl = "dsl: {interface: eth1, rate: 1 Mbit/s, latency: 1 ms}";
        let old = config(&format!("{{{dsl}}}"));
        assert_eq!(changes(&old, &old), [] as [&str; 0]);
        let lte = "lte: {interface: eth2, rate: 1 Mbit/s, latency: 1 ms}";
        let new = config(&format!("{{{lte}, {}}}", dsl.replace("1 ms", "2 ms")));
        assert_eq!(changes(&old, &new), ["link dsl changed", "link lte added"]);
        assert_eq!(
            changes(&new, &old),
            ["link dsl changed", "link lte removed"]
        );
    }
}
