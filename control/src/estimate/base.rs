//! The latency of an empty IVC, and how much it varies.

/// For how long the link must have seemed to be empty before its latency may be found to have grown, in seconds.
const EMPTY: f64 = 1.0;
/// How many marks must have come meanwhile that say so.
const MARKS: u32 = 10;
/// Delays that are alike need not be all that come: they count for so many seconds.
const LATELY: f64 = 4.0;

/// The smallest one-way delay, against a clock that is another.
#[derive(Debug, Default)]
pub(super) struct Base {
    least: Option<f64>,
    /// While too little is sent for a queue.
    quiet: Option<Run>,
    /// While delays are alike.
    flat: Option<Run>,
}

/// Why a mark seems to have met no queue, whatever its delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Empty {
    /// Too little was sent for a queue.
    pub(super) quiet: bool,
    /// Delays are alike.
    pub(super) flat: bool,
}

/// Marks that seem to have met no queue.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: f64,
    least: f64,
    marks: u32,
}

impl Base {
    /// Takes in the delay of a mark sent at `at`.
    pub(super) fn note(&mut self, at: f64, delay: f64, empty: Empty) {
        self.least = Some(self.least.map_or(delay, |least| least.min(delay)));
        if empty.quiet {
            self.quiet = Some(Run::with(self.quiet, at, delay));
        } else {
            self.quiet = None;
        }
        self.flat = self.flat.filter(|run| at - run.since < LATELY);
        if empty.flat {
            self.flat = Some(Run::with(self.flat, at, delay));
        }
        let runs = [self.quiet, self.flat].into_iter().flatten();
        if let Some(run) = runs.into_iter().find(|run| run.is_enough(at)) {
            *self = Self {
                least: Some(run.least),
                ..Self::default()
            };
        }
    }

    /// The smallest delay, in seconds.
    pub(super) const fn least(&self) -> Option<f64> {
        self.least
    }
}

impl Run {
    fn with(run: Option<Self>, at: f64, delay: f64) -> Self {
        let run = run.unwrap_or(Self {
            since: at,
            least: delay,
            marks: 0,
        });
        Self {
            least: run.least.min(delay),
            marks: run.marks + 1,
            ..run
        }
    }

    fn is_enough(&self, at: f64) -> bool {
        at - self.since >= EMPTY && self.marks >= MARKS
    }
}

/// The most that the delay is taken to vary by, in seconds.
const WIDEST: f64 = 0.06;

/// By how much the delay varies for reasons of the network's own, as long as little is sent.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    spread: f64,
}

impl Jitter {
    /// Takes in by how much the delay of a mark is more than the smallest.
    pub(super) fn note(&mut self, more: f64) {
        // Most delays are below what this comes to; a single long one does not raise it much.
        let weight = if more > self.spread { 0.3 } else { 0.03 };
        self.spread += (more.min(WIDEST) - self.spread) * weight;
    }

    /// The difference between the smallest delay and a long one, in seconds.
    pub(super) fn spread(&self) -> f64 {
        self.spread
    }
}
