//! How often an IVC is probed: at the full rate while data flows, and more seldom else where that is wanted.

use std::time::Duration;

use super::{Message, Terms};

/// After which time without data an IVC is idle.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(3);
/// How long the slower pace waits for the other side to have heard of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pace of the keepalives that this gateway sends on an IVC.
#[derive(Debug)]
pub(super) struct Pace {
    /// When data flowed last, as far as is known, and how much by then.
    data: Duration,
    pieces: u64,
    /// What the other side said last.
    theirs: Theirs,
    /// Since when, and since which message, a slower pace than before is promised.
    promised: Option<(Duration, u32)>,
    /// Whether the other side knows of it.
    known: bool,
}

#[derive(Debug, Default)]
struct Theirs {
    /// When it was in a hurry last.
    hurry: Option<Duration>,
    metered: bool,
    interval: Duration,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            data: now,
            pieces: 0,
            theirs: Theirs::default(),
            promised: None,
            known: false,
        }
    }

    /// Takes in how many pieces have crossed the IVC in both directions; returns whether data begins to flow.
    pub(super) fn traffic(&mut self, pieces: u64, now: Duration) -> bool {
        if std::mem::replace(&mut self.pieces, pieces) == pieces {
            return false;
        }
        let idle = !self.flows(now);
        self.data = now;
        idle
    }

    /// Takes in what the other side says; returns whether it begins to be in a hurry.
    pub(super) fn heard(&mut self, message: &Message, sent: u32, at: Duration) -> bool {
        if let Some((_, first)) = self.promised {
            // Numbers of an earlier run are larger than any sent by now.
            let newest = message.received.newest;
            self.known |= (first..=sent).contains(&newest);
        }
        let before = self.theirs.hurry;
        self.theirs = Theirs {
            hurry: message.hurry.then_some(at),
            metered: message.metered,
            interval: Duration::from_millis(message.interval.into()),
        };
        message.hurry && before.is_none()
    }

    /// Whether data flows, as far as this side knows.
    pub(super) fn flows(&self, now: Duration) -> bool {
        now.saturating_sub(self.data) < IDLE_AFTER
    }

    /// Whether the pace depends on the data at all.
    pub(super) fn is_sparing(&self, terms: &Terms) -> bool {
        terms.idle > terms.interval || self.theirs.metered
    }

    /// The interval to promise in message `number`.
    pub(super) fn promise(&mut self, terms: &Terms, number: u32, now: Duration) -> Duration {
        let interval = self.wanted(terms, now);
        if interval <= terms.interval {
            (self.promised, self.known) = (None, false);
        } else if self.promised.is_none() {
            self.promised = Some((now, number));
        }
        interval
    }

    /// The time to the next message. A slower pace begins when the other side has heard of it: where the one message
    /// that says so is lost, silence would be taken for the IVC's end.
    pub(super) fn interval(&self, terms: &Terms, now: Duration) -> Duration {
        match self.promised {
            Some((since, _)) if self.known || now.saturating_sub(since) >= PATIENCE => {
                self.wanted(terms, now)
            }
            _ => terms.interval,
        }
    }

    fn wanted(&self, terms: &Terms, now: Duration) -> Duration {
        let lately = IDLE_AFTER.max(self.theirs.interval * 2);
        let hurry = self.theirs.hurry;
        if self.flows(now) || hurry.is_some_and(|at| now.saturating_sub(at) < lately) {
            return terms.interval;
        }
        // Who pays for its link sets the pace of both.
        let theirs = if self.theirs.metered {
            super::bounded(self.theirs.interval)
        } else {
            Duration::ZERO
        };
        terms.idle.max(theirs)
    }
}
