//! Whether packets that fit whole are split.

use std::{fmt, time::Duration};

use super::MOST;
use crate::estimate::PACKET;

/// By how much sooner a full packet must arrive in pieces for that to be worth its price, in seconds.
const WORTH: f64 = 0.003;
/// What is chosen is kept while so much of the reason for it is there.
const KEEP: f64 = 0.5;
/// The part lost by chance from which on packets are better whole, for one is lost with any of its pieces; and the one from which on they may be split again.
const LOSS: (f64, f64) = (0.01, 0.005);
/// For how long there must be a reason to choose otherwise: rates are estimates.
const SETTLE: Duration = Duration::from_secs(5);
/// What a piece costs more than its payload, in bytes: IP's header and Ethernet's.
const HEADERS: f64 = 34.0;

/// An IVC that carries data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lane {
    /// What it carries, in bytes per second.
    pub rate: f64,
    /// By how much its latency is more than the fastest's, in seconds.
    pub lag: f64,
    /// By how much its delay varies without a queue, in seconds.
    pub jitter: f64,
    /// The part that is lost by chance, from 0 to 1.
    pub loss: f64,
    /// Whether the rate is stated, or has been measured.
    pub is_known: bool,
}

impl Lane {
    /// By how much its delay varies beyond what a packet just ahead makes of it: that is no more than what is to be saved.
    fn jitter(&self) -> f64 {
        (self.jitter - PACKET / self.rate).max(0.0)
    }
}

/// What is chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Whether packets that would fit whole are split.
    pub pieces: bool,
    /// Why.
    pub why: Why,
}

/// What speaks for or against pieces; for pieces there is but one reason. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// It is not known what the links carry.
    Unknown,
    /// There are no two links.
    Alone,
    /// By so much a full packet arrives sooner in pieces.
    Saves(f64),
    /// The links' delays vary by so much, for the last of which a packet in pieces waits.
    Jitter(f64),
    /// Such a part is lost by chance.
    Loss(f64),
    /// Numbers would come again while pieces wait.
    Packets,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("what the links carry is not known yet"),
            Self::Alone => f.write_str("there is one link alone"),
            Self::Saves(time) => write!(
                f,
                "a full packet arrives {:.1} ms sooner in pieces",
                time * 1e3
            ),
            Self::Jitter(time) => write!(
                f,
                "delays vary by {:.1} ms, and the last piece counts",
                time * 1e3
            ),
            Self::Loss(part) => write!(
                f,
                "{:.1}% are lost by chance, and with a piece its packet",
                part * 100.0
            ),
            Self::Packets => {
                f.write_str("pieces of so many packets would come to bear the same numbers")
            }
        }
    }
}

/// Chooses for a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Chooser {
    choice: Choice,
    /// Since when there has been a reason to choose otherwise.
    otherwise: Option<Duration>,
}

impl Default for Chooser {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Chooser {
    /// Begins with what was chosen before, in an earlier run perhaps.
    #[must_use]
    pub const fn new(pieces: bool) -> Self {
        Self {
            choice: Choice {
                pieces,
                why: Why::Unknown,
            },
            otherwise: None,
        }
    }

    /// What is chosen.
    #[must_use]
    pub const fn choice(&self) -> Choice {
        self.choice
    }

    /// Takes in what is known of the IVCs that carry data now, and how many packets are sent each second.
    pub fn note(&mut self, lanes: &[Lane], packets: f64, now: Duration) {
        if lanes.iter().any(|lane| !lane.is_known) {
            self.otherwise = None;
            return;
        }
        if lanes.is_empty() {
            // It is down. What was chosen will do until it is up again.
            return;
        }
        let wanted = self.judge(lanes, packets);
        if wanted.pieces == self.choice.pieces {
            self.otherwise = None;
        } else {
            let since = *self.otherwise.get_or_insert(now);
            let is_urgent = matches!(wanted.why, Why::Packets);
            if !is_urgent && now.saturating_sub(since) < SETTLE {
                return;
            }
            self.otherwise = None;
        }
        self.choice = wanted;
    }

    fn judge(&self, lanes: &[Lane], packets: f64) -> Choice {
        let is_split = self.choice.pieces;
        let most = |of: fn(&Lane) -> f64| lanes.iter().map(of).fold(0.0, f64::max);
        let (jitter, loss) = (most(Lane::jitter), most(|lane| lane.loss));
        let (saved, keep) = (saved(lanes), if is_split { KEEP } else { 1.0 });
        let whole = |why| Choice { pieces: false, why };
        if is_split && packets > MOST {
            // Whatever else there is, this cannot wait.
            whole(Why::Packets)
        } else if lanes.len() < 2 {
            whole(Why::Alone)
        } else if saved < WORTH * keep {
            whole(Why::Saves(saved))
        } else if !is_split && packets > MOST * KEEP {
            whole(Why::Packets)
        } else if loss >= if is_split { LOSS.0 } else { LOSS.1 } {
            whole(Why::Loss(loss))
        } else if saved - jitter < WORTH * keep {
            whole(Why::Jitter(jitter))
        } else {
            Choice {
                pieces: true,
                why: Why::Saves(saved),
            }
        }
    }
}

/// By how much sooner a full packet arrives in pieces than whole, by links that are empty, in seconds.
fn saved(lanes: &[Lane]) -> f64 {
    let whole = lanes
        .iter()
        .map(|lane| lane.lag + PACKET / lane.rate)
        .fold(f64::MAX, f64::min);
    (whole - in_pieces(lanes).min(whole)).max(0.0)
}

/// How long after now the last of the pieces arrives, all of which arrive together: as the data plane does it, each lane carries
/// what it can until then, and those that would come too late carry none.
fn in_pieces(lanes: &[Lane]) -> f64 {
    let mut ready: Vec<_> = lanes
        .iter()
        .map(|lane| (lane.lag + HEADERS / lane.rate, lane.rate))
        .collect();
    ready.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rates, mut weighted, mut level) = (0.0, 0.0, f64::MAX);
    for (offset, rate) in ready {
        if offset >= level {
            break;
        }
        rates += rate;
        weighted += rate * offset;
        level = (PACKET - HEADERS + weighted) / rates;
    }
    level
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Equal links of a rate in kbit/s.
    fn equal(count: usize, kbits: f64) -> Vec<Lane> {
        let lane = Lane {
            rate: kbits * 125.0,
            lag: 0.0,
            jitter: 0.0,
            loss: 0.0,
            is_known: true,
        };
        vec![lane; count]
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What is chosen in the end.
    fn first(lanes: &[Lane], packets: f64) -> Choice {
        let mut chooser = Chooser::default();
        chooser.note(lanes, packets, at(0));
        chooser.note(lanes, packets, at(5_000));
        chooser.choice()
    }

    #[test]
    fn slow_links_are_worth_pieces_and_fast_ones_are_not() {
        for (count, kbits, pieces) in [
            (4, 500.0, true),
            (4, 1_000.0, true),
            (4, 2_000.0, true),
            (4, 5_000.0, false),
            (4, 50_000.0, false),
            (2, 1_000.0, true),
            (2, 5_000.0, false),
            (1, 500.0, false),
        ] {
            let choice = first(&equal(count, kbits), 100.0);
            assert_eq!(
                choice.pieces, pieces,
                "{count} of {kbits} kbit/s: {choice:?}"
            );
        }
    }

    #[test]
    fn what_is_saved_is_the_time_of_a_packet() {
        // 1514 bytes take 12.1 ms whole; in quarters a fourth of 1480 bytes, and a header each.
        let four = saved(&equal(4, 1_000.0));
        assert!(
            (four - (0.012_112 - 0.002_96 - 0.000_272)).abs() < 1e-6,
            "{four}"
        );
        // A slow link beside a fast one carries next to nothing.
        let unequal = [equal(1, 20_000.0), equal(1, 500.0)].concat();
        assert!(saved(&unequal) < 0.000_1);
        // One that is too far away carries nothing at all.
        let mut far = equal(2, 1_000.0);
        far[1].lag = 0.3;
        assert!(saved(&far) <= 0.0);
    }

    #[test]
    fn reasons_against_pieces() {
        let slow = || equal(2, 500.0);
        let with = |change: fn(&mut Lane)| {
            let mut lanes = slow();
            change(&mut lanes[1]);
            first(&lanes, 0.0)
        };
        assert!(first(&slow(), 0.0).pieces);
        let whole = |why| Choice { pieces: false, why };
        assert_eq!(with(|lane| lane.is_known = false), whole(Why::Unknown));
        assert_eq!(with(|lane| lane.loss = 0.01), whole(Why::Loss(0.01)));
        assert!(with(|lane| lane.jitter = 0.024).pieces, "a packet's time");
        let Why::Jitter(jitter) = with(|lane| lane.jitter = 0.044_224).why else {
            panic!("jitter is no reason");
        };
        assert!((jitter - 0.02).abs() < 1e-6, "{jitter}");
        assert_eq!(first(&slow(), MOST), whole(Why::Packets));
    }

    #[test]
    fn a_choice_stands_until_there_has_been_a_reason_for_a_while() {
        let mut chooser = Chooser::default();
        let mut pieces = |kbits, packets, seconds: u64| {
            chooser.note(&equal(4, kbits), packets, at(seconds * 1000));
            chooser.choice().pieces
        };
        assert!(!pieces(1_000.0, 9.0, 0), "too soon");
        assert!(pieces(1_000.0, 9.0, 5));
        assert!(pieces(50_000.0, 9.0, 10));
        assert!(pieces(4_000.0, 9.0, 14), "still worth half as much");
        assert!(pieces(50_000.0, 9.0, 15));
        assert!(!pieces(50_000.0, 9.0, 20));
        assert!(!pieces(4_000.0, 9.0, 60), "not worth enough");
        assert!(!pieces(1_000.0, 9.0, 61));
        assert!(pieces(1_000.0, 9.0, 66));
        assert!(!pieces(1_000.0, MOST * 1.1, 67), "at once");
        assert!(!pieces(1_000.0, MOST * 0.6, 90), "not yet");
    }

    #[test]
    fn what_an_earlier_run_chose_stands_until_more_is_known() {
        let mut unknown = equal(4, 50_000.0);
        unknown[0].is_known = false;
        let mut chooser = Chooser::new(true);
        chooser.note(&unknown, 0.0, at(0));
        chooser.note(&[], 0.0, at(9_000));
        assert!(chooser.choice().pieces);
        chooser.note(&equal(4, 50_000.0), 0.0, at(9_001));
        assert!(chooser.choice().pieces);
        chooser.note(&equal(4, 50_000.0), 0.0, at(14_001));
        assert!(!chooser.choice().pieces);
    }

    fn lanes() -> impl Strategy<Value = Vec<Lane>> {
        let lane = (4.0_f64..9.0, 0.0_f64..0.1, 0.0_f64..0.01, 0.0_f64..0.012);
        let lane = lane.prop_map(|(rate, lag, jitter, loss)| Lane {
            rate: 10_f64.powf(rate) / 8.0,
            lag,
            jitter,
            loss,
            is_known: true,
        });
        prop::collection::vec(lane, 1..=16)
    }

    proptest! {
        /// What is known may change as it likes: no choice is shorter than the time for which there must be a reason, but where there are
        /// too many packets; and pieces are only chosen where they save something.
        #[test]
        fn choices_last(
            seen in prop::collection::vec((lanes(), 0.0_f64..20_000.0, 20_u64..2_000), 2..60),
        ) {
            let mut chooser = Chooser::default();
            let (mut now, mut changed) = (0, None);
            for (lanes, packets, pause) in seen {
                now += pause;
                let before = chooser.choice();
                chooser.note(&lanes, packets, at(now));
                let after = chooser.choice();
                if after.pieces != before.pieces {
                    if let Some(changed) = changed {
                        prop_assert!(
                            now - changed >= 5_000 || after.why == Why::Packets,
                            "{before:?} to {after:?} after {} ms", now - changed
                        );
                    }
                    changed = Some(now);
                    if after.pieces {
                        prop_assert!(saved(&lanes) >= WORTH);
                        prop_assert!(packets <= MOST);
                    }
                }
            }
        }

        /// Estimates that waver by a quarter about what links carry bring no more than the one change that finds it out.
        #[test]
        fn estimates_that_waver_change_nothing(
            lanes in lanes(), wavers in prop::collection::vec(0.8_f64..1.25, 300),
        ) {
            let mut chooser = Chooser::default();
            let mut changes = 0;
            for (second, waver) in (0..).zip(wavers) {
                let mut seen = lanes.clone();
                for lane in &mut seen {
                    lane.rate *= waver;
                }
                let before = chooser.choice().pieces;
                chooser.note(&seen, 0.0, at(second * 1_000));
                changes += u32::from(chooser.choice().pieces != before);
            }
            prop_assert!(changes <= 1, "{changes} changes");
        }

        /// In pieces no packet arrives later, and with faster links less is saved.
        #[test]
        fn less_is_saved_by_faster_links(lanes in lanes(), factor in 1.0_f64..100.0) {
            let mut fast = lanes.clone();
            for lane in &mut fast {
                lane.rate *= factor;
                lane.lag /= factor;
            }
            let (slow, fast) = (saved(&lanes), saved(&fast));
            prop_assert!(fast >= 0.0 && fast <= slow + 1e-9, "{fast} beside {slow}");
        }

        /// As many packets as use up the numbers are never split by choice.
        #[test]
        fn numbers_do_not_come_again(lanes in lanes(), packets in MOST..1e6_f64) {
            let mut chooser = Chooser::new(true);
            chooser.note(&lanes, packets * 1.001, at(0));
            prop_assert!(!chooser.choice().pieces);
        }
    }
}
