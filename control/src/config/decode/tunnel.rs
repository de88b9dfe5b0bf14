//! A tunnel.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    class,
    field::{Field, Map},
    name, peer, security,
};
use crate::config::{
    draft::{IvcDraft, KeyingDraft, TunnelDraft},
    model::Tunnel,
    sink::{Located, Sink},
    value::{Delay, HostAddress, Subnet},
};

pub(super) fn decode(key: Located<String>, field: &Field<'_>, sink: &mut Sink) -> TunnelDraft {
    let name = name(&key, sink);
    let mut map = field.map(sink);
    let description = map.optional("description", sink, Field::parse);
    let bundle = map.required("bundle", "NAME", sink, Field::reference);
    let form = "{local: [SUBNET], remote: [SUBNET]}";
    let subnets = map.required("subnets", form, sink, |field, sink| {
        Some(pair(field, sink, subnets))
    });
    let split = map.optional("split", sink, Field::parse);
    let mss = map.optional("mss", sink, Field::parse);
    let queue = map.optional("queue", sink, queue);
    let resequence = map.optional("resequence", sink, Field::parse);
    let policy = map.optional("policy", sink, Field::parse);
    let classes = map.optional("classes", sink, class::decode_all);
    let resend = map.optional("resend", sink, Field::parse);
    let (keying, endpoints, ivcs) = if is_manual(field) {
        manual(&mut map, sink)
    } else {
        let negotiated = peer::negotiated(&mut map, sink);
        (KeyingDraft::Negotiated(negotiated), None, None)
    };
    map.close(sink);
    let (local_endpoint, remote_endpoint) = endpoints.unwrap_or_default();
    let (local_subnets, remote_subnets) = subnets.unwrap_or_default();
    TunnelDraft {
        key,
        name,
        description,
        bundle,
        local_endpoint,
        remote_endpoint,
        local_subnets: local_subnets.unwrap_or_default(),
        remote_subnets: remote_subnets.unwrap_or_default(),
        ivcs: ivcs.unwrap_or_default(),
        split,
        mss,
        queue,
        resequence,
        policy,
        classes: classes.unwrap_or_default(),
        resend,
        keying,
    }
}

/// Tells by what is written whether the operator distributes keys: the mode, and where that is left
/// out or misspelt, the fields of either way.
fn is_manual(field: &Field<'_>) -> bool {
    match field.glance(["security", "mode"]) {
        Some(security::MANUAL) => true,
        Some(security::NEGOTIATED) => false,
        _ => {
            let written = ["endpoints", "ivcs", "security"];
            !field.has("peer") && written.iter().any(|name| field.has(name))
        }
    }
}

type Ends = (Option<Located<Ipv4Addr>>, Option<Located<Ipv4Addr>>);

/// Reads the fields of a manual tunnel that negotiated ones do not have.
fn manual(
    map: &mut Map<'_>,
    sink: &mut Sink,
) -> (KeyingDraft, Option<Ends>, Option<Vec<IvcDraft>>) {
    let why = "of no use where keys are manual";
    let help = "leave it out; or leave endpoints and ivcs out, and write mode: negotiated";
    map.refused("peer", why, help, sink);
    let form = "{local: ADDRESS, remote: ADDRESS}";
    let endpoints = map.required("endpoints", form, sink, |field, sink| {
        Some(pair(field, sink, address))
    });
    let form = "[{link: LINK, remote: ADDRESS}, …]";
    let ivcs = map.required("ivcs", form, sink, |field, sink| {
        field.list(Tunnel::MAX_IVCS, sink, |field, sink| Some(ivc(field, sink)))
    });
    let form = "{mode: manual, suite: aes-gcm-128, outbound: …, inbound: …}";
    let security = map.required("security", form, sink, |field, sink| {
        Some(security::decode(field, sink))
    });
    (KeyingDraft::Manual(security), endpoints, ivcs)
}

/// Reads what there is of either end.
fn pair<'t, T>(
    field: &Field<'t>,
    sink: &mut Sink,
    mut read: impl FnMut(&Field<'t>, &mut Sink) -> Option<T>,
) -> (Option<T>, Option<T>) {
    let mut map = field.map(sink);
    let local = map.required("local", "what this gateway has", sink, &mut read);
    let remote = map.required("remote", "what the other gateway has", sink, &mut read);
    map.close(sink);
    (local, remote)
}

fn address(field: &Field<'_>, sink: &mut Sink) -> Option<Located<Ipv4Addr>> {
    let address: Located<HostAddress> = field.parse(sink)?;
    Some(address.map(HostAddress::get))
}

fn subnets(field: &Field<'_>, sink: &mut Sink) -> Option<Vec<Located<Ipv4Net>>> {
    field.list(Tunnel::MAX_SUBNETS, sink, |field, sink| {
        let subnet: Located<Subnet> = field.parse(sink)?;
        Some(subnet.map(Subnet::get))
    })
}

fn ivc(field: &Field<'_>, sink: &mut Sink) -> IvcDraft {
    let mut map = field.map(sink);
    let draft = IvcDraft {
        at: field.at.clone(),
        link: map.required("link", "LINK", sink, Field::reference),
        remote: map.required(
            "remote",
            "the address of the other gateway's link",
            sink,
            address,
        ),
        rate: map.optional("rate", sink, Field::parse),
        latency: map.optional("latency", sink, Field::parse),
        mtu: map.optional("mtu", sink, Field::parse),
    };
    map.close(sink);
    draft
}

fn queue(field: &Field<'_>, sink: &mut Sink) -> Option<Located<Delay>> {
    let queue: Located<Delay> = field.parse(sink)?;
    if queue.value < Tunnel::MIN_QUEUE {
        let message = format!("a queue of {} holds no packet", queue.value);
        sink.error(
            &queue.at,
            message,
            format!("write {} to {}", Tunnel::MIN_QUEUE, Delay::MAX),
        );
        return None;
    }
    Some(queue)
}
