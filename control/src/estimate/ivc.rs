//! One IVC: its rate, its latency, and the queue on it.

use super::{
    Confidence, PACKET, Present, Received,
    account::{Account, nanoseconds},
    base::{Base, Empty, Jitter},
    leave::Leave,
    loss::Loss,
    marks::{Answer, Mark, Marks, drain},
    rate::{Known, Rate},
    rest::Rests,
    trial::Trials,
};

/// How much of the rate is used while the link's own queue has been full of late.
const EASY: f64 = 0.97;
/// What is less than this part of the rate makes no queue, even if the rate is not quite right.
const LITTLE: f64 = 0.7;
/// How long what was sent since the last mark may take, in seconds, if that mark's delay is to count as the network's own.
const NOTHING: f64 = 0.002;
/// The shortest trial, in seconds, and in packets.
const TRIAL: (f64, f64) = (0.02, 4.0);
/// How much longer than chance makes it the virtual queue must be for a trial, in seconds.
const ENOUGH: f64 = 0.008;
/// Less than this, in bytes, makes no queue that is worth to speak of, however late answers are.
const FEW: f64 = 3.0 * PACKET;
/// By how much later than expected an answer may come by chance, in seconds, beside four deviations.
const LATE: f64 = 0.05;

/// What is known of an IVC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// What it carries, in bytes per second.
    pub rate: f64,
    /// At which rate the scheduler is to send, in bytes per second.
    pub pace: f64,
    /// At which rate pieces are to leave where something holds them until then, in bytes per second; none as long as nothing is known of the
    /// rate.
    pub leave: Option<f64>,
    /// The latency while empty, in seconds, against the other side's clock.
    pub latency: f64,
    /// The smallest round-trip time, in seconds.
    pub round_trip: f64,
    /// The queue that a packet meets now, in seconds.
    pub queue: f64,
    /// What of that is there only because answers are late, in seconds.
    pub overdue: f64,
    /// What is to be added to the virtual clock to have it end with the queue, or a rest, in nanoseconds.
    pub shift: i64,
    /// How long the queue may become, in seconds; endless as long as that is not known.
    pub room: f64,
    /// By how much the delay varies without a queue, in seconds.
    pub jitter: f64,
    /// The part that is lost, from 0 to 1.
    pub loss: f64,
    /// The part that is lost by chance, as far as is known.
    pub random: f64,
    /// How sure the rate is.
    pub confidence: Confidence,
    /// Whether the rate is what the configuration states, and the link has not been seen busy yet.
    pub stated: bool,
}

impl Estimate {
    /// Takes the queue for no longer than `most` seconds where it is longer only because answers are late: that nobody answers is a reason
    /// to prefer others, and none to drop anything.
    pub(super) fn excuse(&mut self, most: f64) {
        let excess = (self.queue - most.max(0.0)).clamp(0.0, self.overdue);
        self.queue -= excess;
        self.overdue -= excess;
        self.shift -= nanoseconds(excess);
    }

    /// What it carries, in bits per second.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    pub const fn bits_per_second(&self) -> u64 {
        (self.rate * 8.0) as u64
    }
}

/// An IVC.
#[derive(Debug)]
pub(super) struct Ivc {
    marks: Marks,
    base: Base,
    jitter: Jitter,
    loss: Loss,
    rate: Rate,
    trials: Trials,
    rests: Rests,
    account: Account,
    trip: Trip,
    leave: Leave,
}

impl Ivc {
    pub(super) fn new(cap: Option<f64>) -> Self {
        let rate = Rate::new(cap);
        Self {
            marks: Marks::default(),
            base: Base::default(),
            jitter: Jitter::default(),
            loss: Loss::default(),
            account: Account::new(rate.value()),
            rate,
            trials: Trials::default(),
            rests: Rests::default(),
            trip: Trip::default(),
            leave: Leave::default(),
        }
    }

    pub(super) fn set_cap(&mut self, cap: Option<f64>) {
        self.rate.set_cap(cap);
    }

    /// See [`Rate::set_hope`]. The scheduler is to be programmed anew after it.
    pub(super) fn set_hope(&mut self, hope: f64, present: &Present) {
        // Up to now it has booked otherwise.
        self.account.note(present);
        self.rate.set_hope(hope);
        self.set_pace();
    }

    /// In bytes per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate.value()
    }

    pub(super) fn confidence(&self) -> Confidence {
        self.rate.confidence()
    }

    /// Whether there is no more to be found out of what it carries.
    pub(super) fn is_known(&self) -> bool {
        self.rate.confidence() != Confidence::Unknown && self.rate.is_confirmed()
    }

    /// Whether any mark has ever been answered.
    pub(super) const fn has_answered(&self) -> bool {
        self.base.least().is_some()
    }

    /// A mark is sent. Returns whether another pace begins with it.
    pub(super) fn sent(&mut self, number: u32, present: &Present) -> bool {
        let pace = self.account.pace;
        let (at, bytes, queue) = self.account.note(present);
        let leaves = present.leaves.as_secs_f64();
        let held = present.leaves > present.at;
        if queue > 0.0 {
            self.rate.wanted(at);
        }
        if self.may_try(queue, at) {
            self.trials.begin(number, leaves);
        }
        let packets = TRIAL.1 * PACKET / self.rate.pace(self.trials.gain());
        let length = self.jitter.spread().max(packets).max(TRIAL.0);
        self.trials.step(number, leaves, length);
        self.set_pace();
        self.marks.sent(Mark {
            number,
            at: leaves,
            bytes,
            idle: self.account.idle - queue.min(0.0),
            // What leaves too fast makes a queue that was not there, until the link is seen to carry it.
            gain: if held {
                1.0
            } else {
                self.account.pace / self.rate.value()
            },
            held,
            answer: None,
        });
        self.account.pace.total_cmp(&pace).is_ne()
    }

    /// Whether it may be tried if the link carries more: there is something to send, and nothing speaks against it, or the link idles
    /// although the scheduler takes it for busy, and has a queue to show for it.
    fn may_try(&self, queue: f64, at: f64) -> bool {
        let may = match self.rate.confidence() {
            Confidence::Measured => self.idles() && queue > ENOUGH + self.rate.noise(&self.jitter),
            Confidence::Unknown | Confidence::Old => queue > 0.0,
        };
        may && self.rate.may_grow() && !self.rate.is_full(at)
    }

    /// Whether the link idles although the scheduler takes it for busy.
    fn idles(&self) -> bool {
        self.marks.newest().is_some_and(|(_, mark, answer)| {
            self.trials.is_past(mark.number) && answer.wanted && !answer.busy
        })
    }

    fn set_pace(&mut self) {
        self.account.pace = self.rate.pace(self.trials.gain());
    }

    /// The other side says what it has received; `alone` tells that there is no other IVC.
    pub(super) fn reported(&mut self, received: &Received, present: &Present, alone: bool) {
        let (now, ..) = self.account.note(present);
        self.rate.doubt(now);
        let newest = self.marks.newest();
        let before = newest.filter(|(_, mark, _)| mark.number < received.number);
        if before.is_some_and(|(.., answer)| precise(received.bytes) < answer.bytes) {
            // The other side has begun to count anew.
            self.marks.clear();
        }
        let Some(place) = self.marks.find(received.number) else {
            return;
        };
        let Some(mark) = self.marks.get(place).copied() else {
            return;
        };
        let arrived = received.arrived.as_secs_f64();
        let delay = arrived - mark.at;
        let least = self.base.least().unwrap_or(delay);
        let empty = Empty {
            quiet: self.marks.is_quiet(place, LITTLE * self.rate.value()),
            flat: self.marks.is_flat(delay - least, place) && !self.rate.is_full(now),
        };
        self.base.note(mark.at, delay, empty);
        let raw = delay - self.base.least().unwrap_or(delay);
        self.trip.note(now - mark.at, raw);
        self.surprise(place, &mark, raw);
        let read = received.read.as_secs_f64();
        let answer = Answer {
            bytes: precise(received.bytes),
            read,
            lag: (read - arrived).max(0.0),
            raw,
            queue: raw,
            wanted: false,
            busy: false,
        };
        self.marks.set_answer(place, answer);
        self.look(place, &mark, answer, empty.flat);
        let known = Known {
            marks: &self.marks,
            jitter: &self.jitter,
            loss: &self.loss,
        };
        self.rate.learn(known, place);
        if let Some(first) = self.trials.over(mark.number) {
            let first = self.marks.answered_from(first).unwrap_or(place);
            if self.rate.conclude(known, first, place) {
                self.trials.succeeded();
            } else {
                self.trials.failed(mark.number, mark.held);
            }
        }
        if !alone {
            self.rest(now);
        }
        self.set_pace();
    }

    /// Finds out how far a queue that a mark met on the link was from what was expected.
    fn surprise(&mut self, place: usize, mark: &Mark, raw: f64) {
        if let Some((from, _, earlier)) = self.marks.answered(place).next()
            && mark.held
        {
            let rate = self.rate.value();
            let expected = self.marks.carry(earlier.queue, from, place, rate);
            self.leave.note(raw - expected);
        }
    }

    /// Has the link rest if that may tell why it seems to carry less than before.
    fn rest(&mut self, now: f64) {
        if !self.rate.has_fallen(now) {
            self.rests.needless();
        } else if let Some((.., answer)) = self.marks.newest()
            && answer.busy
        {
            self.rests.wanted(now, answer.queue);
        }
    }

    /// Finds out whether the link has been busy, and what was lost.
    fn look(&mut self, place: usize, mark: &Mark, answer: Answer, flat: bool) {
        let before = self.marks.answered(place).next();
        let before = before.map(|(_, mark, answer)| (*mark, answer));
        let (mut wanted, mut covered) = (false, false);
        if let Some((one, earlier)) = before {
            if (mark.bytes - one.bytes) / self.rate.value() < NOTHING {
                self.jitter.note(answer.raw);
            }
            let time = mark.at - one.at;
            wanted = mark.idle - one.idle <= 0.2 * time;
            covered = earlier.queue >= 0.8 * time;
        }
        self.loss
            .note(mark.bytes, answer.bytes, !wanted && !covered);
        let spread = self.jitter.spread();
        let queue = self.marks.filtered(place, spread, self.rate.value());
        let long = queue >= self.rate.noise(&self.jitter);
        if let Some(answer) = self.marks.answer(place) {
            answer.queue = queue;
            answer.wanted = wanted;
            answer.busy = long && !flat && (wanted || covered);
        }
    }

    /// What is known now; nothing before the other side has answered.
    pub(super) fn estimate(&self, present: &Present) -> Option<Estimate> {
        let latency = self.base.least()?;
        let (newest, _, answer) = self.marks.newest()?;
        let (last, mark) = self.marks.last()?;
        let (at, rate) = (present.at.as_secs_f64(), self.rate.value());
        let ahead = self.marks.carry(answer.queue, newest, last, rate);
        let queue = drain(ahead, mark, (precise(present.bytes), at), rate);
        let outstanding =
            precise(present.bytes) - self.marks.get(newest).map_or(0.0, |mark| mark.bytes);
        let late = if outstanding < FEW {
            0.0
        } else {
            self.overdue(newest, answer.queue, at)
        };
        let overdue = (late - queue).max(0.0);
        let mut queue = queue + overdue;
        let mut pace = self.account.pace;
        if self.rate.is_full(at) {
            // The delay tells nothing of a queue that overflows: so the clock is taken to be right.
            queue = queue.max(self.account.queue(present));
            pace *= EASY;
        }
        let free = queue.max(self.rests.left(at));
        Some(Estimate {
            rate,
            pace,
            leave: self.leave(pace, ahead, at),
            latency,
            round_trip: self.trip.least.unwrap_or_default(),
            queue,
            overdue,
            shift: self.account.corrected(free, present),
            room: self.rate.room(at),
            jitter: self.jitter.spread(),
            loss: self.loss.ratio(),
            random: self.loss.random(),
            confidence: self.rate.confidence(),
            stated: self.rate.is_stated(),
        })
    }

    /// At which rate pieces are to leave, if `pace` is what is booked, and the last of them will find a queue of `ahead` seconds on the link.
    fn leave(&self, pace: f64, ahead: f64, at: f64) -> Option<f64> {
        if !self.rate.is_settled(at) {
            // Whatever is tried is to show what the link does with it.
            return None;
        }
        let part = self.leave.part(ahead, self.rate.noise(&self.jitter), at);
        // What has no room for a queue is not asked for one.
        let most = if self.rate.is_full(at) { 1.0 } else { f64::MAX };
        Some(self.rate.bounded(part.min(most) * pace))
    }

    /// The scheduler has been programmed with this.
    pub(super) fn programmed(&mut self, estimate: &Estimate, present: &Present) {
        self.account.programmed(estimate.shift, present);
    }

    /// The queue at least that the first mark after `newest`, which met `queue`, has met, in seconds, where its answer is too late
    /// for chance.
    fn overdue(&self, newest: usize, queue: f64, now: f64) -> f64 {
        let Some(mark) = self.marks.get(newest + 1) else {
            return 0.0;
        };
        let expected = self
            .marks
            .carry(queue, newest, newest + 1, self.rate.value());
        let late = now - mark.at - self.trip.mean;
        if late - expected > 4.0 * self.trip.deviation + LATE {
            late
        } else {
            0.0
        }
    }
}

/// How long answers take beside the queue, in seconds.
#[derive(Debug, Default)]
struct Trip {
    mean: f64,
    deviation: f64,
    least: Option<f64>,
}

impl Trip {
    fn note(&mut self, took: f64, queue: f64) {
        let trip = (took - queue).max(0.0);
        // RFC 6298, section 2.
        if self.least.is_none() {
            (self.mean, self.deviation) = (trip, trip / 2.0);
        }
        self.deviation += ((trip - self.mean).abs() - self.deviation) / 4.0;
        self.mean += (trip - self.mean) / 8.0;
        self.least = Some(self.least.map_or(trip, |least| least.min(trip)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 9 petabytes")]
pub(super) const fn precise(bytes: u64) -> f64 {
    bytes as f64
}
