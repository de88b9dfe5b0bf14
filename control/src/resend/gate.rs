//! Whether keeping packets is worth it.

use std::time::Duration;

/// So much lost by chance halves what TCP gets out of a fast link.
const ON: f64 = 0.001;
/// So little does not matter.
const OFF: f64 = 0.000_3;
/// For so long.
const CALM: Duration = Duration::from_secs(30);

/// Whether a tunnel's packets are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// When there was last a reason to keep them.
    reason: Option<Duration>,
}

impl Gate {
    /// Takes in which part is lost by chance on the worst IVC, from 0 to 1.
    pub fn note(&mut self, random: f64, now: Duration) {
        if random >= ON || self.reason.is_some() && random >= OFF {
            self.reason = Some(now);
        }
        let calm = |reason: &Duration| now.saturating_sub(*reason) >= CALM;
        self.reason = self.reason.filter(|reason| !calm(reason));
    }

    /// Whether they are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.reason.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_at_once_and_closes_late() {
        let mut gate = Gate::default();
        let mut note = |random, seconds| {
            gate.note(random, Duration::from_secs(seconds));
            gate.is_open()
        };
        assert!(!note(0.0009, 0));
        assert!(note(0.001, 1));
        assert!(note(0.0004, 40), "still some");
        assert!(note(0.0, 69));
        assert!(!note(0.0, 70));
        assert!(!note(0.0009, 71));
    }
}
