//! How long after every IVC has passed a number its packet may still come.
//!
//! Each IVC keeps the order of what it carries, but numbers are given out by several threads, and what one has numbered first another may send first. How much
//! that makes shows, as for TCP's RACK (RFC 8985 section 6.2), when a packet comes that could have been thought lost.

use std::{collections::VecDeque, time::Duration};

use super::Time;

/// How close together what has been passed is noted.
const GRAIN: Duration = Duration::from_micros(500);
/// For how long notes are kept after they are due.
const KEPT: Duration = Duration::from_millis(200);
/// The longest slack: a thread that is held up for longer is not waited for, or everything that is lost would be mended so much later.
const MOST: Duration = Duration::from_millis(10);
/// After which time without a packet that late the slack is halved.
const CALM: Duration = Duration::from_secs(5);

/// What every IVC has passed, and when.
#[derive(Debug, Default)]
pub(super) struct Slack {
    /// Numbers before which everything has been passed, in their order.
    passed: VecDeque<(u64, Time)>,
    /// How many of them have been due.
    done: usize,
    length: Duration,
    /// When the slack was last found to be needed, or halved.
    since: Time,
}

impl Slack {
    /// Every IVC has passed everything before a number.
    pub(super) fn pass(&mut self, before: u64, now: Time) {
        if now.saturating_sub(self.since) > CALM {
            self.length /= 2;
            self.since = now;
        }
        let open = self.done < self.passed.len();
        match self.passed.back_mut() {
            Some((last, _)) if before <= *last => {}
            Some((last, at)) if open && *at + GRAIN > now => *last = before,
            _ => self.passed.push_back((before, now)),
        }
        while let Some((_, at)) = self.passed.front()
            && self.done > 0
            && *at + KEPT < now
        {
            self.passed.pop_front();
            self.done -= 1;
        }
    }

    /// The number before which whatever has not come by now is lost, if there is another than the last time.
    pub(super) fn lost(&mut self, now: Time) -> Option<u64> {
        let mut lost = None;
        while let Some((before, at)) = self.passed.get(self.done)
            && *at + self.length <= now
        {
            lost = Some(*before);
            self.done += 1;
        }
        lost
    }

    /// When [`Self::lost`] will have another answer, as far as `matters` says that anything before a number is missing.
    pub(super) fn deadline(&self, matters: impl Fn(u64) -> bool) -> Option<Time> {
        let mut ahead = self.passed.range(self.done..);
        let (_, at) = ahead.find(|(before, _)| matters(*before))?;
        Some(*at + self.length)
    }

    /// A packet has come that was not sent again. If every IVC had passed it, the slack must be as long at least.
    pub(super) fn come(&mut self, number: u64, now: Time) {
        let place = self.passed.partition_point(|(before, _)| *before <= number);
        let Some((_, at)) = self.passed.get(place) else {
            return;
        };
        let late = now.saturating_sub(*at);
        let needed = (late + late / 4).min(MOST);
        if needed >= self.length / 2 {
            self.since = now;
        }
        self.length = self.length.max(needed);
    }

    /// Forgets what has been passed.
    pub(super) fn clear(&mut self) {
        self.passed.clear();
        self.done = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn nothing_is_waited_for_until_that_turns_out_to_be_needed() {
        let mut slack = Slack::default();
        slack.pass(7, ms(1));
        assert_eq!(slack.lost(ms(1)), Some(7));
        assert_eq!(slack.lost(ms(1)), None);
        slack.come(5, ms(5));
        slack.pass(9, ms(6));
        assert_eq!(slack.lost(ms(10)), None);
        assert_eq!(slack.deadline(|_| true), Some(ms(11)));
        assert_eq!(slack.deadline(|before| before > 9), None);
        assert_eq!(slack.lost(ms(11)), Some(9));
    }

    #[test]
    fn the_slack_is_forgotten_when_it_is_not_needed_any_more() {
        let mut slack = Slack::default();
        slack.pass(7, ms(1));
        assert_eq!(slack.lost(ms(1)), Some(7));
        slack.come(5, ms(17));
        let mut at = 17;
        for (number, expected) in (10..).zip([10, 5, 2, 1]) {
            slack.pass(number, ms(at));
            let due = ms(at) + slack.length;
            assert_eq!(slack.length.as_millis(), expected);
            assert_eq!(
                (slack.lost(due.saturating_sub(ms(1))), slack.lost(due)),
                (None, Some(number))
            );
            at += 5_001;
        }
        assert!(slack.passed.len() < 3);
    }
}
