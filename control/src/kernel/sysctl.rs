//! Settings under `/proc/sys`, and the record of what they were before.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::reconcile::objects::{Sysctl, SysctlPath};

/// The name of the record in the state directory.
const RECORD: &str = "sysctls.json";

/// The settings of the network namespace of the calling thread.
///
/// The kernel resolves `/proc/sys/net` by the thread that opens a file there, so all calls must
/// come from threads in the same namespace.
#[derive(Debug)]
pub struct Sysctls {
    directory: PathBuf,
    record: Record,
}

/// What is on disk: the former value of every setting that Withy has changed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The boot and the network namespace that the values belong to. Both begin with the system's
    /// own values, so a record from another one means nothing.
    origin: String,
    originals: BTreeMap<SysctlPath, String>,
}

/// A setting could not be read, written or recorded.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// A file could not be used.
    #[error("cannot {action} {}: {source}", file.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The record was edited by hand, or the disk is broken.
    #[error("{} is damaged: {source}", file.display())]
    Damaged {
        /// The record.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Sysctls {
    /// Reads the record, and makes the state directory if it is missing.
    ///
    /// # Errors
    ///
    /// The directory or the record cannot be used.
    pub fn open(directory: &Path) -> Result<Self, SysctlError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        let origin = origin()?;
        let file = directory.join(RECORD);
        let record = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SysctlError::Damaged { file, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record {
                origin: origin.clone(),
                originals: BTreeMap::new(),
            },
            Err(source) => return Err(failed("read", &file)(source)),
        };
        let record = if record.origin == origin {
            record
        } else {
            Record {
                origin,
                originals: BTreeMap::new(),
            }
        };
        Ok(Self {
            directory: directory.to_owned(),
            record,
        })
    }

    /// Reads a setting; none if there is no such setting.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read(&self, path: &SysctlPath) -> Result<Option<String>, SysctlError> {
        match fs::read_to_string(path.file()) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(failed("read", &path.file())(source)),
        }
    }

    /// The former value of every setting that was changed.
    #[must_use]
    pub fn originals(&self) -> &BTreeMap<SysctlPath, String> {
        &self.record.originals
    }

    /// Changes a setting. Its former value is on disk before the change happens.
    ///
    /// # Errors
    ///
    /// There is no such setting, the kernel refuses the value, or the record cannot be written.
    pub fn set(&mut self, sysctl: &Sysctl) -> Result<(), SysctlError> {
        let file = sysctl.path.file();
        let before = fs::read_to_string(&file)
            .map_err(failed("read", &file))?
            .trim()
            .to_owned();
        let is_new = !self.record.originals.contains_key(&sysctl.path);
        if is_new {
            self.record.originals.insert(sysctl.path.clone(), before);
            if let Err(error) = self.save() {
                self.record.originals.remove(&sysctl.path);
                return Err(error);
            }
        }
        let written = write(&file, &sysctl.value.text());
        if written.is_err() && is_new {
            self.record.originals.remove(&sysctl.path);
            self.save()?;
        }
        written
    }

    /// Gives a setting its former value back. One that has gone with its interface is forgotten.
    ///
    /// # Errors
    ///
    /// The kernel refuses the value, or the record cannot be written.
    pub fn restore(&mut self, path: &SysctlPath) -> Result<(), SysctlError> {
        let Some(original) = self.record.originals.get(path) else {
            return Ok(());
        };
        match write(&path.file(), original) {
            Err(SysctlError::File { source, .. }) if is_absent(&source) => {}
            other => other?,
        }
        self.record.originals.remove(path);
        self.save()
    }

    /// Writes the record in one piece: a crash leaves the old one or the new one. An empty record
    /// is no file.
    fn save(&self) -> Result<(), SysctlError> {
        let file = self.directory.join(RECORD);
        if self.record.originals.is_empty() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", &file)(error))
                }
                _ => Ok(()),
            };
        }
        let bytes =
            serde_json::to_vec_pretty(&self.record).map_err(|source| SysctlError::Damaged {
                file: file.clone(),
                source,
            })?;
        let next = self.directory.join(format!("{RECORD}.new"));
        replace(&next, &file, &bytes).map_err(failed("write", &file))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("write", &self.directory))
    }
}

fn replace(next: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(next)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(next, file)
}

/// Writes a setting; procfs takes a value only in one call.
fn write(file: &Path, value: &str) -> Result<(), SysctlError> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(failed("write", file))
}

/// Names the boot and the network namespace of the calling thread.
fn origin() -> Result<String, SysctlError> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let namespace = Path::new("/proc/thread-self/ns/net");
    let boot = fs::read_to_string(boot).map_err(failed("read", boot))?;
    let namespace = fs::read_link(namespace).map_err(failed("read", namespace))?;
    Ok(format!("{} {}", boot.trim(), namespace.display()))
}

/// Whether the interface of a setting is gone; it may go while the file is open.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn failed(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> SysctlError {
    let file = file.to_owned();
    move |source| SysctlError::File {
        action,
        file,
        source,
    }
}
