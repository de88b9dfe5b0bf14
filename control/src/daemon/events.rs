//! Telling what happens: to the log, to monitors, and to who asks later, all by the same call.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::broadcast;
use tracing::{info, warn};

use crate::api::event::{Event, Severity, What};

/// How many events a monitor may be behind before it misses some.
const BEHIND: usize = 256;
/// How many of the last events are kept.
const KEPT: usize = 256;

/// Where what happens is told. Clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    monitors: broadcast::Sender<Arc<Event>>,
    last: Arc<Mutex<VecDeque<Arc<Event>>>>,
}

impl Events {
    /// Begins with no event.
    pub(crate) fn new() -> Self {
        Self {
            monitors: broadcast::channel(BEHIND).0,
            last: Arc::default(),
        }
    }

    /// Tells that something happens.
    pub(crate) fn tell(&self, what: What) {
        let event = Arc::new(Event::new(SystemTime::now(), what));
        match event.severity {
            Severity::Warning => warn!("{}", event.text),
            Severity::Info => info!("{}", event.text),
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.truncate(KEPT - 1);
        last.push_front(event.clone());
        // Without a monitor nobody gets it.
        let _ = self.monitors.send(event);
    }

    /// Whatever happens from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.monitors.subscribe()
    }

    /// The last events, the oldest first.
    pub(crate) fn last(&self) -> Vec<Event> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().rev().map(|event| (**event).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(number: usize) -> What {
        What::Problem {
            problem: number.to_string(),
        }
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let events = Events::new();
        assert_eq!(events.last(), []);
        for number in 0..KEPT + 10 {
            events.clone().tell(problem(number));
        }
        let last = events.last();
        let whats: Vec<_> = last.into_iter().map(|event| event.what).collect();
        assert_eq!(whats, (10..KEPT + 10).map(problem).collect::<Vec<_>>());
    }

    #[test]
    fn who_does_not_listen_holds_nobody_up_and_learns_what_is_missed() {
        use broadcast::error::TryRecvError;

        let events = Events::new();
        let mut slow = events.subscribe();
        for number in 0..BEHIND + 10 {
            events.tell(problem(number));
        }
        assert_eq!(slow.try_recv().unwrap_err(), TryRecvError::Lagged(10));
        assert_eq!(slow.try_recv().unwrap().what, problem(10));
    }
}
