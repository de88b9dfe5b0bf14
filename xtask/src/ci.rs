//! `cargo xtask ci`: everything that a change must pass.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    report::{Outcome, Report, Tally},
    setup::{self, Purpose, cargo_install::CARGO_DENY, toolchain::Toolchain},
    test::{self, TestOptions},
    workspace,
};

/// A check that is not a test suite.
struct Check {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

const CHECKS: [Check; 6] = [
    Check {
        name: "format",
        run: format,
    },
    Check {
        name: "clippy",
        run: clippy,
    },
    Check {
        name: "clippy (eBPF)",
        run: clippy_ebpf,
    },
    Check {
        name: "documentation",
        run: documentation,
    },
    Check {
        name: "dependencies",
        run: dependencies,
    },
    Check {
        name: "advisories",
        run: advisories,
    },
];

/// Runs the suites and the checks, all of them whatever fails, and notes their outcomes down in `report`.
pub(crate) fn run(options: &TestOptions, report: &mut Report) {
    let started = Instant::now();
    if let Err(error) = setup::ensure(Purpose::Ci) {
        eprintln!("error: {error:#}");
        report.add("set-up", Outcome::failed("see above"), started.elapsed());
        return;
    }
    test::run(options, report);
    for check in &CHECKS {
        println!("\n== {}", check.name);
        let started = Instant::now();
        let outcome = (check.run)().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Outcome::failed("did not start")
        });
        if !outcome.note.is_empty() {
            println!("{}: {}", check.name, outcome.note);
        }
        report.add(check.name, outcome, started.elapsed());
    }
}

fn format() -> Result<Outcome> {
    let mut cargo = command::cargo("fmt");
    cargo.args(["--all", "--check"]);
    judge(cargo)
}

fn clippy() -> Result<Outcome> {
    // Tests that not every kernel can run are no part of all targets, nor are programs that need the compiler's
    // instrumentation to be of use.
    let elsewhere = ["--package", "withy", "--test", "netlink_esp"];
    let fuzz = ["--package", "withy-fuzz", "--all-targets"];
    for targets in [&["--all-targets"] as &[&str], &elsewhere, &fuzz] {
        let mut cargo = command::cargo("clippy");
        cargo
            .arg("--quiet")
            .args(targets)
            .args(["--", "-D", "warnings"]);
        let outcome = judge(cargo)?;
        if outcome.tally.failed > 0 {
            return Ok(outcome);
        }
    }
    Ok(Tally::PASSED.into())
}

fn clippy_ebpf() -> Result<Outcome> {
    let toolchain = Toolchain::find().context("no toolchain for eBPF")?;
    let Some(clippy) = toolchain.clippy() else {
        return Ok(Outcome::skipped("the toolchain for eBPF has no clippy"));
    };
    let mut clippy = build_ebpf::configure(clippy, toolchain);
    clippy.args(["--quiet", "--", "-D", "warnings"]);
    judge(clippy)
}

fn documentation() -> Result<Outcome> {
    let mut cargo = command::cargo("doc");
    cargo
        .args(["--quiet", "--no-deps"])
        .env("RUSTDOCFLAGS", "-Dwarnings");
    judge(cargo)
}

/// Licences, duplicates and sources of the crates that we use.
fn dependencies() -> Result<Outcome> {
    let mut deny = deny();
    deny.args(["check", "licenses", "bans", "sources"]);
    judge(deny)
}

/// Known vulnerabilities in the crates that we use.
fn advisories() -> Result<Outcome> {
    let mut fetch = deny();
    fetch.args(["fetch", "db"]).stdin(Stdio::null());
    if let Err(error) = command::output(fetch) {
        let reason = error
            .to_string()
            .lines()
            .next_back()
            .unwrap_or_default()
            .trim()
            .to_owned();
        return Ok(Outcome::skipped(format!(
            "no database of advisories: {reason}"
        )));
    }
    let mut deny = deny();
    deny.args(["check", "--disable-fetch", "advisories"]);
    judge(deny)
}

fn deny() -> Command {
    let mut deny = Command::new(CARGO_DENY.path());
    deny.current_dir(workspace::root())
        .args(["--locked", "--all-features"]);
    deny
}

/// Runs a check with its output going to the user.
fn judge(mut check: Command) -> Result<Outcome> {
    let status = check
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", command::show(&check)))?;
    Ok(if status.success() {
        Tally::PASSED.into()
    } else {
        Outcome::failed(status.to_string())
    })
}
