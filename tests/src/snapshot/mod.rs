//! A namespace's whole network state, to prove that a teardown left it as it was.
//!
//! The tools `ip` and `tc` are asked on purpose: they see the state independently of the code
//! under test.

mod bpf;
mod mask;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    lab::Site,
    netns::Netns,
    wait::{wait_until, when_calm},
};

/// State that `ip` and `tc` tell as JSON: section, program, arguments.
const JSON_SECTIONS: [(&str, &str, &[&str]); 7] = [
    (
        "links and addresses",
        "ip",
        &["-d", "-j", "address", "show"],
    ),
    (
        "IPv4 routes",
        "ip",
        &["-d", "-j", "-4", "route", "show", "table", "all"],
    ),
    (
        "IPv6 routes",
        "ip",
        &["-d", "-j", "-6", "route", "show", "table", "all"],
    ),
    ("IPv4 rules", "ip", &["-j", "-4", "rule", "show"]),
    ("IPv6 rules", "ip", &["-j", "-6", "rule", "show"]),
    (
        "permanent neighbours",
        "ip",
        &["-j", "neighbour", "show", "nud", "permanent"],
    ),
    ("queueing disciplines", "tc", &["-d", "-j", "qdisc", "show"]),
];

/// Sysctls that belong to a namespace; others that a gateway sets would be a fault of their own,
/// and these directories hold all of its interfaces' settings, too.
const SYSCTL_ROOTS: [&str; 3] = [
    "/proc/sys/net/ipv4",
    "/proc/sys/net/ipv6",
    "/proc/sys/net/core",
];

/// How far a snapshot looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At the gateway's namespace and its pins.
    Namespace,
    /// At all BPF programs, maps and links of the machine, too. They know no namespace, so nobody
    /// else may be loading any: fit for a VM.
    Machine,
}

/// A namespace's links, addresses, routes, rules, neighbours, queueing disciplines, filters, XFRM
/// states and policies and sysctls, and the pins in its gateway's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    scope: Scope,
    sections: BTreeMap<String, BTreeSet<String>>,
}

impl Snapshot {
    /// Looks at a site's gateway once nothing changes any more.
    pub fn when_calm(site: &Site, scope: Scope) -> Result<Self> {
        when_calm("a calm gateway", || Self::of_gateway(site, scope))
    }

    /// Looks at a site's gateway.
    pub fn of_gateway(site: &Site, scope: Scope) -> Result<Self> {
        let (netns, pins) = (site.gateway(), site.dirs().bpf());
        let mut sections = BTreeMap::new();
        for (section, program, args) in JSON_SECTIONS {
            let listed = json(netns, program, args)?;
            sections.insert(section.to_owned(), mask::lines(&listed));
            if program == "tc" {
                sections.insert("filters".to_owned(), filters(netns, &listed)?);
            }
        }
        for kind in ["state", "policy"] {
            sections.insert(format!("XFRM {kind}"), xfrm(netns, kind)?);
        }
        sections.insert("sysctls".to_owned(), sysctls(netns)?);
        let mut pinned = BTreeSet::new();
        walk(&pins, &mut |path| {
            pinned.insert(path.display().to_string());
        })?;
        sections.insert("pins".to_owned(), pinned);
        if scope == Scope::Machine {
            sections.extend(bpf::sections()?);
        }
        Ok(Self { scope, sections })
    }

    /// The number of lines of each section, such as `XFRM state` or `BPF programs`.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let sections = self.sections.iter();
        sections
            .map(|(name, lines)| (name.as_str(), lines.len()))
            .collect()
    }

    /// Tells what differs: lines that are gone with `-`, lines that came with `+`.
    #[must_use]
    pub fn diff(before: &Self, after: &Self) -> Vec<String> {
        let empty = BTreeSet::new();
        let sections: BTreeSet<_> = before
            .sections
            .keys()
            .chain(after.sections.keys())
            .collect();
        let mut differences = Vec::new();
        for section in sections {
            let old = before.sections.get(section).unwrap_or(&empty);
            let new = after.sections.get(section).unwrap_or(&empty);
            differences.extend(
                old.difference(new)
                    .map(|line| format!("- {section}: {line}")),
            );
            differences.extend(
                new.difference(old)
                    .map(|line| format!("+ {section}: {line}")),
            );
        }
        differences
    }

    /// Looks at a site's gateway until it is as it was, or `limit` is over; returns what still
    /// differs then. The kernel frees BPF programs some time after their last user is gone.
    pub fn differences_after(&self, site: &Site, limit: Duration) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        let restored = wait_until(limit, "the state before", || {
            differences = Self::diff(self, &Self::of_gateway(site, self.scope)?);
            Ok(differences.is_empty())
        });
        match restored {
            Err(error) if differences.is_empty() => Err(error),
            _ => Ok(differences),
        }
    }
}

fn run(netns: &Netns, program: &str, args: &[&str]) -> Result<std::process::Output> {
    // A child is born into the namespace of the thread that starts it.
    netns.enter(|| {
        Command::new(program)
            .args(args)
            .output()
            .with_context(|| format!("cannot run {program}"))
    })
}

fn json(netns: &Netns, program: &str, args: &[&str]) -> Result<Value> {
    let output = run(netns, program, args)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    // Tables that were never used are reported as an error of the dump.
    if !output.status.success() && !complaint.contains("FIB table does not exist") {
        bail!("{program} {}: {complaint}", args.join(" "));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{program} {} printed no JSON", args.join(" ")))
}

/// Filters of the queueing disciplines listed. Programs attached by TCX show among the BPF links.
fn filters(netns: &Netns, qdiscs: &Value) -> Result<BTreeSet<String>> {
    let mut filters = BTreeSet::new();
    for qdisc in qdiscs.as_array().into_iter().flatten() {
        let Some(device) = qdisc["dev"].as_str() else {
            continue;
        };
        let hooks: &[&str] = match qdisc["kind"].as_str() {
            // It holds none.
            Some("noqueue") => &[],
            Some("clsact") => &["ingress", "egress"],
            Some("ingress") => &["ingress"],
            _ => &["root"],
        };
        for hook in hooks {
            let listed = json(netns, "tc", &["-j", "filter", "show", "dev", device, hook])?;
            filters.extend(
                mask::lines(&listed)
                    .iter()
                    .map(|line| format!("{device} {hook} {line}")),
            );
        }
    }
    Ok(filters)
}

/// XFRM states or policies; a kernel without XFRM has none.
fn xfrm(netns: &Netns, kind: &str) -> Result<BTreeSet<String>> {
    let args: &[&str] = if kind == "state" {
        &["xfrm", "state", "list", "nokeys"]
    } else {
        &["xfrm", "policy", "list"]
    };
    let output = run(netns, "ip", args)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("Protocol not supported") {
        return Ok(BTreeSet::new());
    }
    if !output.status.success() {
        bail!("ip {}: {complaint}", args.join(" "));
    }
    Ok(mask::xfrm_blocks(&String::from_utf8_lossy(&output.stdout)))
}

fn sysctls(netns: &Netns) -> Result<BTreeSet<String>> {
    netns.enter(|| {
        let mut settings = BTreeSet::new();
        for root in SYSCTL_ROOTS {
            walk(Path::new(root), &mut |path| {
                // Some can only be written, some have no value yet.
                if let Ok(value) = fs::read_to_string(path) {
                    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                    settings.insert(format!("{} = {value}", path.display()));
                }
            })?;
        }
        Ok(settings)
    })
}

/// Visits every file below a directory; what does not exist has none.
fn walk(path: &Path, visit: &mut impl FnMut(&Path)) -> Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", path.display())),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), visit)?;
        } else {
            visit(&entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(lines: &[&str]) -> Snapshot {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        Snapshot {
            scope: Scope::Namespace,
            sections: BTreeMap::from([("rules".to_owned(), lines)]),
        }
    }

    #[test]
    fn a_difference_tells_what_came_and_what_went() {
        let (before, after) = (snapshot(&["a", "b"]), snapshot(&["b", "c"]));
        assert_eq!(
            Snapshot::diff(&before, &after),
            ["- rules: a", "+ rules: c"]
        );
        assert!(Snapshot::diff(&before, &before).is_empty());
    }
}
