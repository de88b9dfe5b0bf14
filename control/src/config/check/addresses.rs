//! Tunnel endpoints and the addresses of other gateways against every other address.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::config::{
    draft::{ConfigDraft, TunnelDraft},
    sink::{At, Located, Sink},
};

/// Addresses of one kind, each with its first place.
type Places<'a> = BTreeMap<Ipv4Addr, &'a At>;

const ADVICE: &str = "take an address that is used for nothing else";

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    between_tunnels(&draft.tunnels, sink);
    let (own, hops) = link_addresses(draft);
    let far = far_addresses(draft);
    for remote in &far {
        if let Some(at) = own.get(&remote.value) {
            let message = format!("{} is this gateway's own, {}", remote.value, at.field);
            sink.error(
                &remote.at,
                message,
                "write the address of the other gateway's link",
            );
        }
    }
    let far: Places<'_> = far
        .iter()
        .rev()
        .map(|remote| (remote.value, &remote.at))
        .collect();
    for endpoint in draft.tunnels.iter().flat_map(endpoints) {
        let taken = [&own, &hops, &far]
            .into_iter()
            .find_map(|kind| kind.get(&endpoint.value));
        if let Some(at) = taken {
            let message = format!("{} is a real address, {}", endpoint.value, at.field);
            sink.error(&endpoint.at, message, ADVICE);
        }
    }
}

/// The far ends of IVCs, and where peers listen.
fn far_addresses(draft: &ConfigDraft) -> Vec<Located<Ipv4Addr>> {
    let remote = |tunnel: &TunnelDraft| {
        let ivcs = tunnel.ivcs.iter().filter_map(|ivc| ivc.remote.clone());
        let peer = tunnel.peer().and_then(|peer| peer.address.clone());
        ivcs.chain(peer.map(|peer| peer.map(|peer| peer.address)))
            .collect::<Vec<_>>()
    };
    draft.tunnels.iter().flat_map(remote).collect()
}

fn endpoints(tunnel: &TunnelDraft) -> impl Iterator<Item = &Located<Ipv4Addr>> {
    [&tunnel.local_endpoint, &tunnel.remote_endpoint]
        .into_iter()
        .flatten()
}

fn link_addresses(draft: &ConfigDraft) -> (Places<'_>, Places<'_>) {
    let (mut own, mut hops) = (Places::new(), Places::new());
    for link in &draft.links {
        for (setting, places) in [(&link.address, &mut own), (&link.next_hop, &mut hops)] {
            let Some(setting) = setting else { continue };
            if let Some(address) = setting.value.fixed() {
                places.entry(address).or_insert(&setting.at);
            }
        }
    }
    (own, hops)
}

/// SVCs are told apart by the remote endpoint, so that is one tunnel's alone. Tunnels may share
/// the local one, but nothing is both local and remote.
fn between_tunnels(tunnels: &[TunnelDraft], sink: &mut Sink) {
    let mut ends: Vec<(&Located<Ipv4Addr>, bool)> = Vec::new();
    for tunnel in tunnels {
        ends.extend(tunnel.local_endpoint.as_ref().map(|end| (end, false)));
        ends.extend(tunnel.remote_endpoint.as_ref().map(|end| (end, true)));
    }
    ends.sort_by_key(|(end, _)| end.at.position);
    let mut seen: BTreeMap<Ipv4Addr, (&At, bool)> = BTreeMap::new();
    for (end, remote) in ends {
        let (first, first_remote) = *seen.entry(end.value).or_insert((&end.at, remote));
        let itself = first.position == end.at.position;
        if !itself && (remote || first_remote) {
            let message = format!("{} is an endpoint already, {}", end.value, first.field);
            sink.error(&end.at, message, ADVICE);
        }
    }
}
