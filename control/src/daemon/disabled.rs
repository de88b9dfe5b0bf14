//! The links that the operator has taken out of use. They stay so over restarts, as an interface stays down.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::state_file;
use crate::config::LinkName;

/// Links out of use, and the file that notes them down.
#[derive(Debug)]
pub(super) struct Disabled {
    file: PathBuf,
    links: BTreeSet<LinkName>,
}

impl Disabled {
    /// Reads the file; without one, or with one that cannot be read, every link is in use.
    pub(super) fn load(state_dir: &Path) -> Self {
        let file = state_dir.join("links-down.json");
        let links = match state_file::load(&file) {
            Ok(links) => links,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => {
                let file = file.display();
                warn!(%file, "cannot read which links are out of use: {error}");
                BTreeSet::new()
            }
        };
        Self { file, links }
    }

    /// The links.
    pub(super) fn links(&self) -> &BTreeSet<LinkName> {
        &self.links
    }

    /// Takes a link out of use, or into use again; returns whether that changes anything.
    ///
    /// # Errors
    ///
    /// The file cannot be written: then nothing is changed.
    pub(super) fn set(&mut self, link: &LinkName, down: bool) -> io::Result<bool> {
        let mut links = self.links.clone();
        let changed = if down {
            links.insert(link.clone())
        } else {
            links.remove(link)
        };
        if changed {
            if links.is_empty() {
                fs::remove_file(&self.file)?;
            } else {
                state_file::store(&self.file, &links)?;
            }
            self.links = links;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_out_of_use_until_they_are_wanted_again() {
        let dir = tempfile::tempdir().unwrap();
        let dsl: LinkName = "dsl".parse().unwrap();
        let mut disabled = Disabled::load(dir.path());
        assert!(disabled.set(&dsl, true).unwrap());
        assert!(!disabled.set(&dsl, true).unwrap());
        let mut disabled = Disabled::load(dir.path());
        assert_eq!(disabled.links(), &[dsl.clone()].into());
        assert!(disabled.set(&dsl, false).unwrap());
        assert!(!disabled.set(&dsl, false).unwrap());
        assert!(Disabled::load(dir.path()).links().is_empty());
    }
}
