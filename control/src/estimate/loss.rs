//! What an IVC loses.

/// Over how many bytes it is counted at a time.
const COUNTED: f64 = 150_000.0;
/// No more than this is taken for chance.
const CHANCE: f64 = 0.05;

/// What is lost, from 0 to 1.
#[derive(Debug, Default)]
pub(super) struct Loss {
    from: Option<(f64, f64)>,
    ratio: f64,
    random: f64,
}

impl Loss {
    /// Takes in the bytes sent before a mark and received by then; `idle` tells whether the link was not busy.
    pub(super) fn note(&mut self, sent: f64, received: f64, idle: bool) {
        let (since, got) = *self.from.get_or_insert((sent, received));
        if sent - since < COUNTED {
            return;
        }
        let ratio = (1.0 - (received - got) / (sent - since)).clamp(0.0, 1.0);
        self.ratio += (ratio - self.ratio) / 8.0;
        if idle {
            self.random += (ratio - self.random) / 8.0;
        }
        self.from = Some((sent, received));
    }

    /// The part that is lost.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// The part that is lost by chance, as far as is known: what is lost while there is no queue.
    pub(super) fn random(&self) -> f64 {
        self.random.min(CHANCE)
    }
}
