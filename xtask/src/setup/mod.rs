//! Finding or installing what building and testing take.

pub(crate) mod bpf_linker;
pub(crate) mod cargo_install;
mod distro;
pub(crate) mod kernels;
mod llvm;
mod packages;
pub(crate) mod qemu;
mod requirements;
pub(crate) mod toolchain;

use std::fs;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use self::{distro::Distro, kernels::Series, toolchain::Toolchain};
use crate::workspace;

/// What to prepare for. Each purpose includes the ones before it, but that benches need no virtual machines and no checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// Compiling the workspace and the eBPF programs
    Build,
    /// Running tests on the kernel at hand
    Test,
    /// Running things in virtual machines
    Vm,
    /// Every check that a change must pass
    Ci,
    /// Comparing with other systems
    Bench,
}

impl Purpose {
    /// Whether what is for `other` is for this, too.
    fn includes(self, other: Self) -> bool {
        match self {
            Self::Bench => other <= Self::Test || other == Self::Bench,
            _ => other <= self,
        }
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Vm => "vm",
            Self::Ci => "ci",
            Self::Bench => "bench",
        })
    }
}

/// Makes sure that everything for `purpose` is there. Silent where there is nothing to do.
///
/// # Errors
///
/// Something is missing that cannot be installed here (the message names it), or an installation failed.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let _lock = lock()?;
    match Distro::read() {
        Distro::Debian => packages::ensure(purpose)?,
        Distro::Other(name) => requirements::check(purpose, &name)?,
    }
    if Toolchain::find().is_none() {
        bail!(
            "no toolchain for eBPF, although its packages are installed: {}",
            toolchain::ADVICE
        );
    }
    bpf_linker::ensure()?;
    if purpose.includes(Purpose::Vm) {
        qemu::ensure()?;
        for series in Series::ALL {
            kernels::ensure(series)?;
        }
    }
    if purpose.includes(Purpose::Ci) {
        cargo_install::CARGO_DENY.ensure(|_| Ok(()))?;
    }
    if purpose.includes(Purpose::Bench) {
        cargo_install::BORINGTUN.ensure(|_| Ok(()))?;
    }
    Ok(())
}

/// Keeps two set-ups from working on the same folders at once. The lock ends with the returned file.
fn lock() -> Result<fs::File> {
    let path = workspace::target().join("setup.lock");
    fs::create_dir_all(workspace::target()).context("cannot create the target folder")?;
    let file =
        fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
