//! Classes of traffic that take nothing.

use crate::config::{
    Takes,
    draft::{ConfigDraft, TunnelDraft},
    sink::{Located, Sink},
};

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    for tunnel in &draft.tunnels {
        for takes in classes(tunnel) {
            ports(takes, sink);
        }
        order(tunnel, sink);
    }
}

fn classes(tunnel: &TunnelDraft) -> impl Iterator<Item = &Located<Takes>> {
    let classes = tunnel.classes.iter();
    classes.filter_map(|class| class.takes.as_ref())
}

/// Only TCP and UDP have ports.
fn ports(takes: &Located<Takes>, sink: &mut Sink) {
    let Takes {
        protocol, ports, ..
    } = &takes.value;
    let none = !protocol.is_empty() && !protocol.iter().any(|protocol| protocol.has_ports());
    if none && !ports.is_empty() {
        let message = "only tcp and udp have ports: this takes no packet";
        sink.error(&takes.at, message, "leave out ports or protocol");
    }
}

/// The first class that takes a packet counts.
fn order(tunnel: &TunnelDraft, sink: &mut Sink) {
    let classes: Vec<_> = classes(tunnel).collect();
    for (at, takes) in classes.iter().enumerate() {
        let before = classes[..at].iter();
        let mut before = before.filter(|before| !before.value.is_any());
        if let Some(before) = before.find(|before| before.value.covers(&takes.value)) {
            let message = format!("{} takes all of this before", before.at.field);
            sink.warning(&takes.at, message, "put this class first, or leave it out");
        }
    }
}
