//! Where maps and links are pinned.
//!
//! `BASE/vN/maps/NAME` and `BASE/vN/links/PROGRAM-IFINDEX`, with N the maps' layout. (The kernel allows no
//! dots in pins' names, so interfaces go by index; an index also tells a new interface from an old one.)

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use withy_common::maps::LAYOUT;

use super::DataplaneError;

/// The pins' directories.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Names the pins below `base`, which lies on a bpffs.
    pub(super) fn new(base: &Path) -> Self {
        Self {
            root: base.join(format!("v{LAYOUT}")),
        }
    }

    /// Creates the directories.
    pub(super) fn create(&self) -> Result<(), DataplaneError> {
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory).map_err(|source| DataplaneError::Directory {
                path: directory,
                source,
            })?;
        }
        Ok(())
    }

    fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// The pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The pin of the link between a program and an interface.
    pub(super) fn link(&self, program: &str, ifindex: u32) -> PathBuf {
        self.links().join(format!("{program}-{ifindex}"))
    }

    /// Removes the pins of links that `keep` does not name; without a pin the kernel detaches them.
    pub(super) fn retain_links(&self, keep: &[PathBuf]) -> Result<(), DataplaneError> {
        let directory = self.links();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataplaneError::Directory { path, source }
        };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed(&directory))?,
        };
        for entry in entries {
            let path = entry.map_err(failed(&directory))?.path();
            if !keep.contains(&path) {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    /// Removes the pins of all layouts, and the base itself unless it is a mount point or holds something else.
    pub(super) fn remove_all(base: &Path) -> Result<(), DataplaneError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataplaneError::Directory { path, source }
        };
        let entries = match fs::read_dir(base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed(base))?,
        };
        for entry in entries {
            let entry = entry.map_err(failed(base))?;
            if is_layout(&entry.file_name().to_string_lossy()) {
                fs::remove_dir_all(entry.path()).map_err(failed(&entry.path()))?;
            }
        }
        // Whatever keeps it is not Withy's.
        let _ = fs::remove_dir(base);
        Ok(())
    }
}

fn is_layout(name: &str) -> bool {
    name.strip_prefix('v')
        .is_some_and(|number| number.parse::<u32>().is_ok())
}
