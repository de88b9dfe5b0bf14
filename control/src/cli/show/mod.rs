//! The status for people.

mod cells;
mod ivc;
#[cfg(test)]
mod tests;
mod tunnel;

use std::fmt::Write as _;

use comfy_table::Cell;

use self::cells::optional;
pub(super) use self::{
    cells::{age, good, ivc_name, number, percent, rate, round_trip as time, table},
    ivc::ivc,
    tunnel::tunnel,
};
use crate::api::status::{LinkState, LinkStatus, Status};

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
        text.push_str(&self::tunnel(tunnel, terminal));
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
            "paced",
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
            Cell::new(if link.unpaced.is_none() { "yes" } else { "no" }),
        ]);
    }
    let mut text = format!("{table}\n");
    for link in links {
        if let Some(reason) = &link.unpaced {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {} is not paced: {reason}", link.name);
        }
    }
    text
}
