//! `cargo xtask bench`: measuring on the kernel at hand.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    build_ebpf::{self, Object},
    command,
    setup::{self, Purpose},
    workspace,
};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// The eBPF programs: time a packet, and packets a second through two links
    Dataplane,
}

impl Bench {
    /// The word for the runner.
    const fn word(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
        }
    }
}

/// Builds what the bench needs and runs it; returns the exit status for the caller.
///
/// # Errors
///
/// Something cannot be set up, built or started.
pub(crate) fn run(bench: Bench, json: bool, runs: Option<u32>) -> Result<u8> {
    setup::ensure(Purpose::Test)?;
    // The controller embeds the object: no crate that uses it compiles before.
    build_ebpf::build(Object::Programs, false)?;
    let programs = build_ebpf::build(Object::Bench, false)?;
    build_runner()?;
    let mut runner = std::process::Command::new(workspace::target().join("release/withy-bench"));
    runner.arg(bench.word()).arg("--programs").arg(programs);
    if json {
        runner.arg("--json");
    }
    if let Some(runs) = runs {
        runner.args(["--runs", &runs.to_string()]);
    }
    let status = runner
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", command::show(&runner)))?;
    // Killed by a signal, it has no code.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

fn build_runner() -> Result<()> {
    let mut cargo = command::cargo("build");
    cargo
        .args(["--quiet", "--release", "--package", "withy-tests"])
        .args(["--bin", "withy-bench"])
        .stdin(Stdio::null());
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", command::show(&cargo));
    }
    Ok(())
}
