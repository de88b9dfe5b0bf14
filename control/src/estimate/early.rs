//! How many packets to mark or drop before the queue is full: the controller of PIE (RFC 8033).

/// The period for which the constants of RFC 8033 are made, in seconds.
const PERIOD: f64 = 0.015;
/// By how much the probability changes with the queue's length, and with its growth, for each second of these.
const ALPHA: f64 = 0.125;
const BETA: f64 = 1.25;

/// For how long a queue may be too long before anything is marked or dropped, in seconds.
const BURST: f64 = 0.15;
/// How much more than wanted is so much that there is no time for caution, in seconds.
const DEEP: f64 = 0.06;

/// The probability with which packets are marked or dropped early.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Early {
    probability: f64,
    queue: f64,
    at: f64,
    /// Since when the queue has been too long, or nearly, or something is marked.
    since: Option<f64>,
}

impl Early {
    /// Takes in how long the queue is at a moment, and how long it is to be, all in seconds.
    pub(super) fn note(&mut self, queue: f64, target: f64, at: f64) {
        let periods = ((at - self.at) / PERIOD).min(4.0);
        if periods < 0.6 {
            return;
        }
        let change = ALPHA * (queue - target) * periods + BETA * (queue - self.queue);
        // RFC 8033, section 4.2: the smaller it is, the more cautiously it is changed; here, not as slowly.
        let caution = (self.probability * 5.0).clamp(0.01, 1.0);
        self.probability += (change * caution).min(0.02 * periods);
        if queue > target + DEEP && queue >= self.queue {
            self.probability += 0.03 * periods;
        }
        if queue <= 0.0 && self.queue <= 0.0 {
            self.probability *= 1.0 - periods / 20.0;
        }
        self.probability = self.probability.clamp(0.0, 0.9);
        // RFC 8033, section 4.4: what is short is no standing queue.
        let short = queue < target / 2.0 && self.queue < target / 2.0 && self.probability <= 0.0;
        let since = self.since.filter(|_| !short);
        self.since = since.or((!short).then_some(at));
        if self.since.is_none_or(|since| at - since < BURST) {
            self.probability = 0.0;
        }
        (self.queue, self.at) = (queue, at);
    }

    /// The probability, from 0 to 1: none where a short queue is no standing one.
    pub(super) fn probability(&self, target: f64) -> f64 {
        if self.queue < target / 2.0 && self.probability < 0.2 {
            0.0
        } else {
            self.probability
        }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self, at: f64) {
        *self = Self {
            at,
            ..Self::default()
        };
    }
}
