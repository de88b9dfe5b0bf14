//! What does not work at present, told once.

use std::collections::BTreeSet;

use tracing::{info, warn};

/// The problems of the last round.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeSet<String>);

impl Problems {
    /// Replaces the problems, and logs those that are new or gone; a problem that stays is silent.
    pub(super) fn replace(&mut self, now: BTreeSet<String>) {
        for problem in now.difference(&self.0) {
            warn!("{problem}");
        }
        for problem in self.0.difference(&now) {
            info!("no longer: {problem}");
        }
        self.0 = now;
    }

    /// Lists them.
    pub(super) fn list(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}
