//! What negotiated tunnels need of the gateway, and what must not occur twice among them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::links::repeated;
use crate::config::{
    draft::{ConfigDraft, GatewayDraft, NegotiatedDraft, TunnelDraft},
    sink::{At, Located, Sink},
};

/// The longest prefix of a pool: it has two addresses for hosts.
const MAX_POOL_PREFIX: u8 = 30;

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let negotiated = || draft.tunnels.iter().filter_map(TunnelDraft::negotiated);
    negotiated().for_each(|tunnel| suites(tunnel, sink));
    let peers = || negotiated().filter_map(|tunnel| tunnel.peer.as_ref());
    let keys = || peers().filter_map(|peer| peer.key.as_ref());
    for ((_, at), first) in repeated(keys().map(|key| (key.value, &key.at))) {
        let message = format!("the same key as {first}");
        let help = "give each gateway a key of its own, and each pair of gateways one tunnel";
        sink.error(at, message, help);
    }
    let Some(gateway) = &draft.gateway else {
        return;
    };
    if negotiated().next().is_some() && gateway.key_file.is_none() {
        let help = "add key_file: FILE, with what `withy genkey` prints";
        missing(
            gateway,
            "key_file",
            "missing where a tunnel is negotiated",
            help,
            sink,
        );
    }
    if peers().any(|peer| !peer.opens) && !gateway.has_pool {
        let help = "add pool: SUBNET, for the endpoints of tunnels that other gateways open";
        missing(
            gateway,
            "pool",
            "missing where another gateway opens a tunnel",
            help,
            sink,
        );
    }
    let own = gateway.key.as_ref().and_then(|key| key.public().ok());
    for key in keys().filter(|key| Some(key.value) == own) {
        let help = "write the key that `withy pubkey` prints on the other gateway";
        sink.error(&key.at, "this gateway's own key", help);
    }
    if let Some(pool) = &gateway.pool {
        self::pool(pool, draft, sink);
    }
}

fn missing(gateway: &GatewayDraft, name: &str, message: &str, help: &str, sink: &mut Sink) {
    let at = At {
        field: format!("gateway.{name}"),
        position: gateway.at.position,
    };
    sink.error(&at, message, help);
}

fn suites(tunnel: &NegotiatedDraft, sink: &mut Sink) {
    let suites = tunnel
        .suites
        .iter()
        .map(|suite| (suite.value.name(), &suite.at));
    for ((suite, at), first) in repeated(suites) {
        let message = format!("{suite} is named already, by {first}");
        sink.error(at, message, "name each suite once, the best one first");
    }
}

/// Addresses of the pool go to endpoints, which nothing else may have.
fn pool(pool: &Located<Ipv4Net>, draft: &ConfigDraft, sink: &mut Sink) {
    if pool.value.prefix_len() > MAX_POOL_PREFIX {
        let message = format!("{} has no addresses for two ends", pool.value);
        sink.error(&pool.at, message, "take a subnet of /30 or larger");
    }
    for (net, at) in taken(draft) {
        let disjoint = !pool.value.contains(&net) && !net.contains(&pool.value);
        if disjoint {
            continue;
        }
        let ((later, place), (earlier, first)) = if at.position > pool.at.position {
            ((net, at), (pool.value, &pool.at))
        } else {
            ((pool.value, &pool.at), (net, at))
        };
        let message = format!("{later} overlaps {earlier} of {}", first.field);
        let help = "take a pool that is used for nothing else";
        sink.error(place, message, help);
    }
}

/// Everything in a file that has a place in the address space.
fn taken(draft: &ConfigDraft) -> Vec<(Ipv4Net, &At)> {
    let host = |address: Ipv4Addr, at| (Ipv4Net::from(address), at);
    let mut taken = Vec::new();
    for setting in draft
        .links
        .iter()
        .flat_map(|link| [&link.address, &link.next_hop])
        .flatten()
    {
        let fixed = setting.value.fixed();
        taken.extend(fixed.map(|address| host(address, &setting.at)));
    }
    for tunnel in &draft.tunnels {
        let subnets = tunnel.local_subnets.iter().chain(&tunnel.remote_subnets);
        taken.extend(subnets.map(|subnet| (subnet.value, &subnet.at)));
        let ends = [&tunnel.local_endpoint, &tunnel.remote_endpoint];
        let ivcs = tunnel.ivcs.iter().map(|ivc| &ivc.remote);
        let addresses = ends.into_iter().chain(ivcs).flatten();
        taken.extend(addresses.map(|address| host(address.value, &address.at)));
        let peer = tunnel.peer().and_then(|peer| peer.address.as_ref());
        taken.extend(peer.map(|peer| host(peer.value.address, &peer.at)));
    }
    taken
}
