//! What a link carries, learnt from what came through.

use super::{
    PACKET,
    base::Jitter,
    loss::Loss,
    marks::{Answer, Mark, Marks},
    room::Room,
};

/// The rate of an IVC of which nothing is known, in bytes per second: 1 Mbit/s.
const UNKNOWN: f64 = 125_000.0;
/// The smallest rate, in bytes per second: 100 kbit/s.
const LEAST: f64 = 12_500.0;
/// Over how long it is measured, in seconds, and over how many packets at least.
const WINDOW: (f64, f64) = (0.08, 0.5);
const PACKETS: f64 = 12.0;
/// What differs by more than this part is another rate; what differs by less may be chance.
const ANOTHER: f64 = 0.1;
/// How much more than by chance is lost where a queue is full.
const OVERFLOW: f64 = 0.05;
/// For how long a queue that was full is gone easy on, in seconds.
const EASY: f64 = 2.0;
/// How long after it was first seen it is relied on, in seconds.
const SETTLES: f64 = 1.0;
/// What was seen is confirmed if it is seen so much later, in seconds, or by so many packets at once. If it is not, it may have been jitter.
const CONFIRMED: (f64, f64) = (0.3, 100.0);
/// After how long what was seen and not confirmed counts for nothing, in seconds.
const DOUBTED: f64 = 2.0;
/// After how long without proof the rate counts as old, in seconds.
const OLD: f64 = 600.0;
/// For how long it is remembered that a link has carried more, in seconds.
const REMEMBERED: f64 = 30.0;

/// How sure a rate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The link has not been seen busy: it may carry more.
    Unknown,
    /// The link has been seen busy.
    Measured,
    /// That was long ago.
    Old,
}

/// The rate of a link, in bytes per second.
#[derive(Debug)]
pub(super) struct Rate {
    value: f64,
    /// What it is taken to be at least while nothing is known of it.
    hope: f64,
    cap: f64,
    confidence: Confidence,
    /// Whether it is stated, and the link has not been seen busy yet.
    stated: bool,
    /// When it was last seen to be right, or was first wanted: what is stated is as good as seen.
    proven: Option<f64>,
    /// Whether it has ever been seen to be right.
    seen: bool,
    /// When it was first seen to be right: what is stated has been for ever.
    known: Option<f64>,
    /// Whether it was more than a moment's: see [`Self::doubt`].
    confirmed: bool,
    /// When the link's queue was last found to have been full.
    full: Option<f64>,
    /// How long that may be.
    room: Room,
    /// The largest rate of late, and when that was.
    best: (f64, f64),
}

/// What else is known of the link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) marks: &'a Marks,
    pub(super) jitter: &'a Jitter,
    pub(super) loss: &'a Loss,
}

impl Rate {
    pub(super) fn new(cap: Option<f64>) -> Self {
        // Who states a rate knows the link.
        let confidence = cap.map_or(Confidence::Unknown, |_| Confidence::Measured);
        Self {
            value: cap.unwrap_or(UNKNOWN).max(LEAST),
            hope: 0.0,
            cap: cap.unwrap_or(f64::MAX).max(LEAST),
            confidence,
            stated: cap.is_some(),
            proven: None,
            seen: false,
            known: cap.map(|_| f64::NEG_INFINITY),
            confirmed: cap.is_some(),
            full: None,
            room: Room::default(),
            best: (0.0, 0.0),
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self.confidence {
            Confidence::Unknown if !self.seen => self.value.max(self.hope).min(self.cap),
            Confidence::Unknown | Confidence::Measured | Confidence::Old => self.value,
        }
    }

    /// Sets what it is taken to be at least while nothing is known of it, in bytes per second.
    pub(super) fn set_hope(&mut self, hope: f64) {
        self.hope = hope;
    }

    pub(super) fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Whether it was more than a moment's, or is stated.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether it is what the configuration states, and the link has not been seen busy yet.
    pub(super) fn is_stated(&self) -> bool {
        self.stated
    }

    pub(super) fn set_cap(&mut self, cap: Option<f64>) {
        self.cap = cap.unwrap_or(f64::MAX).max(LEAST);
        self.value = self.value.min(self.cap);
    }

    /// What may be sent at the most when `gain` times as much is tried.
    pub(super) fn pace(&self, gain: f64) -> f64 {
        (self.value() * gain).min(self.cap)
    }

    /// Whether it has been known for long enough to be relied on: what is seen first is a moment's, and may be far too little.
    pub(super) fn is_settled(&self, at: f64) -> bool {
        self.known.is_some_and(|since| at - since >= SETTLES)
    }

    /// As much of `rate` as the configuration allows.
    pub(super) fn bounded(&self, rate: f64) -> f64 {
        rate.min(self.cap)
    }

    pub(super) fn may_grow(&self) -> bool {
        self.value < self.cap
    }

    /// Whether the link has carried more of late.
    pub(super) fn has_fallen(&self, at: f64) -> bool {
        let (best, when) = self.best;
        self.value < (1.0 - ANOTHER) * best && at - when < REMEMBERED
    }

    /// Whether there has been too much for the link's queue of late.
    pub(super) fn is_full(&self, at: f64) -> bool {
        self.full.is_some_and(|full| at - full < EASY)
    }

    /// How long the link's queue may be, in seconds.
    pub(super) fn room(&self, at: f64) -> f64 {
        self.room.at(at)
    }

    /// There is something to send: what was measured long ago is to be found out anew.
    pub(super) fn wanted(&mut self, at: f64) {
        let proven = *self.proven.get_or_insert(at);
        if self.confidence == Confidence::Measured && at - proven > OLD {
            (self.confidence, self.stated) = (Confidence::Old, false);
            self.value = (self.value / 2.0).max(LEAST);
        }
    }

    /// Below which length in seconds a queue may be none.
    pub(super) fn noise(&self, jitter: &Jitter) -> f64 {
        (1.1 * jitter.spread())
            .max(1.2 * PACKET / self.value())
            .max(0.002)
    }

    /// Learns from what arrived by the mark at `place`.
    pub(super) fn learn(&mut self, known: Known<'_>, place: usize) {
        let Some(newest) = known.marks.get(place) else {
            return;
        };
        let packets = PACKETS * PACKET / self.value();
        let window = (8.0 * known.jitter.spread())
            .max(packets)
            .clamp(WINDOW.0, WINDOW.1);
        let (from, busy) = stretch(known.marks, place, window);
        let Some(from) = from else { return };
        if self.overflows(known, from, place) {
            self.full = Some(newest.at);
            self.room
                .overflowed(known.marks.longest(from, place), newest.at);
        }
        let long = |from: usize| {
            let from = known.marks.get(from);
            from.is_some_and(|from| newest.at - from.at >= 0.8 * window)
        };
        match busy {
            Some(from) if long(from) => self.learn_busy(known, from, place),
            _ if long(from) => self.learn_least(known, from, place),
            _ => {}
        }
    }

    /// What came through while the link was busy is what it carries.
    fn learn_busy(&mut self, known: Known<'_>, from: usize, to: usize) {
        let (Some(rate), Some(newest)) = (self.delivered(known, from, to), known.marks.get(to))
        else {
            return;
        };
        if rate > self.value || self.is_too_much(known, from, to) {
            let differs = (rate / self.value - 1.0).abs() > ANOTHER;
            let grown = grown(known, from, to);
            let weight = match self.confidence {
                Confidence::Unknown => 1.0,
                _ if differs => 0.5,
                // Of a link that is paced jitter can hide that it carries more: nothing shows but that little more comes through.
                _ if newest.held && rate > self.value && grown <= 0.0 => 0.3,
                _ => 0.1,
            };
            self.remember(newest.at);
            self.set(self.value + (rate - self.value) * weight);
            let sent = known
                .marks
                .get(from)
                .map_or(0.0, |from| newest.bytes - from.bytes);
            self.prove(newest.at, sent);
        }
    }

    /// What was sent and came through, the link carries at least.
    fn learn_least(&mut self, known: Known<'_>, from: usize, to: usize) {
        let Some(rate) = self.delivered(known, from, to) else {
            return;
        };
        if let (Some(one), Some(two)) = (known.marks.get(from), known.marks.get(to)) {
            let sent = (two.bytes - one.bytes) / (two.at - one.at);
            self.raise(rate.min(sent));
        }
    }

    /// A trial that began with the mark at `from` is over; returns whether the link carried it.
    pub(super) fn conclude(&mut self, known: Known<'_>, from: usize, to: usize) -> bool {
        let Some((mark, answer)) = known
            .marks
            .get(to)
            .and_then(|mark| Some((mark, mark.answer?)))
        else {
            return false;
        };
        let carried = answer.queue < self.noise(known.jitter) && !self.is_full(mark.at);
        if !carried {
            self.prove(mark.at, 0.0);
        }
        self.learn_least(known, from, to);
        carried
    }

    /// So many bytes came through at this rate.
    fn prove(&mut self, at: f64, bytes: f64) {
        (self.confidence, self.proven) = (Confidence::Measured, Some(at));
        let known = *self.known.get_or_insert(at);
        self.seen = true;
        self.confirmed |= at - known >= CONFIRMED.0 || bytes >= CONFIRMED.1 * PACKET;
        self.stated = false;
    }

    /// What was seen but once, and not of late, is not known: where nothing more is sent, nothing would ever show that it was wrong.
    pub(super) fn doubt(&mut self, at: f64) {
        let long = |since: f64| at - since > DOUBTED;
        if self.confidence == Confidence::Measured
            && !self.confirmed
            && self.proven.is_some_and(long)
        {
            self.confidence = Confidence::Unknown;
            (self.known, self.proven) = (None, None);
        }
    }

    fn raise(&mut self, rate: f64) {
        self.set(self.value.max(rate));
    }

    fn set(&mut self, rate: f64) {
        self.value = rate.clamp(LEAST, self.cap);
    }

    /// The value was seen to be right, or was stated.
    fn remember(&mut self, at: f64) {
        let (best, when) = self.best;
        if self.value >= best || at - when >= REMEMBERED {
            self.best = (self.value, at);
        }
    }

    /// The rate at which what was sent between two marks came through, in bytes per second.
    ///
    /// What is lost at random has had its share of the link, so what was sent is counted; what a full queue refuses has not.
    fn delivered(&self, known: Known<'_>, from: usize, to: usize) -> Option<f64> {
        let ((one, first), (two, last)) = pair(known.marks, from, to)?;
        let sent = two.bytes - one.bytes;
        let (bytes, time) = if self.overflows(known, from, to) {
            let got = (last.bytes - first.bytes) / (1.0 - known.loss.random());
            (got, last.read - first.read)
        } else {
            (sent, two.at - one.at + last.raw - first.raw)
        };
        (time > 0.0).then_some(bytes.min(sent) / time)
    }

    /// Whether more was lost between two marks than chance takes.
    fn overflows(&self, known: Known<'_>, from: usize, to: usize) -> bool {
        let Some(((one, first), (two, last))) = pair(known.marks, from, to) else {
            return false;
        };
        let (sent, got) = (two.bytes - one.bytes, last.bytes - first.bytes);
        // What came between a mark and the count, nobody can tell from what came before.
        let read = (last.read - first.read).max(0.001);
        let rate = self.value.max(sent / (two.at - one.at)).max(got / read);
        let unsure = (first.lag + last.lag) * rate + PACKETS / 2.0 * PACKET;
        sent - got > (known.loss.random() + OVERFLOW) * sent + unsure
    }

    /// Whether more is sent than is carried: the scheduler sends all that it may, or the queue grows.
    fn is_too_much(&self, known: Known<'_>, from: usize, to: usize) -> bool {
        let mut since = known.marks.answered(to + 1);
        let wanted = since
            .by_ref()
            .take_while(|(place, ..)| *place > from)
            .all(|(.., answer)| answer.wanted);
        wanted || grown(known, from, to) > self.noise(known.jitter).max(0.005)
    }
}

/// Finds the answered mark that was sent `window` seconds before the one at `place`, or the oldest; and the oldest since which the
/// link has been busy.
fn stretch(marks: &Marks, place: usize, window: f64) -> (Option<usize>, Option<usize>) {
    let (mut from, mut since) = (None, None);
    let newest = marks.get(place);
    let mut busy = newest
        .and_then(|mark| mark.answer)
        .is_some_and(|answer| answer.busy);
    for (at, mark, answer) in marks.answered(place) {
        from = Some(at);
        if busy {
            since = Some(at);
        }
        busy &= answer.busy;
        if newest.is_some_and(|newest| newest.at - mark.at >= window) {
            break;
        }
    }
    (from, since)
}

/// By how much the queue has grown between two marks, in seconds.
fn grown(known: Known<'_>, from: usize, to: usize) -> f64 {
    pair(known.marks, from, to).map_or(0.0, |((_, first), (_, last))| last.queue - first.queue)
}

/// A mark that was answered.
type Answered<'a> = (&'a Mark, Answer);

fn pair(marks: &Marks, from: usize, to: usize) -> Option<(Answered<'_>, Answered<'_>)> {
    let (one, two) = (marks.get(from)?, marks.get(to)?);
    Some(((one, one.answer?), (two, two.answer?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How sure a rate is at the end that has been seen at these times, by so many packets, and whether it was more than a moment's.
    fn seen(cap: Option<f64>, proofs: &[(f64, f64)], end: f64) -> (Confidence, bool) {
        let mut rate = Rate::new(cap);
        for (at, packets) in proofs {
            rate.set(1e6);
            rate.prove(*at, packets * PACKET);
        }
        let before = rate.value();
        rate.doubt(end);
        assert!((rate.value() - before).abs() < 1e-6);
        (rate.confidence(), rate.is_confirmed())
    }

    #[test]
    fn what_was_seen_but_once_is_doubted() {
        let (sure, moment, doubted) = (
            (Confidence::Measured, true),
            (Confidence::Measured, false),
            (Confidence::Unknown, false),
        );
        assert_eq!(seen(None, &[(5.0, 20.0)], 6.9), moment);
        assert_eq!(seen(None, &[(5.0, 20.0)], 7.1), doubted);
        assert_eq!(seen(None, &[(5.0, 20.0), (5.1, 20.0)], 9.0), doubted);
        // Again, or by many packets.
        assert_eq!(seen(None, &[(5.0, 20.0), (5.4, 20.0)], 99.0), sure);
        assert_eq!(seen(None, &[(5.0, 120.0)], 99.0), sure);
        assert_eq!(seen(Some(1e6), &[(5.0, 20.0)], 99.0), sure);
    }
}
