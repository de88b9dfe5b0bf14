//! Trials whether a link carries more: for a moment more is sent, and then its effect is awaited.

/// By how much more is sent at first on a link of which nothing is known, and at most.
const MOST: f64 = 4.0;
/// By how much more after a trial that failed.
const LEAST: f64 = 1.5;
/// The same on a link that is paced: what it has to show for a lower rate is a short queue, so what it carries more is all found by trials.
const LEAST_PACED: f64 = 2.0;

/// The trials of a link.
#[derive(Debug)]
pub(super) struct Trials {
    state: State,
    gain: f64,
    /// The first mark of which it is worth to conclude that there should be another.
    after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    None,
    /// Since mark `first`, sent at `since`, more is sent.
    Sending {
        first: u32,
        since: f64,
    },
    /// What became of it will be seen by mark `last`.
    Waiting {
        first: u32,
        last: u32,
    },
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            state: State::None,
            gain: MOST,
            after: 0,
        }
    }
}

impl Trials {
    /// By how much more is sent now.
    pub(super) fn gain(&self) -> f64 {
        match self.state {
            State::Sending { .. } => self.gain,
            State::None | State::Waiting { .. } => 1.0,
        }
    }

    /// A trial begins with mark `number`, which is about to be sent, unless there is one.
    pub(super) fn begin(&mut self, number: u32, at: f64) {
        if self.state == State::None {
            self.state = State::Sending {
                first: number,
                since: at,
            };
        }
    }

    /// Mark `number` is about to be sent; a trial that has taken `length` seconds ends.
    pub(super) fn step(&mut self, number: u32, at: f64, length: f64) {
        if let State::Sending { first, since } = self.state
            && at - since >= length
        {
            self.state = State::Waiting {
                first,
                last: number,
            };
        }
    }

    /// Whether mark `number` was sent after the last trial had its effect.
    pub(super) fn is_past(&self, number: u32) -> bool {
        number >= self.after
    }

    /// Mark `number` has arrived; returns the first mark of the trial whose effect it shows.
    pub(super) fn over(&mut self, number: u32) -> Option<u32> {
        match self.state {
            State::Waiting { first, last } if number >= last => {
                self.state = State::None;
                self.after = number;
                Some(first)
            }
            _ => None,
        }
    }

    /// The link carried it all.
    pub(super) fn succeeded(&mut self) {
        self.gain = (self.gain * LEAST).min(MOST);
    }

    /// It did not, as mark `number` showed, which was `held` before the link.
    pub(super) fn failed(&mut self, number: u32, held: bool) {
        self.gain = if held { LEAST_PACED } else { LEAST };
        self.after = number + 1;
    }
}
