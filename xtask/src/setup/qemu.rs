//! The machine emulator: the system's own, or Debian's package unpacked beside the kernels. It is never installed: that
//! could replace other programs of the same source package, which a set-up must not do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::packages;
use crate::{command, progress::Step, workspace};

/// The emulator's name.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where the unpacked libraries may be.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// An emulator that can be started.
#[derive(Debug)]
pub(crate) struct Emulator {
    program: PathBuf,
    /// Folders of shared libraries that the system has no others of.
    libraries: Vec<PathBuf>,
}

impl Emulator {
    /// The system's emulator, or else the unpacked one.
    pub(crate) fn find() -> Option<Self> {
        if let Some(program) = command::find(PROGRAM) {
            return Some(Self {
                program,
                libraries: Vec::new(),
            });
        }
        Self::unpacked_in(&folder())
    }

    fn unpacked_in(folder: &Path) -> Option<Self> {
        let program = folder.join("usr/bin").join(PROGRAM);
        let libraries = LIBRARIES.iter().map(|library| folder.join(library));
        program.is_file().then(|| Self {
            program,
            libraries: libraries.collect(),
        })
    }

    /// Makes `command` start the emulator, as its last arguments so far.
    pub(crate) fn start_by(&self, command: &mut Command) {
        command.arg(&self.program);
        if let Ok(path) = std::env::join_paths(&self.libraries)
            && !path.is_empty()
        {
            command.env("LD_LIBRARY_PATH", path);
        }
    }
}

fn folder() -> PathBuf {
    workspace::target().join("vm/qemu")
}

/// Downloads and unpacks the emulator unless there is one. What is in place is complete: it is renamed there at the end.
///
/// # Errors
///
/// apt has no such package, or downloading or unpacking failed.
pub(crate) fn ensure() -> Result<()> {
    if Emulator::find().is_some() {
        return Ok(());
    }
    let step = Step::start(format!("setup: fetching {PACKAGE}"));
    let place = folder();
    let parent = place.parent().context("the folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)?;
    let unpacked = work.path().join("root");
    let archives = packages::download(&step, &with_missing_libraries()?, work.path())?;
    step.note("unpacking");
    for archive in archives {
        packages::unpack(&step, &archive, &unpacked)?;
    }
    if Emulator::unpacked_in(&unpacked).is_none() {
        bail!("the package {PACKAGE} has no {PROGRAM}");
    }
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot clear {}", place.display()))?;
    }
    fs::rename(&unpacked, &place).with_context(|| format!("cannot fill {}", place.display()))?;
    step.done();
    Ok(())
}

/// The emulator's package and what of its dependencies the system has not.
fn with_missing_libraries() -> Result<Vec<String>> {
    let mut simulation = packages::apt_get();
    simulation.args(["--simulate", "install", "--no-install-recommends", PACKAGE]);
    let plan = command::output(simulation)?;
    let names = to_install(&plan);
    if names.is_empty() {
        bail!("{PACKAGE} is installed, but there is no {PROGRAM}: install the package again");
    }
    Ok(names)
}

/// The packages that a simulated installation adds.
fn to_install(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_it_installs() {
        let plan = "Reading package lists...\nRemv qemu-utils [1:10.0.2]\nInst libfdt1 (1.6.1-4 Debian:12/stable \
                    [amd64])\nInst qemu-system-x86 (1:7.2 Debian:12/stable [amd64])\nConf libfdt1 (1.6.1-4 Debian)\n";
        assert_eq!(to_install(plan), ["libfdt1", "qemu-system-x86"]);
    }

    #[test]
    fn an_unpacked_emulator_brings_its_libraries() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Emulator::unpacked_in(folder.path()).is_none());
        fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        fs::write(folder.path().join("usr/bin").join(PROGRAM), "").unwrap();
        let mut command = Command::new("setpriv");
        Emulator::unpacked_in(folder.path())
            .unwrap()
            .start_by(&mut command);
        let path = command
            .get_envs()
            .find_map(|(name, value)| (name == "LD_LIBRARY_PATH").then_some(value).flatten())
            .unwrap();
        assert!(std::env::split_paths(path).all(|library| library.starts_with(folder.path())));
    }
}
