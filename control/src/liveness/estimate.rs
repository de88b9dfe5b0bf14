//! What keepalives tell of an IVC: how long a packet takes there and back, and how many are lost.

use std::{collections::VecDeque, time::Duration};

/// How long a smallest round-trip time counts, at least.
const LEAST_OF: Duration = Duration::from_mins(1);
/// Over how long loss is counted.
const LOSS_WINDOW: Duration = Duration::from_secs(30);
/// How often it is noted what has been received.
const LOSS_STEP: Duration = Duration::from_secs(1);
/// A jump of the numbers by more than this is no loss: the other side has begun anew.
const ANEW: u32 = 10_000;
/// The round-trip times that are awaited at a time.
const AWAITED: usize = 128;

/// The round-trip time of an IVC.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// The newest messages sent, with their numbers.
    sent: VecDeque<(u32, Duration)>,
    smoothed: Option<Duration>,
    /// The smallest of this period and of the one before it.
    least: [Option<Duration>; 2],
    period: Duration,
}

impl RoundTrip {
    /// A message was sent.
    pub(super) fn sent(&mut self, number: u32, now: Duration) {
        if self.sent.len() == AWAITED {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
    }

    /// The other side received a message, held its word of it for a while, and that came at `at`.
    pub(super) fn answered(&mut self, number: u32, held: Duration, at: Duration) {
        let Some(place) = self.sent.iter().position(|(sent, _)| *sent == number) else {
            return;
        };
        // A number is answered once: later word of it says nothing new.
        let Some((_, sent)) = self.sent.drain(..=place).next_back() else {
            return;
        };
        let Some(time) = at.checked_sub(sent).and_then(|time| time.checked_sub(held)) else {
            return;
        };
        // RFC 6298, section 2: alpha is 1/8.
        self.smoothed = Some(match self.smoothed {
            Some(smoothed) => (smoothed * 7 + time) / 8,
            None => time,
        });
        if at.saturating_sub(self.period) >= LEAST_OF {
            self.period = at;
            self.least = [None, self.least[0]];
        }
        self.least[0] = Some(self.least[0].map_or(time, |least| least.min(time)));
    }

    /// The smoothed round-trip time.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smallest of late.
    pub(super) fn least(&self) -> Option<Duration> {
        self.least.into_iter().flatten().min()
    }
}

/// The loss in one direction of an IVC, from what its receiver counts.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// When, the newest number, and how many there were.
    noted: VecDeque<(Duration, u32, u32)>,
    last: Option<(u32, u32)>,
}

impl Loss {
    /// Takes in the newest number received and the count of those received.
    pub(super) fn note(&mut self, newest: u32, count: u32, now: Duration) {
        let anew = self.last.is_some_and(|(last, counted)| {
            newest.wrapping_sub(last) > ANEW || count.wrapping_sub(counted) > ANEW
        });
        if anew {
            self.noted.clear();
        }
        self.last = Some((newest, count));
        let due = |(at, ..): &(Duration, u32, u32)| now.saturating_sub(*at) >= LOSS_STEP;
        if self.noted.back().is_none_or(due) {
            self.noted.push_back((now, newest, count));
        }
        while self
            .noted
            .front()
            .is_some_and(|(at, ..)| now.saturating_sub(*at) > LOSS_WINDOW)
        {
            self.noted.pop_front();
        }
    }

    /// The part that was lost of late, from 0 to 1; none as long as there is nothing to go by.
    pub(super) fn ratio(&self) -> Option<f64> {
        let (newest, count) = self.last?;
        let (_, first, counted) = self.noted.front()?;
        let sent = newest.wrapping_sub(*first);
        let received = count.wrapping_sub(*counted).min(sent);
        (sent > 0).then(|| 1.0 - f64::from(received) / f64::from(sent))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_the_other_side_held_does_not_count() {
        let mut trip = RoundTrip::default();
        trip.sent(1, ms(1000));
        trip.sent(2, ms(1100));
        trip.answered(2, ms(70), ms(1200));
        assert_eq!(trip.smoothed(), Some(ms(30)));
        // Word of the same number again, of an older one, of one that was never sent, and one of another age.
        trip.answered(2, ms(70), ms(1900));
        trip.answered(1, ms(0), ms(1900));
        trip.answered(9, ms(0), ms(1900));
        trip.sent(3, ms(2000));
        trip.answered(3, ms(5000), ms(2010));
        assert_eq!(trip.smoothed(), Some(ms(30)));
        trip.sent(4, ms(3000));
        trip.answered(4, ms(0), ms(3110));
        assert_eq!(
            (trip.smoothed(), trip.least()),
            (Some(ms(40)), Some(ms(30)))
        );
    }

    #[test]
    fn the_least_is_forgotten() {
        let mut trip = RoundTrip::default();
        for (number, at) in (1..).zip((0..300).map(|second| second * 1000)) {
            trip.sent(number, ms(at));
            trip.answered(number, ms(0), ms(at + if number < 10 { 5 } else { 50 }));
        }
        assert_eq!(trip.least(), Some(ms(50)));
    }

    #[test]
    fn a_receiver_that_begins_anew_has_lost_nothing() {
        let mut loss = Loss::default();
        assert_eq!(loss.ratio(), None);
        loss.note(5000, 4000, ms(0));
        loss.note(5010, 4005, ms(1000));
        assert_eq!(loss.ratio(), Some(0.5));
        loss.note(1, 1, ms(2000));
        assert_eq!(loss.ratio(), None);
        loss.note(11, 11, ms(3000));
        assert_eq!(loss.ratio(), Some(0.0));
    }

    proptest! {
        /// Over the window the ratio is exactly what was lost in it, wherever the numbers begin.
        #[test]
        fn loss_is_what_was_lost(begin: u32, lost in prop::collection::vec(any::<bool>(), 2..250)) {
            let mut loss = Loss::default();
            let (mut count, mut first) = (0_u32, None);
            let (mut sent, mut received) = (0_u32, 0_u32);
            for (step, lost) in (0_u32..).zip(lost) {
                if lost {
                    continue;
                }
                count = count.wrapping_add(1);
                loss.note(begin.wrapping_add(step), count, ms(u64::from(step) * 100));
                let (step0, count0) = *first.get_or_insert((step, count));
                (sent, received) = (step - step0, count - count0);
            }
            let expected = (sent > 0).then(|| 1.0 - f64::from(received) / f64::from(sent));
            prop_assert_eq!(loss.ratio(), expected);
        }
    }
}
