//! `withy check`.

use std::path::Path;

use super::{Exit, complain, exit};
use crate::{
    config::{
        self, Report,
        host::{InterfaceFacts, Interfaces},
    },
    kernel::netlink::{Netlink, NetlinkError},
};

/// Checks a configuration, and against this machine unless `offline`.
pub(super) fn check(path: &Path, json: bool, offline: bool) -> Exit {
    let reports = match examine(path, offline) {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("withy: this machine's interfaces cannot be listed: {error}");
            return Exit::Failed;
        }
    };
    let bad = reports.iter().any(Report::has_errors);
    for report in reports.iter().filter(|report| json || !report.is_empty()) {
        if json {
            match serde_json::to_string(report) {
                Ok(text) => exit::print(&(text + "\n")),
                Err(error) => eprintln!("withy: {error}"),
            }
        } else {
            complain(report);
        }
    }
    if bad {
        return Exit::Configuration;
    }
    if !json {
        exit::print(&format!("{}: fine\n", path.display()));
    }
    Exit::Fine
}

/// Reports on the file, and where that is fine on the machine.
fn examine(path: &Path, offline: bool) -> Result<Vec<Report>, NetlinkError> {
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(report) => return Ok(vec![report]),
    };
    let mut reports = vec![loaded.warnings.clone()];
    if !offline {
        let host = config::host::check(&loaded, &interfaces()?);
        if !host.is_empty() {
            reports.push(host);
        }
    }
    Ok(reports)
}

fn interfaces() -> Result<Interfaces, NetlinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| NetlinkError::Open {
            protocol: "route",
            source,
        })?;
    let facts = runtime.block_on(async { Netlink::open()?.link_facts().await })?;
    Ok(facts
        .into_iter()
        .map(|(name, facts)| {
            let known = InterfaceFacts {
                ethernet: facts.ethernet,
                mtu: facts.mtu,
            };
            (name.to_string(), known)
        })
        .collect())
}
