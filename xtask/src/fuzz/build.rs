//! Building the targets.

use std::{
    env::consts::ARCH,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{Target, folder};
use crate::command;

/// The cargo profile, which lives in the root manifest.
const PROFILE: &str = "fuzz";

/// What makes the compiler note down which code an input reaches, and what it is compared with. The stable compiler does;
/// sanitizers, which only a nightly one has, would find errors of `unsafe` code, of which the targets have none.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Builds all targets, in a folder of their own: other flags would make cargo build everything else again, too.
pub(super) fn build() -> Result<()> {
    let mut cargo = configure(command::cargo("build"));
    let shown = command::show(&cargo);
    let status = cargo
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The file of a target.
pub(super) fn program(target: Target) -> PathBuf {
    folder().join(triple()).join(PROFILE).join(target.name())
}

fn configure(mut cargo: Command) -> Command {
    cargo
        .args(["--quiet", "--package", "withy-fuzz", "--bins"])
        .args(["--profile", PROFILE])
        // Where a target is named, cargo keeps the flags from build scripts and macros, which are not linked with libFuzzer.
        .args(["--target", &triple()])
        .arg("--target-dir")
        .arg(folder())
        // This variable outranks every other source of flags, the user's own configuration included.
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    cargo
}

/// The machine at hand, as the compiler calls it.
fn triple() -> String {
    format!("{ARCH}-unknown-linux-gnu")
}
