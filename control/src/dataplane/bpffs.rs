//! The file system that pins live in.

use std::{fs, io, path::Path};

use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};
use tracing::info;

use super::DataplaneError;

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const MAGIC: u32 = 0xcafe_4a11;
/// Where it is mounted by convention; not every system does.
const USUAL: &str = "/sys/fs/bpf";

/// Mounts a bpffs unless `base` is on one: at the usual place if `base` is below that, else at `base` itself.
pub(super) fn ensure(base: &Path) -> Result<(), DataplaneError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DataplaneError::Directory { path, source }
    };
    let existing = base.ancestors().find(|ancestor| ancestor.exists());
    if existing.map(is_bpffs).transpose().map_err(failed(base))? == Some(true) {
        return Ok(());
    }
    let place = if base.starts_with(USUAL) {
        Path::new(USUAL)
    } else {
        fs::create_dir_all(base).map_err(failed(base))?;
        base
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", place, "bpf", flags, Some(c"mode=0700"))
        .map_err(|error| failed(place)(error.into()))?;
    info!(path = %place.display(), "mounted a bpffs");
    Ok(())
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(u32::try_from(statfs(path)?.f_type).is_ok_and(|magic| magic == MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_file_systems_are_told_apart() {
        assert!(!is_bpffs(Path::new("/proc")).unwrap());
        assert!(is_bpffs(Path::new("/nowhere/at/all")).is_err());
    }
}
