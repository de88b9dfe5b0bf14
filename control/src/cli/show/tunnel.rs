//! A tunnel with its IVCs.

use std::{collections::BTreeSet, fmt::Write as _};

use comfy_table::Cell;
use humansize::{DECIMAL, format_size};

use super::{
    cells::{
        age, good, ivc_mtu, ivc_name, ivc_rate, ivc_state, loss, number, optional, rate,
        round_trip, share, table,
    },
    ivc::own_flows,
};
use crate::api::status::{
    IvcStatus, OrderStatus, ProbesOnly, RecentStatus, SplittingStatus, TunnelState, TunnelStatus,
};

/// Writes a tunnel; with colours if it goes to a terminal.
pub(in crate::cli) fn tunnel(tunnel: &TunnelStatus, terminal: bool) -> String {
    let mut text = heading(tunnel);
    if tunnel.suite.is_some() {
        text.push_str(&addresses(&tunnel.ivcs, terminal));
        text.push_str(&figures(&tunnel.ivcs, terminal));
        tunnel
            .ivcs
            .iter()
            .for_each(|ivc| text.push_str(&apart(ivc)));
        if let Some(kept) = &tunnel.order {
            text.push_str(&order(kept));
        }
        if let Some(splitting) = &tunnel.splitting {
            text.push_str(&self::splitting(&tunnel.split, splitting));
        }
    }
    if let Some(trouble) = &tunnel.trouble {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  last refused or failed: {trouble}");
    }
    text
}

fn heading(tunnel: &TunnelStatus) -> String {
    let name = &tunnel.name;
    let state = match tunnel.state {
        TunnelState::Up => "up",
        TunnelState::Degraded => "degraded",
        TunnelState::Down => "down",
    };
    let (Some(local), Some(remote), Some(suite)) = (tunnel.local, tunnel.remote, &tunnel.suite)
    else {
        return format!("tunnel {name} is {state}: not negotiated yet\n");
    };
    let mss = tunnel
        .mss
        .map_or_else(|| "off".to_owned(), |mss| mss.to_string());
    format!(
        "tunnel {name} is {state}: {local} to {remote}, {suite}, split {}\n\
         \x20 packets to {} bytes, MSS {mss}{}\n",
        tunnel.split,
        tunnel.mtu,
        recent(tunnel.recent)
    )
}

fn recent(recent: Option<RecentStatus>) -> String {
    let Some(recent) = recent else {
        return String::new();
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "three digits of it are shown"
    )]
    let mean = |bytes: u64| rate((bytes as f64 * 8.0 / recent.seconds) as u64);
    format!(
        "; last {:.0} s: {} out, {} in",
        recent.seconds,
        mean(recent.tx_bytes),
        mean(recent.rx_bytes)
    )
}

fn addresses(ivcs: &[IvcStatus], terminal: bool) -> String {
    let header = [
        "IVC", "from", "to", "state", "for", "MTU", "sent", "received",
    ];
    let mut table = table(&header, terminal);
    for ivc in ivcs {
        table.add_row(vec![
            Cell::new(&ivc.link),
            Cell::new(optional(ivc.local)),
            Cell::new(ivc.remote),
            good(ivc_state(ivc.state), ivc.usable),
            number(age(ivc.since)),
            number(ivc_mtu(ivc)),
            number(format_size(ivc.tx.bytes, DECIMAL)),
            number(format_size(ivc.rx.bytes, DECIMAL)),
        ]);
    }
    format!("{table}\n")
}

/// What is known of each IVC. Where their links tell them apart, that is enough.
fn figures(ivcs: &[IvcStatus], terminal: bool) -> String {
    let links: BTreeSet<_> = ivcs.iter().map(|ivc| &ivc.link).collect();
    let header = [
        "IVC",
        "rate",
        "RTT",
        "queue",
        "jitter",
        "loss",
        "share\nout",
        "share\nin",
    ];
    let mut table = table(&header, terminal);
    for ivc in ivcs {
        let name = if links.len() == ivcs.len() {
            ivc.link.clone()
        } else {
            ivc_name(&ivc.link, ivc.remote, ivc.remote_link.as_deref())
        };
        table.add_row(vec![
            Cell::new(name),
            number(ivc_rate(ivc)),
            number(round_trip(ivc.rtt_seconds)),
            number(round_trip(ivc.queue_seconds)),
            number(round_trip(ivc.jitter_seconds)),
            number(loss(ivc)),
            number(share(ivc.share_tx_ratio)),
            number(share(ivc.share_rx_ratio)),
        ]);
    }
    format!("{table}\n")
}

/// What an IVC carries that works and is not bonded with the others: some flows, or nothing but keepalives.
fn apart(ivc: &IvcStatus) -> String {
    let carries = match (ivc.flows, ivc.probes_only) {
        (_, Some(ProbesOnly::TooSlow)) => "only keepalives".to_owned(),
        (Some(flows), None) => own_flows(flows),
        _ => return String::new(),
    };
    let name = ivc_name(&ivc.link, ivc.remote, ivc.remote_link.as_deref());
    format!(
        "  {name}: {carries}, {} slower than the fastest (at most {})\n",
        round_trip(ivc.lag_seconds),
        round_trip(ivc.lag_limit_seconds)
    )
}

/// Whether packets are split that need not be, and why; and whether so many are that it shows.
fn splitting(policy: &str, splitting: &SplittingStatus) -> String {
    let SplittingStatus { pieces, reason, .. } = splitting;
    let what = if *pieces { "in pieces" } else { "whole" };
    let mut text = format!("  packets {what} ({policy}): {reason}\n");
    if splitting.over_limit {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {:.0} packets/s are split; beyond {:.0}, lost pieces spoil later packets",
            splitting.packets_per_second, splitting.limit_per_second
        );
    }
    text
}

/// What is done about packets that come out of order, where anything can be.
fn order(order: &OrderStatus) -> String {
    let Some(counts) = &order.counts else {
        return String::new();
    };
    let active = if order.active { "kept" } else { "not kept" };
    let mut text = format!("  order {active} ({}): {}\n", order.policy, order.reason);
    if counts.reordered > 0 {
        #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
        let mean = (counts.waited > 0).then(|| counts.wait_seconds / counts.waited as f64);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {} came out of order; {} waited, {} on average; {} given up",
            counts.reordered,
            counts.waited,
            round_trip(mean),
            counts.lost + counts.expired
        );
    }
    if counts.apart > 0 {
        let _ = writeln!(
            text,
            "  {} came of flows that go by an IVC of their own",
            counts.apart
        );
    }
    text
}
