//! Whether reordering is more than TCP bears.

/// Packets that are looked at together.
const SAMPLE: u32 = 512;
/// TCP takes a segment for lost when three later ones have come (RFC 5681 section 3.2).
const TOLERATED: u64 = 3;
/// As many in a sample are too many: each costs TCP as much as a loss.
const DISTURBING: u32 = 2;
/// So many samples without one, and order keeps itself.
const CALM: u32 = 32;

/// What is known of the packets so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Auto {
    on: bool,
    seen: u32,
    disturbing: u32,
    /// Samples in a row without a disturbance.
    calm: u32,
}

impl Default for Auto {
    /// Until it is known that order keeps itself, it is kept: TCP that is disturbed in its first flight is slow for long.
    fn default() -> Self {
        Self {
            on: true,
            seen: 0,
            disturbing: 0,
            calm: 0,
        }
    }
}

impl Auto {
    /// Whether order must be kept.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// Takes note of a packet that comes so far behind the highest number; returns whether order must be kept.
    pub(super) fn see(&mut self, behind: u64) -> bool {
        self.seen += 1;
        if behind > TOLERATED {
            self.disturbing += 1;
            self.calm = 0;
            self.on |= self.disturbing >= DISTURBING;
        }
        if self.seen >= SAMPLE {
            self.calm += u32::from(self.disturbing == 0);
            self.on &= self.calm < CALM;
            (self.seen, self.disturbing) = (0, 0);
        }
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disturbed_order_is_kept_until_it_keeps_itself() {
        let mut auto = Auto::default();
        let mut see = |behind, count: u32| (0..count).fold(false, |_, _| auto.see(behind));
        assert!(see(3, CALM * SAMPLE - 1), "nobody knows yet");
        assert!(!see(3, 1 + 10 * SAMPLE), "TCP bears that");
        assert!(!see(4, 1), "once is nothing");
        assert!(see(4, 1));
        assert!(see(0, CALM * SAMPLE - SAMPLE));
        assert!(!see(0, 2 * SAMPLE));
        // Now and then is bearable.
        for _ in 0..10 {
            assert!(!see(4, 1));
            assert!(!see(0, SAMPLE));
        }
    }
}
