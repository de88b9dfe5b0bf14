//! One daemon a gateway.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::{DaemonError, Directories};

/// Makes the directories and takes the lock, which is held while the file is open.
pub(super) fn acquire(directories: &Directories) -> Result<File, DaemonError> {
    make(&directories.run_dir, 0o755)?;
    make(&directories.state_dir, 0o700)?;
    let path = directories.lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| DaemonError::Directory {
            path: path.clone(),
            source,
        })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DaemonError::Running(path)),
        Err(error) => Err(DaemonError::Directory {
            path,
            source: error.into(),
        }),
    }
}

fn make(directory: &Path, mode: u32) -> Result<(), DaemonError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => DaemonError::Privilege,
            _ => DaemonError::Directory {
                path: directory.to_owned(),
                source,
            },
        })
}
