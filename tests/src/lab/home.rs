//! The lab's files: a mount namespace with file systems that nobody else sees.

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::MutexGuard,
};

use anyhow::{Context, Result, ensure};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use crate::sys;

/// Where a lab's files are, inside its own mount namespace only.
const MOUNT_POINT: &str = "/run/withy-lab";

/// A private file tree for pins, sockets, state, keys and configuration.
///
/// It belongs to the thread that made it and to threads and children started from that one
/// afterwards. With the last of them it is gone, however they ended.
#[derive(Debug)]
pub(crate) struct Home {
    root: PathBuf,
    /// Unmounting on another thread would hit another mount namespace. As a guard is, this type is
    /// bound to its thread and can still be shared.
    _stays: PhantomData<MutexGuard<'static, ()>>,
}

/// The directories of one gateway.
#[derive(Clone, Debug)]
pub struct GatewayDirs {
    root: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Result<Self> {
        fs::create_dir_all(MOUNT_POINT).with_context(|| format!("cannot make {MOUNT_POINT}"))?;
        let used = fs::read_dir(MOUNT_POINT)?.next().is_some();
        ensure!(
            !used,
            "this thread has a lab already: its files are at {MOUNT_POINT}"
        );
        sys::process::unshare_mounts().context("cannot make a mount namespace; am I root?")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context("cannot make the mount namespace private")?;
        mount(
            "withy-lab",
            MOUNT_POINT,
            "tmpfs",
            MountFlags::empty(),
            c"mode=0755",
        )
        .with_context(|| format!("cannot mount a tmpfs at {MOUNT_POINT}"))?;
        Ok(Self {
            root: MOUNT_POINT.into(),
            _stays: PhantomData,
        })
    }

    pub(crate) fn gateway(&self, site: &str) -> Result<GatewayDirs> {
        ensure!(
            !site.is_empty() && site.chars().all(char::is_alphanumeric),
            "the site name {site:?} is not made of letters and digits"
        );
        let dirs = GatewayDirs {
            root: self.root.join(site),
        };
        for dir in [
            dirs.bpf(),
            dirs.run(),
            dirs.state(),
            dirs.keys(),
            dirs.etc(),
        ] {
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        mount("bpf", dirs.bpf(), "bpf", MountFlags::empty(), None)
            .with_context(|| format!("cannot mount a bpffs at {}", dirs.bpf().display()))?;
        Ok(dirs)
    }
}

/// Mounts a file system in memory over a directory, and makes that first where there is none. Whoever sees the lab's
/// files sees an empty directory there, and nobody else sees what is put into it. Only on the lab's own thread.
pub(crate) fn cover(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    mount(
        "withy-lab",
        directory,
        "tmpfs",
        MountFlags::empty(),
        c"mode=0755",
    )
    .with_context(|| format!("cannot mount a tmpfs at {}", directory.display()))
}

impl Drop for Home {
    fn drop(&mut self) {
        // Detached, for a gateway that is being killed may still have files open. It fails only on
        // a thread that does not see the mount; there the mount goes with its own thread.
        let _unmounted: io::Result<()> =
            unmount(&self.root, UnmountFlags::DETACH).map_err(Into::into);
    }
}

impl GatewayDirs {
    /// A BPF file system of the gateway's own, for pins.
    #[must_use]
    pub fn bpf(&self) -> PathBuf {
        self.root.join("bpf")
    }

    /// Where the gateway keeps its pins; it makes and removes the directory itself.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpf().join("withy")
    }

    /// For sockets and logs.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// For what outlives the daemon.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// For key files.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// For the configuration.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }
}
