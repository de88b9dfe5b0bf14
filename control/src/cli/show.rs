//! The status for people.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use humansize::{DECIMAL, format_size};

use crate::{
    api::status::{
        IvcState, IvcStatus, LinkState, LinkStatus, MtuSource, Status, TunnelState, TunnelStatus,
    },
    config::Rate,
};

/// Writes a status; with colours if it goes to a terminal.
pub(super) fn status(status: &Status, terminal: bool) -> String {
    let mut text = format!(
        "gateway {}, engine {}, up {}\n",
        status.gateway,
        status.engine,
        age(status.started)
    );
    if let Some(reason) = &status.engine_reason {
        // Writing to a string does not fail.
        let _ = writeln!(text, "engine {}: {reason}", status.engine);
    }
    for tunnel in &status.tunnels {
        text.push('\n');
        show_tunnel(&mut text, tunnel, terminal);
    }
    text.push('\n');
    text.push_str(&links(&status.links, terminal));
    let drops: Vec<_> = status
        .drops
        .iter()
        .filter(|drop| drop.packets > 0)
        .collect();
    if !drops.is_empty() {
        text.push_str("\ndropped packets\n");
        for drop in drops {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {:<18} {}", drop.reason, drop.packets);
        }
    }
    if !status.problems.is_empty() {
        text.push_str("\nproblems\n");
        for problem in &status.problems {
            let _ = writeln!(text, "  {problem}");
        }
    }
    text
}

pub(super) fn show_tunnel(text: &mut String, tunnel: &TunnelStatus, terminal: bool) {
    let state = match tunnel.state {
        TunnelState::Up => "up",
        TunnelState::Degraded => "degraded",
        TunnelState::Down => "down",
    };
    let (Some(local), Some(remote), Some(suite)) = (tunnel.local, tunnel.remote, &tunnel.suite)
    else {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "tunnel {} is {state}: not negotiated yet",
            tunnel.name
        );
        trouble(text, tunnel);
        return;
    };
    let mss = tunnel
        .mss
        .map_or_else(|| "off".to_owned(), |mss| mss.to_string());
    let _ = writeln!(
        text,
        "tunnel {} is {state}: {local} to {remote}, {suite}, split {}, packets to {} bytes, MSS {mss}",
        tunnel.name, tunnel.split, tunnel.mtu
    );
    let sent: u64 = tunnel.ivcs.iter().map(|ivc| ivc.tx.bytes).sum();
    let mut table = table(
        &[
            "IVC", "from", "to", "state", "for", "rate", "RTT", "loss", "MTU", "share", "sent",
            "received",
        ],
        terminal,
    );
    for ivc in &tunnel.ivcs {
        table.add_row(vec![
            Cell::new(&ivc.link),
            Cell::new(optional(ivc.local)),
            Cell::new(ivc.remote),
            good(ivc_state(ivc.state), ivc.usable),
            number(age(ivc.since)),
            number(rate(ivc.rate_bps)),
            number(round_trip(ivc.rtt_seconds)),
            number(loss(ivc)),
            number(ivc_mtu(ivc)),
            number(share(ivc.tx.bytes, sent)),
            number(format_size(ivc.tx.bytes, DECIMAL)),
            number(format_size(ivc.rx.bytes, DECIMAL)),
        ]);
    }
    let _ = writeln!(text, "{table}");
    trouble(text, tunnel);
}

/// Why it could not be negotiated last.
fn trouble(text: &mut String, tunnel: &TunnelStatus) {
    if let Some(trouble) = &tunnel.trouble {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  last refused or failed: {trouble}");
    }
}

pub(super) fn links(links: &[LinkStatus], terminal: bool) -> String {
    let mut table = table(
        &[
            "link",
            "interface",
            "state",
            "for",
            "address",
            "next hop",
            "MTU",
            "receives by",
        ],
        terminal,
    );
    for link in links {
        table.add_row(vec![
            Cell::new(&link.name),
            Cell::new(&link.interface),
            good(&link.state.to_string(), link.state == LinkState::Up),
            number(age(link.since)),
            Cell::new(optional(link.address)),
            Cell::new(optional(link.next_hop)),
            number(
                link.mtu
                    .map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
            ),
            Cell::new(link.receive.as_deref().unwrap_or("-")),
        ]);
    }
    format!("{table}\n")
}

pub(super) fn table(header: &[&str], terminal: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if terminal {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(
        header
            .iter()
            .map(|text| Cell::new(text).add_attribute(Attribute::Dim)),
    );
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

pub(super) fn good(word: &str, fine: bool) -> Cell {
    Cell::new(word).fg(if fine { Color::Green } else { Color::Red })
}

pub(super) fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

pub(super) fn optional(address: Option<Ipv4Addr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

pub(super) fn rate(bits: u64) -> String {
    Rate::from_bits_per_second(bits).map_or_else(|| "-".to_owned(), |rate| rate.to_string())
}

fn share(part: u64, whole: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        Some(percent) => format!("{percent}%"),
        None => "-".to_owned(),
    }
}

pub(super) const fn ivc_state(state: IvcState) -> &'static str {
    match state {
        IvcState::Waiting => "waiting",
        IvcState::Up => "up",
        IvcState::LinkDown => "link down",
        IvcState::Silent => "silent",
        IvcState::Unheard => "unheard",
        IvcState::Impaired => "impaired",
    }
}

/// Three digits are enough for people.
pub(super) fn round_trip(seconds: Option<f64>) -> String {
    match seconds.map(|seconds| seconds * 1000.0) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 100.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// The loss of the worse direction.
pub(super) fn loss(ivc: &IvcStatus) -> String {
    let worse = [ivc.loss_tx_ratio, ivc.loss_rx_ratio]
        .into_iter()
        .flatten()
        .reduce(f64::max);
    match worse.map(|ratio| ratio * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent > 0.0 && percent < 10.0 => format!("{percent:.1}%"),
        Some(percent) => format!("{percent:.0}%"),
    }
}

/// The MTU in use, with a question mark while it is assumed.
pub(super) fn ivc_mtu(ivc: &IvcStatus) -> String {
    match ivc.mtu_source {
        MtuSource::Assumed => format!("{}?", ivc.mtu),
        MtuSource::Probed | MtuSource::Fixed => ivc.mtu.to_string(),
    }
}

/// How long ago a time in seconds since the epoch was.
pub(super) fn age(since: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let age = now.as_secs().saturating_sub(since);
    // Two units are enough for people.
    let coarse = match age {
        0..3600 => age,
        3600..86_400 => age / 60 * 60,
        _ => age / 3600 * 3600,
    };
    humantime::format_duration(Duration::from_secs(coarse)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_is_not_negotiated_has_one_line() {
        let tunnel = TunnelStatus {
            name: "paris".to_owned(),
            state: TunnelState::Down,
            split: "mtu".to_owned(),
            suite: None,
            local: None,
            remote: None,
            mtu: 0,
            mss: None,
            sequence: 0,
            trouble: None,
            ivcs: Vec::new(),
        };
        let mut text = String::new();
        show_tunnel(&mut text, &tunnel, false);
        assert_eq!(text, "tunnel paris is down: not negotiated yet\n");
    }
}
