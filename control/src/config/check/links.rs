//! Interfaces and addresses of links, and the links of bundles.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{
    draft::{BundleDraft, ConfigDraft, LinkDraft},
    sink::{At, Located, Sink},
    value::{Setting, quote, suggest},
};

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    interfaces(draft, sink);
    addresses(&draft.links, sink);
    probes(&draft.links, sink);
    let names: Vec<&str> = draft
        .links
        .iter()
        .map(|link| link.key.value.as_str())
        .collect();
    let known: BTreeSet<&str> = names.iter().copied().collect();
    for bundle in &draft.bundles {
        bundle_links(bundle, &names, &known, sink);
    }
}

/// An interface carries one link or belongs to the LAN.
fn interfaces(draft: &ConfigDraft, sink: &mut Sink) {
    let lan = draft.gateway.iter().flat_map(|gateway| &gateway.lan);
    let links = draft
        .links
        .iter()
        .filter_map(|link| link.interface.as_ref());
    let all: Vec<_> = in_order(lan.chain(links).collect());
    for (interface, first) in repeated(all.into_iter().map(|i| (i.value.as_str(), &i.at))) {
        let message = format!("interface {} is used already, by {first}", interface.0);
        sink.error(
            interface.1,
            message,
            "give each link and the LAN interfaces of their own",
        );
    }
}

fn addresses(links: &[LinkDraft], sink: &mut Sink) {
    let fixed = links.iter().filter_map(|link| {
        let address = link.address.as_ref()?;
        Some((address.value.fixed()?, &address.at))
    });
    for ((address, at), first) in repeated(fixed) {
        let message = format!("address {address} is used already, by {first}");
        sink.error(
            at,
            message,
            "give each link the address that its provider assigns",
        );
    }
    for link in links {
        let fixed = |setting: &Option<Located<Setting<_>>>| setting.as_ref()?.value.fixed();
        let (address, next_hop) = (fixed(&link.address), fixed(&link.next_hop));
        if let (Some(address), Some(hop), true) = (address, &link.next_hop, address == next_hop) {
            let message = format!("{address} is the link's own address");
            sink.error(
                &hop.at,
                message,
                "write the address of the provider's router",
            );
        }
    }
}

/// Idle links are not probed more often than others.
fn probes(links: &[LinkDraft], sink: &mut Sink) {
    for probe in links.iter().filter_map(|link| link.probe.as_ref()) {
        let interval = probe.interval();
        if let Some(idle) = probe.idle.as_ref().filter(|idle| idle.value < interval) {
            let message = format!("{} is less than the interval, {interval}", idle.value);
            sink.error(&idle.at, message, "leave it out, or write a longer time");
        }
    }
}

fn bundle_links(bundle: &BundleDraft, names: &[&str], known: &BTreeSet<&str>, sink: &mut Sink) {
    for link in &bundle.links {
        if !known.contains(link.value.as_str()) {
            let message = format!("there is no link {}", quote(&link.value));
            sink.error(&link.at, message, suggest(&link.value, names));
        }
    }
    for ((link, at), first) in repeated(bundle.links.iter().map(|l| (l.value.as_str(), &l.at))) {
        let message = format!("link {} is named already, by {first}", quote(link));
        sink.error(at, message, "name each link once");
    }
}

/// Returns what occurs again, each with the path of its first occurrence.
pub(super) fn repeated<'a, K: Ord + Clone>(
    items: impl Iterator<Item = (K, &'a At)>,
) -> Vec<((K, &'a At), &'a str)> {
    let mut seen: BTreeMap<K, &At> = BTreeMap::new();
    let mut found = Vec::new();
    for (key, at) in items {
        match seen.get(&key) {
            Some(first) => found.push(((key, at), first.field.as_str())),
            None => drop(seen.insert(key, at)),
        }
    }
    found
}

/// Returns the items in the order of the file.
pub(super) fn in_order<T>(mut items: Vec<&Located<T>>) -> Vec<&Located<T>> {
    items.sort_by_key(|item| item.at.position);
    items
}
