//! What does not work at present, told once.

use std::collections::{BTreeMap, BTreeSet};

use super::events::Events;
use crate::api::event::What;

/// The problems of the last round, and of what does not take part in the rounds.
#[derive(Debug)]
pub(super) struct Problems {
    events: Events,
    round: BTreeSet<String>,
    others: BTreeMap<&'static str, String>,
}

impl Problems {
    /// Begins with none.
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            round: BTreeSet::new(),
            others: BTreeMap::new(),
        }
    }

    fn came(&self, problem: &str) {
        let problem = problem.to_owned();
        self.events.tell(What::Problem { problem });
    }

    fn went(&self, problem: &str) {
        let problem = problem.to_owned();
        self.events.tell(What::ProblemGone { problem });
    }

    /// Replaces the problems, and tells those that are new or gone; a problem that stays is silent.
    pub(super) fn replace(&mut self, now: BTreeSet<String>) {
        for problem in now.difference(&self.round) {
            self.came(problem);
        }
        for problem in self.round.difference(&now) {
            self.went(problem);
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
            self.went(&problem);
        }
        if let Some(problem) = now {
            self.came(&problem);
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
