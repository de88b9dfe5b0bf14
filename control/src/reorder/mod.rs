//! Packets of a tunnel back in the order in which they were sent.
//!
//! Every packet has a number, and came by one of the tunnel's IVCs, each of which keeps the order of what it carries. A packet waits only
//! while one before it may still come, and a number is given up by the rule of multilink PPP (RFC 1990 section 4.1): once every IVC that
//! is alive has brought something newer, it is lost, not late. Nothing waits longer than a bound, and no more than so many packets wait.
//! While an IVC brings nothing, nobody knows what it has been given just now, and the bound decides.
//!
//! What is missing is not known to be of one flow or another. But a TCP segment tells whether it is what its own connection wants next:
//! then it does not wait for anybody, so that the loss of one connection never holds up others.
//!
//! Where the other side can send again ([`crate::resend`]), what is lost is not given up, but asked for (`asks`), and waited for somewhat
//! longer.

mod apart;
mod asks;
mod auto;
mod flows;
mod gaps;
mod hesitation;
mod ring;
mod slack;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, ops::AddAssign, time::Duration};

use self::{
    apart::{Apart, Taken},
    asks::{Asks, Patience},
    auto::Auto,
    flows::Flows,
    gaps::{Gaps, Seen},
    hesitation::Hesitation,
    slack::Slack,
};
use crate::config::Resequence;

/// How many packets of a tunnel may wait.
pub const MOST_HELD: usize = 2_048;

/// A packet's time of arrival, since any moment that is the same for all.
pub type Time = Duration;

/// What a packet is to the connection that it belongs to; by default to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kin {
    /// The connection: a number that all its packets have, and few others.
    pub flow: u32,
    /// Of a TCP segment, the number of its first byte, and the number that follows on its last.
    pub bytes: Option<(u32, u32)>,
}

/// How the packets of a tunnel are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether they are put back in order.
    pub policy: Resequence,
    /// How many IVCs may bring them.
    pub ivcs: usize,
    /// How long answers take, if the other side can send again what is lost.
    pub resend: Option<RoundTrip>,
}

/// How long answers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    /// As a rule, by the slowest IVC.
    pub usual: Duration,
    /// At the least, by the fastest.
    pub least: Duration,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number among all of the tunnel.
    pub number: u64,
    /// The slot of the IVC that it came by, below [`withy_common::maps::MAX_IVCS`].
    pub slot: usize,
    /// When it came.
    pub time: Time,
    /// What it is to its connection.
    pub kin: Kin,
    /// Whether it waits for those before it; others wait for it in any case.
    pub waits: bool,
}

/// A packet that waits.
#[derive(Debug)]
struct Held<P> {
    number: u64,
    since: Time,
    kin: Kin,
    packet: P,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packets that came in order.
    pub in_order: u64,
    /// Packets that came after one with a higher number.
    pub late: u64,
    /// Packets that waited.
    pub held: u64,
    /// For how long those that wait no longer have waited in sum.
    pub waited: Duration,
    /// Numbers that were given up by the rule of multilink PPP.
    pub lost: u64,
    /// Packets that waited as long as they may, or were too many.
    pub expired: u64,
    /// Packets that came when their number had been given up already.
    pub too_late: u64,
    /// Packets that were asked for.
    pub asked: u64,
    /// Packets that came in time after they were asked for.
    pub mended: u64,
    /// Packets that came after they were asked for and given up.
    pub missed: u64,
    /// Packets that went apart from the others, as the other side had said.
    pub apart: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.in_order += more.in_order;
        self.late += more.late;
        self.held += more.held;
        self.waited += more.waited;
        self.lost += more.lost;
        self.expired += more.expired;
        self.too_late += more.too_late;
        self.asked += more.asked;
        self.mended += more.mended;
        self.missed += more.missed;
        self.apart += more.apart;
    }
}

/// The packets of one tunnel.
#[derive(Debug)]
pub struct Resequencer<P> {
    gaps: Gaps,
    apart: Apart,
    flows: Flows,
    /// In the order of their numbers.
    held: VecDeque<Held<P>>,
    /// Since when the one waits that has waited longest.
    oldest: Option<Time>,
    /// How long a packet may wait.
    bound: Duration,
    /// The time as far as it is known.
    now: Time,
    auto: Auto,
    /// How long is waited for what was asked for; none where that is no use.
    patience: Option<Patience>,
    asks: Asks,
    slack: Slack,
    hesitation: Hesitation,
    /// What is to be asked for.
    wanted: Vec<u64>,
    figures: Figures,
}

impl<P> Resequencer<P> {
    /// Begins with whatever comes first. No packet waits longer than `bound`.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        Self {
            gaps: Gaps::default(),
            apart: Apart::default(),
            flows: Flows::default(),
            held: VecDeque::new(),
            oldest: None,
            bound,
            now: Time::ZERO,
            auto: Auto::default(),
            patience: None,
            asks: Asks::default(),
            slack: Slack::default(),
            hesitation: Hesitation::default(),
            wanted: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Takes a packet, and hands on what goes to its destination now, in this order.
    pub fn push(&mut self, terms: Terms, arrival: Arrival, packet: P, mut deliver: impl FnMut(P)) {
        self.now = arrival.time;
        if let Some(taken) = self.apart.take(arrival.number, arrival.slot) {
            self.came_apart(terms, &taken);
            self.pass(arrival.kin, packet, &mut deliver);
            return;
        }
        let (seen, orderly) = self.see(terms, &arrival);
        if !orderly {
            self.flush(&mut deliver);
            deliver(packet);
            return;
        }
        if seen.too_late {
            self.figures.too_late += 1;
            self.pass(arrival.kin, packet, &mut deliver);
        } else if arrival.waits
            && !self.gaps.settled_before(arrival.number)
            && !self.flows.follows(&arrival.kin)
        {
            self.hold(&arrival, packet);
        } else {
            // What waits with a lower number goes first where nothing is missing before it.
            self.release_settled_before(arrival.number, &mut deliver);
            self.pass(arrival.kin, packet, &mut deliver);
        }
        self.release_settled_before(u64::MAX, &mut deliver);
        self.expire(arrival.time, deliver);
    }

    /// Takes note of a packet that goes nowhere. It tells nothing of others that came by the same IVC: that need not be a bonded one.
    pub fn skip(&mut self, number: u64, mut deliver: impl FnMut(P)) {
        self.gaps.settle(number);
        self.release_settled_before(u64::MAX, &mut deliver);
    }

    /// Takes note of packets that will not come, by the lower halves of their numbers.
    pub fn void(&mut self, numbers: impl Iterator<Item = u32>, mut deliver: impl FnMut(P)) {
        for number in numbers {
            if let Some(number) = self.gaps.number(number) {
                self.figures.lost += u64::from(self.gaps.settle(number));
                self.apart.forget(number);
            }
        }
        self.release_settled_before(u64::MAX, &mut deliver);
    }

    /// Takes note of packets that go apart from the others by a lane of their own, by the lower halves of their numbers: nobody waits for them, nor they for
    /// anybody.
    pub fn part(
        &mut self,
        lane: u8,
        numbers: impl Iterator<Item = u32>,
        mut deliver: impl FnMut(P),
    ) {
        for number in numbers {
            if let Some(number) = self.gaps.number(number)
                && self.gaps.settle(number)
            {
                self.apart.tell(lane, number);
            }
        }
        self.release_settled_before(u64::MAX, &mut deliver);
    }

    /// Takes note of a packet that went apart, and asks for those that it has overtaken: its lane has lost them.
    fn came_apart(&mut self, terms: Terms, taken: &Taken) {
        self.figures.apart += 1;
        self.figures.mended += u64::from(taken.was_lost);
        if terms.resend.is_some() && terms.policy != Resequence::Off {
            let before = self.wanted.len();
            self.wanted.extend(self.apart.lost(taken));
            self.figures.asked += (self.wanted.len() - before) as u64;
        }
    }

    /// Takes note of a packet's number. Returns what it means, and whether order is to be kept.
    fn see(&mut self, terms: Terms, arrival: &Arrival) -> (Seen, bool) {
        let resend = terms.resend.filter(|_| terms.policy != Resequence::Off);
        self.patience = resend.map(Patience::new);
        let seen = self.gaps.see(arrival, terms.ivcs, self.patience.is_some());
        self.figures.lost += seen.given_up;
        if seen.behind == 0 {
            self.figures.in_order += 1;
        } else {
            self.figures.late += 1;
        }
        let asked = self.asks.cover(arrival.number);
        if asked && seen.too_late {
            self.figures.missed += 1;
        } else if asked {
            self.figures.mended += 1;
        }
        // That it was lost says nothing of links' latencies.
        let disturbed = if asked {
            self.auto.is_on()
        } else {
            self.auto.see(seen.behind)
        };
        match self.patience {
            None => {
                self.asks.clear();
                self.slack.clear();
            }
            Some(patience) => self.notice(arrival, seen.quiet, &patience),
        }
        let orderly = match terms.policy {
            Resequence::Off => false,
            Resequence::Auto => disturbed || self.patience.is_some(),
            Resequence::On => true,
        };
        (seen, orderly)
    }

    /// Takes note of what a packet says of those that are missing, and asks for those that are lost.
    fn notice(&mut self, arrival: &Arrival, quiet: bool, patience: &Patience) {
        let now = arrival.time;
        if self.asks.is_original(arrival.number, now, patience) {
            self.slack.come(arrival.number, now);
            if let Some(next) = self.held.get(self.place(arrival.number)) {
                let late = now.saturating_sub(next.since);
                self.hesitation.waited(late, now, patience);
            }
        }
        if !quiet {
            self.slack.pass(self.gaps.floor(now), now);
        }
        self.ask_for_lost(now);
    }

    fn ask_for_lost(&mut self, now: Time) {
        if let Some(number) = self.slack.lost(now) {
            self.ask_before(number, now);
        }
    }

    fn ask_before(&mut self, number: u64, now: Time) {
        let count = self.asks.before(number, now, &self.gaps, &mut self.wanted);
        self.figures.asked += count as u64;
    }

    /// Whether there are packets that are to be asked for.
    #[must_use]
    pub fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Takes the numbers of packets that are to be asked for.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = u64> {
        self.wanted.drain(..)
    }

    /// Hands on what has waited as long as it may, and asks for what is due.
    pub fn expire(&mut self, now: Time, mut deliver: impl FnMut(P)) {
        self.now = now;
        if let Some(patience) = self.patience {
            self.mend(now, &patience, &mut deliver);
        }
        let overdue = |since: Option<Time>, bound| since.is_some_and(|since| since + bound <= now);
        while overdue(self.oldest, self.bound()) || self.held.len() > MOST_HELD {
            let Some(first) = self.held.front().map(|held| held.number) else {
                break;
            };
            self.figures.expired += 1;
            self.gaps.give_up_before(first);
            self.release_settled_before(u64::MAX, &mut deliver);
        }
    }

    fn mend(&mut self, now: Time, patience: &Patience, deliver: &mut impl FnMut(P)) {
        self.ask_for_lost(now);
        while let Some((first, due)) = self.hesitates()
            && due <= now
        {
            self.ask_before(first, now);
        }
        let over = self
            .asks
            .expire(now, patience, &self.gaps, &mut self.wanted);
        if let Some(over) = over {
            self.figures.lost += self.gaps.give_up_before(over);
            self.release_settled_before(u64::MAX, deliver);
        }
    }

    /// Before which number everything is asked for, and when, although it may still come.
    fn hesitates(&self) -> Option<(u64, Time)> {
        let asked = self.asks.end();
        let settled = self.held.partition_point(|held| held.number <= asked);
        let first = self.held.get(settled)?;
        Some((first.number, first.since + self.hesitation.length()))
    }

    /// Hands on all that waits.
    pub fn flush(&mut self, mut deliver: impl FnMut(P)) {
        self.oldest = None;
        while let Some(held) = self.held.pop_front() {
            self.release(held, &mut deliver);
        }
    }

    /// Hands on a packet that has waited.
    fn release(&mut self, held: Held<P>, deliver: &mut impl FnMut(P)) {
        self.figures.waited += self.now.saturating_sub(held.since);
        deliver(held.packet);
    }

    /// When [`Self::expire`] has something to do, unless a packet comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let held = self.oldest.map(|oldest| oldest + self.bound());
        let asks = self.patience.as_ref().and_then(|patience| {
            let hesitation = self.hesitates().map(|(_, due)| due);
            let asks = self.asks.deadline(patience, &self.gaps);
            let lost = self
                .slack
                .deadline(|number| !self.gaps.settled_before(number));
            hesitation.into_iter().chain(asks).chain(lost).min()
        });
        held.into_iter().chain(asks).min()
    }

    /// How long a packet may wait now.
    fn bound(&self) -> Duration {
        self.patience.map_or(self.bound, |patience| patience.bound)
    }

    /// How it went so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Whether [`Resequence::Auto`] has order kept at present.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.auto.is_on()
    }

    /// Where a number belongs among those that wait.
    fn place(&self, number: u64) -> usize {
        self.held.partition_point(|held| held.number < number)
    }

    fn hold(&mut self, arrival: &Arrival, packet: P) {
        self.figures.held += 1;
        let place = self.place(arrival.number);
        let held = Held {
            number: arrival.number,
            since: arrival.time,
            kin: arrival.kin,
            packet,
        };
        self.oldest = self.oldest.or(Some(arrival.time));
        self.held.insert(place, held);
    }

    /// Hands on a packet, and what waits for it and nothing else.
    fn pass(&mut self, kin: Kin, packet: P, deliver: &mut impl FnMut(P)) {
        self.flows.pass(&kin);
        deliver(packet);
        let (mut at, before) = (0, self.held.len());
        while let Some(held) = self.held.get(at) {
            if held.kin.flow == kin.flow && self.flows.follows(&held.kin) {
                self.flows.pass(&held.kin);
                // It is there.
                if let Some(held) = self.held.remove(at) {
                    self.release(held, deliver);
                }
            } else {
                at += 1;
            }
        }
        self.look(before);
    }

    /// Looks who has waited longest, if there are others than before.
    fn look(&mut self, before: usize) {
        if self.held.len() != before {
            self.oldest = self.held.iter().map(|held| held.since).min();
        }
    }

    /// Hands on what waits for nothing any more and has a number before `number`.
    fn release_settled_before(&mut self, number: u64, deliver: &mut impl FnMut(P)) {
        let before = self.held.len();
        while let Some(first) = self.held.front() {
            if first.number >= number || !self.gaps.settled_before(first.number) {
                break;
            }
            if let Some(held) = self.held.pop_front() {
                self.flows.pass(&held.kin);
                self.release(held, deliver);
            }
        }
        self.look(before);
    }
}
