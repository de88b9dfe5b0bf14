//! Messages that are to be answered at once, because somebody wants to know how long that takes.

use std::{collections::VecDeque, time::Duration};

use super::{Counted, Message};

/// How many messages are remembered.
const REMEMBERED: usize = 128;
/// Word of a message that was sent so soon after another is an answer to both: the other side has taken them in together.
const TOGETHER: Duration = Duration::from_millis(30);

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u32,
    at: Duration,
    /// Whether the answer to it is awaited.
    awaited: bool,
}

/// The pings of an IVC.
#[derive(Debug, Default)]
pub(super) struct Pings {
    wanted: bool,
    sent: VecDeque<Sent>,
}

/// What has become of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has been sent.
    Sent,
    /// It has been answered.
    Answered(Answer),
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How long it took there and back, without what the other side took.
    pub trip: Duration,
    /// How it splits, if the other side has told.
    pub ways: Option<Ways>,
    /// What both sides have counted.
    pub counts: Counts,
}

/// What both sides of an IVC have counted by a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The data that the other side has received.
    pub theirs: Counted,
    /// The data that this side had received when it last heard a keepalive before.
    pub ours: Counted,
    /// Of this side's keepalives, the newest number that the other side has received, and how many.
    pub sent: (u32, u32),
    /// Of the other side's keepalives, the newest number that this side has received, and how many.
    pub heard: (u32, u32),
}

/// How long the ways out and back took by the clocks of both sides, in nanoseconds. Clocks count from different moments: only by how
/// much these differ, from one time to another and among the IVCs of a tunnel, tells anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// To the other side.
    pub out: i64,
    /// From there.
    pub back: i64,
}

impl Pings {
    /// The next message is to be one.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// A message is sent; returns whether it is one.
    pub(super) fn sent(&mut self, number: u32, at: Duration) -> bool {
        let awaited = std::mem::take(&mut self.wanted);
        if awaited || !self.sent.is_empty() {
            if self.sent.len() == REMEMBERED {
                self.sent.pop_front();
            }
            self.sent.push_back(Sent {
                number,
                at,
                awaited,
            });
        }
        awaited
    }

    /// A message came at `at`; returns the numbers of the pings that it answers, with the answer.
    pub(super) fn heard(
        &mut self,
        message: &Message,
        at: Duration,
        counts: Counts,
    ) -> Vec<(u32, Answer)> {
        let newest = message.received.newest;
        let Some(place) = self.sent.iter().position(|sent| sent.number == newest) else {
            return Vec::new();
        };
        let last = self.sent[place].at;
        let known = self.sent.drain(..=place);
        let Some(answer) = answer(message, (last, at), counts) else {
            return Vec::new();
        };
        // What was sent long before was answered before, and that answer is lost.
        known
            .filter(|sent| sent.awaited && last.saturating_sub(sent.at) <= TOGETHER)
            .map(|sent| (sent.number, answer))
            .collect()
    }
}

/// What a message that came at `at` says of the one that was sent at `sent`.
fn answer(message: &Message, (sent, at): (Duration, Duration), counts: Counts) -> Option<Answer> {
    let held = message.received.held();
    let trip = at.checked_sub(sent)?.checked_sub(held)?;
    Some(Answer {
        trip,
        ways: ways(message.counted.arrived, sent, trip),
        counts,
    })
}

fn ways(arrived: u64, sent: Duration, trip: Duration) -> Option<Ways> {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).ok();
    let arrived = i64::try_from(arrived).ok().filter(|at| *at > 0)?;
    let out = arrived.checked_sub(nanoseconds(sent)?)?;
    let back = nanoseconds(trip)?.checked_sub(out)?;
    Some(Ways { out, back })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::Received;

    const COUNTS: Counts = Counts {
        theirs: Counted {
            arrived: 1,
            bytes: 2,
            pieces: 3,
            lag: 4,
        },
        ours: Counted {
            arrived: 5,
            bytes: 6,
            pieces: 7,
            lag: 8,
        },
        sent: (9, 10),
        heard: (11, 12),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Word of message `newest`, which arrived at `arrived` by a clock that is 5000 s ahead, and was held for 3 ms.
    fn word(newest: u32, arrived: Duration) -> Message {
        let arrived = ms(5_000_000) + arrived;
        Message {
            received: Received {
                newest,
                count: 0,
                held: 3_000,
            },
            counted: Counted {
                arrived: u64::try_from(arrived.as_nanos()).unwrap(),
                ..Counted::default()
            },
            ..Message::default()
        }
    }

    #[test]
    fn the_way_out_and_back_are_the_trip() {
        let mut pings = Pings::default();
        assert!(!pings.sent(1, ms(900)));
        pings.want();
        assert!(pings.is_wanted() && pings.sent(2, ms(1000)) && !pings.is_wanted());
        assert!(pings.heard(&word(1, ms(950)), ms(1010), COUNTS).is_empty());
        let answer = Answer {
            trip: ms(31),
            ways: Some(Ways {
                out: 5_000_020_000_000,
                back: 11_000_000 - 5_000_000_000_000,
            }),
            counts: COUNTS,
        };
        let heard = pings.heard(&word(2, ms(1020)), ms(1034), COUNTS);
        assert_eq!(heard, [(2, answer)]);
        // Once is enough.
        assert!(pings.heard(&word(2, ms(1020)), ms(1100), COUNTS).is_empty());
    }

    #[test]
    fn an_answer_that_is_lost_is_none_and_two_may_be_one() {
        let mut pings = Pings::default();
        pings.want();
        pings.sent(7, ms(1000));
        pings.sent(8, ms(1100));
        pings.want();
        pings.sent(9, ms(1200));
        pings.sent(10, ms(1205));
        let heard = pings.heard(&word(10, ms(1225)), ms(1250), COUNTS);
        let heard: Vec<_> = heard
            .iter()
            .map(|(number, answer)| (*number, answer.trip))
            .collect();
        assert_eq!(heard, [(9, ms(42))]);
    }

    #[test]
    fn no_more_is_remembered_than_can_be_of_use() {
        let mut pings = Pings::default();
        for number in 0..1000 {
            pings.want();
            pings.sent(number, ms(number.into()));
        }
        assert_eq!(pings.sent.len(), REMEMBERED);
    }
}
