//! One IVC: whether it carries anything, how well, and what to say on it next.

use std::{net::Ipv4Addr, time::Duration};

use super::{
    Counted, GRACE, Message, Received, Rejected, State, Terms,
    estimate::{Loss, RoundTrip},
    pace::Pace,
    path_mtu::Search,
    ping::{Answer, Counts, Pings},
};
use crate::load::Word;

/// The shortest time between two messages, however much there is to say.
const GAP: Duration = Duration::from_millis(5);
/// In how many parts of the interval it is asked for what does not come.
const ASKS: u32 = 4;
/// How much longer nothing may come by an IVC while nothing newer comes by the tunnel's others either.
const ALONE: u32 = 3;
/// How much longer than the one before a keepalive may be under way.
const SLACK: Duration = Duration::from_millis(30);
/// How long the answer to a hurry may take on an IVC whose round-trip time is not known.
const UNKNOWN_TRIP: Duration = Duration::from_millis(500);

/// The time between two beats: that between two messages where those are most frequent.
const BEAT: Duration = Duration::from_millis(25);

/// The beat that is nearest to a time, and not after the `latest`. Where there is load, all IVCs have something to say on the same ones: to wake up, and to find out with what
/// to program the scheduler, costs more than what is said.
fn beat(at: Duration, latest: Duration) -> Duration {
    let beats = (at + BEAT / 2).as_nanos() / BEAT.as_nanos();
    let nearest = BEAT * u32::try_from(beats).unwrap_or(u32::MAX);
    if nearest > latest {
        nearest.saturating_sub(BEAT)
    } else {
        nearest
    }
}

#[derive(Debug)]
pub(super) struct Ivc {
    pub(super) terms: Terms,
    pub(super) state: State,
    /// Since when it is in its state, and since when it is known.
    pub(super) since: Duration,
    known: Duration,
    /// Whether another IVC of its tunnel was live when it began.
    pub(super) joins: bool,
    /// When the newest message came, and after which time the other side promised the next one.
    heard: Option<Duration>,
    promise: Duration,
    they_hear: bool,
    /// What has arrived since a keepalive became late.
    late: Option<Late>,
    /// When a keepalive is due that was sent no sooner than one that another IVC has brought.
    passed: Option<Duration>,
    /// The time in the newest message: older ones are replays.
    newest: u64,
    /// Since when the other side should be at the full rate.
    hurried: Option<Duration>,
    pub(super) pace: Pace,
    sequence: u32,
    sent: Option<Duration>,
    /// Whether there is something to say at once.
    pub(super) urgent: bool,
    received: Received,
    received_at: Duration,
    pub(super) counted: Counted,
    /// After which time this side is to speak because of the load, and the other side would like it to.
    pub(super) quick: Option<Duration>,
    asked: Option<Duration>,
    probed: u32,
    pub(super) pings: Pings,
    pub(super) trip: RoundTrip,
    /// Of what this gateway sends, and of what it receives.
    pub(super) loss: (Loss, Loss),
    pub(super) mtu: Option<Search>,
}

/// What is known of an IVC while a keepalive is late.
#[derive(Clone, Copy, Debug)]
struct Late {
    /// How many pieces had arrived when it was last looked, if that is known.
    pieces: Option<u64>,
    /// When it was found that more of them had.
    data: Option<Duration>,
}

/// What a message that came changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Another IVC that the other side has lost: its link's address, then this gateway's.
    pub(super) lost: Option<(Ipv4Addr, Ipv4Addr)>,
    /// The numbers of pings that it answers, and the answer.
    pub(super) answered: Vec<(u32, Answer)>,
}

impl Ivc {
    /// One that begins now; `joins` tells whether another of its tunnel is live. `number` is none that an earlier run has probed with.
    pub(super) fn new(terms: Terms, (now, joins): (Duration, bool), number: u32) -> Self {
        let mtu = terms
            .mtu
            .map(|mtu| Search::new(mtu.most, mtu.found, number));
        Self {
            terms,
            state: State::Waiting,
            since: now,
            known: now,
            joins,
            heard: None,
            promise: Duration::ZERO,
            they_hear: false,
            late: None,
            passed: None,
            newest: 0,
            hurried: None,
            pace: Pace::new(now),
            sequence: 0,
            sent: None,
            urgent: false,
            received: Received::default(),
            received_at: now,
            counted: Counted::default(),
            quick: None,
            asked: None,
            probed: 0,
            pings: Pings::default(),
            trip: RoundTrip::default(),
            loss: (Loss::default(), Loss::default()),
            mtu,
        }
    }

    /// Takes other terms; what is known of the IVC stays.
    pub(super) fn set(&mut self, terms: Terms, number: u32) {
        match (&mut self.mtu, terms.mtu) {
            (Some(search), Some(mtu)) => search.set_most(mtu.most),
            (_, None) => self.mtu = None,
            (None, Some(mtu)) => self.mtu = Some(Search::new(mtu.most, mtu.found, number)),
        }
        self.terms = terms;
    }

    /// Takes in a genuine message that came at `at`.
    pub(super) fn hear(&mut self, message: &Message, at: Duration) -> Result<News, Rejected> {
        if message.time <= self.newest {
            return Err(Rejected::Replayed);
        }
        self.newest = message.time;
        self.heard = Some(self.heard.map_or(at, |heard| heard.max(at)));
        self.promise = super::bounded(Duration::from_millis(message.interval.into()));
        self.they_hear = message.hears;
        let asked = Duration::from_millis(message.asked.into());
        self.asked = (!asked.is_zero()).then(|| super::bounded(asked));
        self.late = None;
        self.passed = None;
        let metered = self.terms.metered || message.metered;
        if message.length > Message::LENGTH {
            self.probed = message.sequence;
            self.urgent = true;
        } else {
            self.count(message, at);
        }
        if self.pace.heard(message, self.sequence, at) || message.asks {
            self.urgent = true;
        }
        if let Some(search) = &mut self.mtu {
            search.acknowledged(message.probed, metered, at);
        }
        Ok(News {
            lost: message.lost,
            answered: self.pings.heard(message, at, self.counts(message)),
        })
    }

    fn count(&mut self, message: &Message, at: Duration) {
        self.received = Received {
            newest: message.sequence,
            count: self.received.count.wrapping_add(1),
            held: 0,
        };
        self.received_at = at;
        self.loss.1.note(message.sequence, self.received.count, at);
        let theirs = message.received;
        self.loss.0.note(theirs.newest, theirs.count, at);
        self.trip.answered(theirs.newest, theirs.held(), at);
    }

    /// What both sides have counted by a message that has just come.
    fn counts(&self, message: &Message) -> Counts {
        Counts {
            theirs: message.counted,
            ours: self.counted,
            sent: (message.received.newest, message.received.count),
            heard: (self.received.newest, self.received.count),
        }
    }

    /// The other side says by another IVC, in a message of this time, that it has lost this one.
    pub(super) fn lost(&mut self, time: u64) {
        if time > self.newest {
            self.they_hear = false;
        }
    }

    /// Takes in how many pieces have crossed.
    pub(super) fn traffic(&mut self, pieces: u64, now: Duration) {
        if self.pace.traffic(pieces, now) {
            self.urgent = true;
        }
    }

    /// The moment from which on it counts as not heard.
    fn quiet(&self) -> Option<Duration> {
        let heard = self.heard?;
        // As long as nothing newer comes by another IVC either, it may be that the other side's machine is held up.
        let window = super::window(self.promise);
        let alone = heard + window * ALONE;
        let quiet = self
            .passed
            .map_or(alone, |passed| passed.clamp(heard + window, alone));
        // Who was in no hurry answers at once who is.
        let answer = self.hurried.filter(|since| heard <= *since).map(|since| {
            let trip = self.trip.smoothed().unwrap_or(UNKNOWN_TRIP);
            since + super::window(self.terms.interval) + trip * 2
        });
        let quiet = answer.map_or(quiet, |answer| answer.max(heard).min(quiet));
        // What carries data is not silent: the keepalive waits in a queue behind it, or is lost.
        let data = self.late.and_then(|late| late.data);
        Some(data.map_or(quiet, |data| quiet.max(data + self.patience())))
    }

    /// Another IVC has brought a keepalive of this time. If this one's next should have been sent by then, it is due when one of that
    /// time would arrive by the same way as the last.
    pub(super) fn compare(&mut self, time: u64) {
        let later = Duration::from_nanos(time.saturating_sub(self.newest));
        if let Some(heard) = self.heard
            && later >= self.promise
        {
            let due = heard + later + SLACK;
            self.passed = Some(self.passed.map_or(due, |passed| passed.min(due)));
        }
    }

    /// How long after one keepalive the next one is late.
    fn patience(&self) -> Duration {
        self.promise * 5 / 4
    }

    /// When it is to be noted how much data has arrived, because a keepalive is late.
    fn late_at(&self) -> Option<Duration> {
        let heard = self.heard.filter(|_| self.hears() && self.late.is_none())?;
        Some(heard + self.patience())
    }

    /// Looks whether data arrives where keepalives do not. `pieces` tells how many pieces have arrived in all.
    pub(super) fn look(&mut self, now: Duration, pieces: impl FnOnce() -> Option<u64>) {
        if self.late_at().is_some_and(|late| now >= late) {
            self.late = Some(Late {
                pieces: pieces(),
                data: None,
            });
            return;
        }
        let quiet = self.quiet().is_some_and(|quiet| now >= quiet);
        let Some(late) = self.late.as_mut().filter(|_| quiet) else {
            return;
        };
        let now_arrived = pieces();
        if now_arrived > late.pieces && late.pieces.is_some() {
            late.data = Some(now);
        }
        late.pieces = now_arrived;
    }

    /// Judges; returns whether the state is another.
    pub(super) fn judge(&mut self, now: Duration) -> bool {
        let sparing = self.pace.is_sparing(&self.terms);
        match (sparing && self.pace.flows(now), self.hurried) {
            (true, None) => self.hurried = Some(now),
            (false, Some(_)) => self.hurried = None,
            _ => {}
        }
        // That the other side hears nothing yet is no news of an IVC that is only just known.
        let fresh = self.state == State::Waiting && now.saturating_sub(self.known) < GRACE;
        let state = match self.quiet() {
            None if fresh => State::Waiting,
            Some(quiet) if now < quiet && self.they_hear => State::Live,
            Some(quiet) if now < quiet && fresh => State::Waiting,
            Some(quiet) if now < quiet => State::Unheard,
            _ => State::Silent,
        };
        if state == self.state {
            return false;
        }
        if let Some(search) = &mut self.mtu
            && state != State::Live
        {
            search.interrupt();
        }
        (self.state, self.since) = (state, now);
        true
    }

    /// Whether the other side has been heard of late.
    fn hears(&self) -> bool {
        self.heard.is_some() && self.state != State::Silent
    }

    /// When there is something to do for it at the latest.
    pub(super) fn due(&self, now: Duration) -> Duration {
        let due = [self.judged_at(), self.probe_due()];
        due.into_iter()
            .flatten()
            .fold(self.next(now), Duration::min)
    }

    /// When its state will be another if nothing comes.
    pub(super) fn judged_at(&self) -> Option<Duration> {
        match self.state {
            State::Waiting => Some(self.known + GRACE),
            State::Live | State::Unheard => {
                [self.late_at(), self.quiet()].into_iter().flatten().min()
            }
            State::Silent => None,
        }
    }

    /// When its next message goes out.
    fn next(&self, now: Duration) -> Duration {
        let Some(sent) = self.sent else {
            return now;
        };
        let next = if self.urgent || self.pings.is_wanted() {
            sent + GAP
        } else {
            let interval = self.pace.interval(&self.terms, now);
            let quick = [self.quick, self.asked].into_iter().flatten().min();
            match quick.filter(|quick| *quick <= interval) {
                Some(quick) => beat(sent + quick, sent + interval),
                None => sent + interval,
            }
        };
        match self.late() {
            Some(late) => next.min(late.max(sent + self.terms.interval / ASKS)),
            None => next,
        }
    }

    /// From when on it is asked for what should have come: what is lost once must not look like the IVC's end.
    fn late(&self) -> Option<Duration> {
        let heard = self.heard.filter(|_| self.hears())?;
        Some(heard + self.promise * 3 / 2)
    }

    fn probe_due(&self) -> Option<Duration> {
        let search = self.mtu.as_ref().filter(|_| self.state == State::Live)?;
        Some(search.due())
    }

    /// The next message, if it is time for it.
    pub(super) fn speak(&mut self, now: Duration) -> Option<Message> {
        if self.next(now) > now {
            return None;
        }
        self.sent = Some(now);
        self.urgent = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.trip.sent(self.sequence, now);
        let message = self.message(self.sequence, Message::LENGTH, now);
        let asks = self.pings.sent(self.sequence, now) || message.asks;
        Some(Message { asks, ..message })
    }

    /// The next probe of the path's MTU, if it is time for it.
    pub(super) fn probe(&mut self, now: Duration) -> Option<Message> {
        if self.probe_due().is_none_or(|due| due > now) {
            return None;
        }
        let trip = self.trip.smoothed().unwrap_or(UNKNOWN_TRIP);
        let (size, number) = self.mtu.as_mut()?.poll(now, trip * 3)?;
        Some(self.message(number, size, now))
    }

    fn message(&mut self, sequence: u32, length: u16, now: Duration) -> Message {
        let held = now.saturating_sub(self.received_at).as_micros();
        let promise = self.pace.promise(&self.terms, self.sequence, now);
        Message {
            hears: self.hears(),
            hurry: self.hurried.is_some(),
            metered: self.terms.metered,
            asks: self.late().is_some_and(|late| late <= now),
            keeps: false,
            time: 0,
            sequence,
            received: Received {
                held: u32::try_from(held).unwrap_or(u32::MAX),
                ..self.received
            },
            interval: u16::try_from(promise.as_millis()).unwrap_or(u16::MAX),
            length,
            probed: self.probed,
            lost: None,
            counted: self.counted,
            asked: self
                .quick
                .and_then(|quick| u16::try_from(quick.as_millis()).ok())
                .unwrap_or_default(),
            // Others know.
            load: Word::default(),
        }
    }
}
