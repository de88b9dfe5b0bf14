//! Debian's kernels for the virtual machines: downloaded and unpacked, never installed.

mod fetch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::packages;
use crate::{progress::Step, workspace};

/// A line of kernels of which the newest is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// Debian 12's backported kernel: TCX, netkit, everything that Withy uses
    #[value(name = "6.12")]
    V6_12,
    /// Debian 12's own kernel: classifiers by clsact
    #[value(name = "6.1")]
    V6_1,
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V6_12 => "6.12",
            Self::V6_1 => "6.1",
        })
    }
}

impl Series {
    /// Every series, the main one first.
    pub(crate) const ALL: [Self; 2] = [Self::V6_12, Self::V6_1];

    fn package_prefix(self) -> &'static str {
        match self {
            Self::V6_12 => "linux-image-6.12.",
            Self::V6_1 => "linux-image-6.1.0-",
        }
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` will say it.
    pub(crate) release: String,
    /// The compressed kernel that a virtual machine boots.
    pub(crate) image: PathBuf,
    /// What must become `/lib/modules`.
    pub(crate) modules: PathBuf,
}

/// Where the kernel of a series is unpacked.
pub(crate) fn folder(series: Series) -> PathBuf {
    workspace::target()
        .join("vm/kernels")
        .join(series.to_string())
}

/// Whether the kernel is unpacked and complete.
pub(crate) fn is_there(series: Series) -> bool {
    open(series).is_ok()
}

/// The unpacked kernel of a series.
///
/// # Errors
///
/// It is not there, or not complete.
pub(crate) fn open(series: Series) -> Result<Kernel> {
    open_folder(&folder(series))
        .with_context(|| format!("kernel {series} is not unpacked: run `cargo xtask setup`"))
}

/// Downloads and unpacks the kernel unless it is there. What is in place is complete: it is renamed there at the end.
///
/// # Errors
///
/// No such package, or downloading or unpacking failed.
pub(crate) fn ensure(series: Series) -> Result<()> {
    if is_there(series) {
        return Ok(());
    }
    let package = fetch::find_package(series)?;
    let step = Step::start(format!("setup: fetching {package}"));
    let parent = workspace::target().join("vm/kernels");
    fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(&parent)?;
    let archives = packages::download(&step, &[package], work.path())?;
    let archive = archives.first().context("apt-get left no package")?;
    let unpacked = work.path().join("root");
    fetch::unpack(&step, archive, &unpacked)?;
    let place = folder(series);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot clear {}", place.display()))?;
    }
    fs::rename(&unpacked, &place).with_context(|| format!("cannot fill {}", place.display()))?;
    step.done();
    Ok(())
}

fn open_folder(folder: &Path) -> Result<Kernel> {
    let modules = folder.join("lib/modules");
    let entry = fs::read_dir(&modules)?
        .next()
        .context("no modules in it")??;
    let release = entry.file_name().to_string_lossy().into_owned();
    let image = folder.join("boot").join(format!("vmlinuz-{release}"));
    if !image.is_file() || !modules.join(&release).join("modules.dep").is_file() {
        bail!("{} is incomplete", folder.display());
    }
    Ok(Kernel {
        release,
        image,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_kernel_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_folder(folder.path()).is_err());
        let modules = folder.path().join("lib/modules/6.12.1");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir(folder.path().join("boot")).unwrap();
        fs::write(folder.path().join("boot/vmlinuz-6.12.1"), "").unwrap();
        assert!(open_folder(folder.path()).is_err());
        fs::write(modules.join("modules.dep"), "").unwrap();
        assert_eq!(open_folder(folder.path()).unwrap().release, "6.12.1");
    }
}
