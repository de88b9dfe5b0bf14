//! What an IVC loses.

/// Over how many bytes it is counted at a time, and for how long at least, in spreads of the delay: what jitter has come before a mark or after it must not
/// matter much.
const COUNTED: f64 = 150_000.0;
const SPREADS: f64 = 32.0;
/// No more than this is taken for chance.
const CHANCE: f64 = 0.05;

/// What is lost, from 0 to 1.
#[derive(Debug, Default)]
pub(super) struct Loss {
    from: Option<Counts>,
    /// Whether the link has been busy since.
    busy: bool,
    ratio: f64,
    random: f64,
}

/// When a mark was sent, in seconds, and the bytes that were sent before it and received by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) at: f64,
    pub(super) sent: f64,
    pub(super) received: f64,
}

impl Loss {
    /// Takes in what was counted by a mark; `idle` tells whether the link was not busy since the one before, and delays vary by `spread` seconds.
    pub(super) fn note(&mut self, counts: Counts, idle: bool, spread: f64) {
        let from = *self.from.get_or_insert(counts);
        self.busy |= !idle;
        let sent = counts.sent - from.sent;
        if sent < COUNTED || counts.at - from.at < SPREADS * spread {
            return;
        }
        // Less than nothing is lost where what was late before has come: one makes up for the other.
        let ratio = (1.0 - (counts.received - from.received) / sent).clamp(-1.0, 1.0);
        self.ratio += (ratio - self.ratio) / 8.0;
        if !self.busy {
            self.random += (ratio - self.random) / 8.0;
        }
        (self.from, self.busy) = (Some(counts), false);
    }

    /// The part that is lost.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio.max(0.0)
    }

    /// The part that is lost by chance, as far as is known: what is lost while there is no queue.
    pub(super) fn random(&self) -> f64 {
        self.random.clamp(0.0, CHANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a link that loses three in a hundred, where `idle` tells of each mark whether the link was not busy before it.
    fn after(idle: impl Fn(u32) -> bool) -> Loss {
        let mut loss = Loss::default();
        for mark in 0..1_000 {
            loss.note(counts(mark, 0.97, 0.0), idle(mark), 0.0);
        }
        loss
    }

    /// What was counted by a mark, of which a part has come but for what came too late.
    fn counts(mark: u32, part: f64, late: f64) -> Counts {
        let sent = f64::from(mark) * COUNTED / 3.0;
        Counts {
            at: f64::from(mark) * 0.01,
            sent,
            received: (part * sent - late).max(0.0),
        }
    }

    /// Packets that come 20 ms sooner or later by chance, four marks' worth.
    #[test]
    fn what_jitter_has_come_late_is_not_lost() {
        let mut random = fastrand::Rng::with_seed(7);
        for part in [1.0, 0.98] {
            let mut loss = Loss::default();
            let mut worst = 0.0_f64;
            for mark in 0..20_000 {
                let late = (random.f64() - 0.5) * 4.0 * COUNTED / 3.0;
                loss.note(counts(mark, part, late), true, 0.02);
                if mark > 4_000 {
                    worst = worst.max((loss.random() - (1.0 - part)).abs());
                }
            }
            assert!(worst < 0.01, "{part}: {worst}");
        }
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
