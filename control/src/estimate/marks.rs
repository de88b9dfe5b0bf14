//! Marks: keepalives by which what was sent and what was received are compared.

use std::collections::VecDeque;

/// The most marks that are remembered.
const KEPT: usize = 256;
/// Over how long the smallest of several delays is looked for, in spreads of the delay; and at most, in seconds.
const WINDOW: (f64, f64) = (6.0, 0.3);
/// Below this, in seconds, no window is worth its delay.
const SHORT: f64 = 0.02;

/// How many delays are alike if three quarters of them differ by no more than so many seconds.
const FLAT: usize = 40;
const ALIKE: f64 = 0.0005;

/// A keepalive that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) number: u32,
    /// When it was sent, in seconds.
    pub(super) at: f64,
    /// The bytes sent before it.
    pub(super) bytes: f64,
    /// For how long the scheduler has had nothing for the link to do, in seconds.
    pub(super) idle: f64,
    /// By how much faster than the estimate is sent after it.
    pub(super) gain: f64,
    /// Whether it was held back before the link.
    pub(super) held: bool,
    pub(super) answer: Option<Answer>,
}

/// What is known of a mark that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The bytes received by then, and when they were counted, in seconds of the other side's clock.
    pub(super) bytes: f64,
    pub(super) read: f64,
    /// How long after the mark's arrival that was.
    pub(super) lag: f64,
    /// The delay less the smallest, in seconds, and the same without jitter.
    pub(super) raw: f64,
    pub(super) queue: f64,
    /// Whether the scheduler was busy with the link since the answered mark before.
    pub(super) wanted: bool,
    /// Whether the link itself was.
    pub(super) busy: bool,
}

/// The marks of late, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<Mark>);

impl Marks {
    pub(super) fn sent(&mut self, mark: Mark) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(mark);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn get(&self, place: usize) -> Option<&Mark> {
        self.0.get(place)
    }

    pub(super) fn last(&self) -> Option<(usize, &Mark)> {
        Some((self.0.len().checked_sub(1)?, self.0.back()?))
    }

    pub(super) fn answer(&mut self, place: usize) -> Option<&mut Answer> {
        self.0.get_mut(place)?.answer.as_mut()
    }

    pub(super) fn set_answer(&mut self, place: usize, answer: Answer) {
        if let Some(mark) = self.0.get_mut(place) {
            mark.answer = Some(answer);
        }
    }

    /// Finds the place of a mark that has not been answered yet, and forgets those before it that never will be.
    pub(super) fn find(&mut self, number: u32) -> Option<usize> {
        let unanswered = |mark: &Mark| mark.number == number && mark.answer.is_none();
        let place = self.0.iter().position(unanswered)?;
        let mut at = 0;
        self.0.retain(|mark| {
            at += 1;
            at > place || mark.answer.is_some()
        });
        self.0.iter().position(unanswered)
    }

    /// The place of the first answered mark whose number is `number` or larger.
    pub(super) fn answered_from(&self, number: u32) -> Option<usize> {
        let known = |mark: &Mark| mark.number >= number && mark.answer.is_some();
        self.0.iter().position(known)
    }

    /// The newest mark that was answered, and its place.
    pub(super) fn newest(&self) -> Option<(usize, &Mark, Answer)> {
        self.answered(self.0.len()).next()
    }

    /// The answered marks before `place`, the newest first.
    pub(super) fn answered(&self, place: usize) -> impl Iterator<Item = (usize, &Mark, Answer)> {
        let before = self.0.range(..place).enumerate().rev();
        before.filter_map(|(place, mark)| Some((place, mark, mark.answer?)))
    }

    /// Returns the queue that a mark meets that was sent after another, if that one met `queue` and the link carries `rate` bytes a
    /// second.
    pub(super) fn carry(&self, queue: f64, from: usize, to: usize, rate: f64) -> f64 {
        let pairs = self.0.range(from..=to).zip(self.0.range(from + 1..=to));
        pairs.fold(queue, |queue, (one, next)| {
            drain(queue, one, (next.bytes, next.at), rate)
        })
    }

    /// The queue that a mark met, jitter taken out: delays only grow by it, so the smallest of some is the truest.
    pub(super) fn filtered(&self, place: usize, spread: f64, rate: f64) -> f64 {
        let window = (WINDOW.0 * spread).min(WINDOW.1);
        let window = if window < SHORT { 0.0 } else { window };
        let Some(end) = self.get(place).map(|mark| mark.at) else {
            return 0.0;
        };
        let since = self.0.partition_point(|mark| mark.at < end - window);
        let mut found: Option<(usize, f64)> = None;
        for (at, mark) in self.0.range(since..=place).enumerate() {
            let Some(answer) = mark.answer else {
                continue;
            };
            let at = at + since;
            let queue = match found {
                Some((from, queue)) => self.carry(queue, from, at, rate).min(answer.raw),
                None => answer.raw,
            };
            found = Some((at, queue));
        }
        found.map_or(0.0, |(_, queue)| queue)
    }

    /// The longest delay beyond the smallest that a mark met between two places, in seconds.
    pub(super) fn longest(&self, from: usize, to: usize) -> f64 {
        let answers = self.0.range(from..=to).filter_map(|mark| mark.answer);
        answers.map(|answer| answer.raw).fold(0.0, f64::max)
    }

    /// Whether a mark met no queue, as far as what was sent tells: so little was sent in the second before it that a link which
    /// carries `rate` bytes a second would have none left of any that was measured.
    pub(super) fn is_quiet(&self, place: usize, rate: f64) -> bool {
        let Some(end) = self.get(place).map(|mark| mark.at) else {
            return false;
        };
        let second = self.0.partition_point(|mark| mark.at < end - 1.0);
        let mut most: Option<(usize, f64)> = None;
        for at in second..=place {
            let answer = self.get(at).and_then(|mark| mark.answer);
            if answer.is_none() && at < place {
                continue;
            }
            let carried = most.map(|(from, queue)| self.carry(queue, from, at, rate));
            if at == place {
                return carried.is_some_and(|queue| queue <= 0.0);
            }
            let raw = answer.map_or(f64::MAX, |answer| answer.raw);
            most = Some((at, carried.unwrap_or(raw).min(raw)));
        }
        false
    }

    /// Whether delays have been so much alike of late that there is no queue behind them: queues come and go.
    pub(super) fn is_flat(&self, delay: f64, place: usize) -> bool {
        let raws: Vec<_> = self
            .answered(place)
            .map(|(.., answer)| answer.raw)
            .take(FLAT)
            .collect();
        let least = raws.iter().copied().fold(delay, f64::min);
        let alike = raws.iter().filter(|raw| **raw - least < ALIKE).count();
        raws.len() == FLAT && delay - least < ALIKE && alike * 4 >= FLAT * 3
    }
}

/// The queue some time after a mark, by how much was sent since.
pub(super) fn drain(queue: f64, mark: &Mark, (bytes, at): (f64, f64), rate: f64) -> f64 {
    (queue + (bytes - mark.bytes) / (rate * mark.gain) - (at - mark.at)).max(0.0)
}
