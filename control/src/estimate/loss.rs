//! What an IVC loses.

/// Over how many bytes it is counted at a time.
const COUNTED: f64 = 150_000.0;
/// No more than this is taken for chance.
const CHANCE: f64 = 0.05;

/// What is lost, from 0 to 1.
#[derive(Debug, Default)]
pub(super) struct Loss {
    from: Option<(f64, f64)>,
    /// Whether the link has been busy since.
    busy: bool,
    ratio: f64,
    random: f64,
}

impl Loss {
    /// Takes in the bytes sent before a mark and received by then; `idle` tells whether the link was not busy since the one before.
    pub(super) fn note(&mut self, sent: f64, received: f64, idle: bool) {
        let (since, got) = *self.from.get_or_insert((sent, received));
        self.busy |= !idle;
        if sent - since < COUNTED {
            return;
        }
        let ratio = (1.0 - (received - got) / (sent - since)).clamp(0.0, 1.0);
        self.ratio += (ratio - self.ratio) / 8.0;
        if !self.busy {
            self.random += (ratio - self.random) / 8.0;
        }
        (self.from, self.busy) = (Some((sent, received)), false);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a link that loses three in a hundred, where `idle` tells of each mark whether the link was not busy before it.
    fn after(idle: impl Fn(u32) -> bool) -> Loss {
        let mut loss = Loss::default();
        for mark in 0..1_000 {
            let sent = f64::from(mark) * COUNTED / 3.0;
            loss.note(sent, 0.97 * sent, idle(mark));
        }
        loss
    }

    #[test]
    fn what_a_busy_link_loses_is_no_chance() {
        let near = |is: f64, expected: f64| (is - expected).abs() < 1e-3;
        assert!(near(after(|_| true).random(), 0.03));
        // A queue that overflowed has drained by the last mark of those that are counted together.
        let busy = after(|mark| mark % 3 == 0);
        assert!(near(busy.ratio(), 0.03) && near(busy.random(), 0.0));
    }
}
