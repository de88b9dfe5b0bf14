//! What does not work at present, told once.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

/// The problems of the last round, and of what does not take part in the rounds.
#[derive(Debug, Default)]
pub(super) struct Problems {
    round: BTreeSet<String>,
    others: BTreeMap<&'static str, String>,
}

impl Problems {
    /// Replaces the problems, and logs those that are new or gone; a problem that stays is silent.
    pub(super) fn replace(&mut self, now: BTreeSet<String>) {
        for problem in now.difference(&self.round) {
            warn!("{problem}");
        }
        for problem in self.round.difference(&now) {
            info!("no longer: {problem}");
        }
        self.round = now;
    }

    /// Sets the one problem that something outside of the rounds has, or that it has none.
    pub(super) fn set(&mut self, of: &'static str, now: Option<String>) {
        let before = match &now {
            Some(problem) => self.others.insert(of, problem.clone()),
            None => self.others.remove(of),
        };
        if before == now {
            return;
        }
        if let Some(problem) = before {
            info!("no longer: {problem}");
        }
        if let Some(problem) = now {
            warn!("{problem}");
        }
    }

    /// Lists them.
    pub(super) fn list(&self) -> Vec<String> {
        self.round
            .iter()
            .chain(self.others.values())
            .cloned()
            .collect()
    }
}
