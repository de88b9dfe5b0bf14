//! Tools from crates.io, built into the workspace's own target folder.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{command, progress::Step, workspace};

/// A program of a crate on crates.io, in one exact version.
pub(crate) struct CargoTool {
    /// The crate, and its program.
    pub(crate) name: &'static str,
    /// The version that is wanted.
    pub(crate) version: &'static str,
    /// Further arguments of `cargo install`.
    pub(crate) arguments: &'static [&'static str],
}

/// The linter of dependencies: licences, duplicates, sources, advisories.
pub(crate) const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
    arguments: &[],
};

/// WireGuard in user space, which the benches compare with.
pub(crate) const BORINGTUN: CargoTool = CargoTool {
    name: "boringtun-cli",
    version: "0.7.1",
    arguments: &[],
};

impl CargoTool {
    /// The program's path, whether it is there or not.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        workspace::tools().join("bin").join(self.name)
    }

    /// Builds the tool unless it is there in the right version. `prepare` completes the command where the tool's
    /// build needs more.
    ///
    /// # Errors
    ///
    /// The build failed; the message has the tail of cargo's output.
    pub(crate) fn ensure(&self, prepare: impl FnOnce(&mut Command) -> Result<()>) -> Result<()> {
        if self.is_there() {
            return Ok(());
        }
        let (name, version) = (self.name, self.version);
        let step = Step::start(format!(
            "setup: building {name} {version} into target/tools"
        ));
        let build = workspace::tools().join("build");
        let mut install = command::foreign_cargo("cargo");
        install
            .args(["install", name, "--version", version, "--locked", "--force"])
            .args(self.arguments)
            .arg("--root")
            .arg(workspace::tools())
            .arg("--target-dir")
            .arg(&build);
        prepare(&mut install)?;
        command::run(&step, install)?;
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
        step.done();
        Ok(())
    }

    /// Cargo puts a program in place only when it is complete, so one that answers is whole. One whose libraries have
    /// gone does not answer and is built again.
    fn is_there(&self) -> bool {
        let mut ask = Command::new(self.path());
        ask.arg("--version");
        // Not every program calls itself as its crate is called.
        command::output(ask)
            .is_ok_and(|answer| answer.split_whitespace().next_back() == Some(self.version))
    }
}
