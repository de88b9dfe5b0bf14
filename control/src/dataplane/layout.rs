//! Whether a pinned map still has the layout that the programs expect.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use aya::maps::MapInfo;
use tracing::{info, warn};

use super::DataplaneError;

/// The size of a map and of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The map's name.
    pub(super) name: &'static str,
    /// The most entries.
    pub(super) entries: u32,
    /// The size of a value in bytes.
    pub(super) value: usize,
}

impl Layout {
    /// Unpins a map of another layout: aya would take it over unseen. Programs that run on it keep it
    /// until they are replaced.
    pub(super) fn discard_misfit(&self, path: &Path) -> Result<(), DataplaneError> {
        let Ok(found) = MapInfo::from_pin(path) else {
            return Ok(());
        };
        let failed = |source| DataplaneError::Directory {
            path: path.to_owned(),
            source,
        };
        let fd = found
            .fd()
            .map_err(|error| failed(io::Error::other(error)))?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))
            .map_err(failed)?;
        if self.matches(&text) {
            info!(map = self.name, "adopting the pinned map");
            return Ok(());
        }
        warn!(
            map = self.name,
            "the pinned map has another layout: its contents are lost"
        );
        fs::remove_file(path).map_err(failed)
    }

    /// Compares with the kernel's description of a map (`bpf_map_show_fdinfo`).
    fn matches(&self, fdinfo: &str) -> bool {
        let field = |name: &str| {
            fdinfo.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(':')?
                    .trim()
                    .parse::<usize>()
                    .ok()
            })
        };
        field("max_entries") == usize::try_from(self.entries).ok()
            && field("value_size") == Some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_both_sizes() {
        let text = "pos:\t0\nmap_type:\t1\nkey_size:\t4\nvalue_size:\t16\nmax_entries:\t4096\n";
        let layout = Layout {
            name: "IVCS",
            entries: 4096,
            value: 16,
        };
        assert!(layout.matches(text));
        assert!(
            !Layout {
                entries: 4097,
                ..layout
            }
            .matches(text)
        );
        assert!(
            !Layout {
                value: 24,
                ..layout
            }
            .matches(text)
        );
        assert!(!layout.matches(""));
    }
}
