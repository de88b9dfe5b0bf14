//! A TCP sender as Linux has it, as far as it matters here: CUBIC (RFC 9438), slow start that ends when delay grows (`HyStart`),
//! selective acknowledgements, and a tolerance of reordering that grows with what is seen of it.
//!
//! Every packet has a number of its own; what is lost counts as sent again by one of the next.

use std::collections::VecDeque;

use super::link::{MS, SECOND, Time};

const BETA: f64 = 0.7;
const C: f64 = 0.4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    UnderWay,
    Arrived,
    Lost,
}

#[derive(Debug)]
pub(super) struct Tcp {
    /// How long an acknowledgement takes.
    pub(super) back: Time,
    window: f64,
    threshold: f64,
    under_way: u64,
    /// Since the number `first`: when each was sent, and what became of it.
    packets: VecDeque<(Time, Fate)>,
    first: u64,
    /// What counts as lost has been overtaken by so many.
    tolerance: u64,
    highest: u64,
    /// Losses before this number have been answered.
    recovery: u64,
    /// What to return to if the loss was none.
    undo: Option<(f64, f64)>,
    maximum: f64,
    epoch: Option<Time>,
    least: Time,
    smoothed: Time,
    heard: Time,
    pub(super) cuts: u64,
    pub(super) spurious: u64,
    slow: u32,
    /// Below this number everything has been judged.
    judged: u64,
}

impl Tcp {
    pub(super) fn new(back: Time) -> Self {
        Self {
            back,
            window: 10.0,
            threshold: f64::MAX,
            under_way: 0,
            packets: VecDeque::new(),
            first: 0,
            tolerance: 3,
            highest: 0,
            recovery: 0,
            undo: None,
            maximum: 0.0,
            epoch: None,
            least: Time::MAX,
            smoothed: 0,
            heard: 0,
            cuts: 0,
            spurious: 0,
            slow: 0,
            judged: 0,
        }
    }

    fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub(super) fn next(&mut self, now: Time) -> Option<u64> {
        self.expire(now);
        if self.under_way as f64 + 1.0 > self.window {
            return None;
        }
        let number = self.end();
        if self.under_way == 0 {
            self.heard = now;
        }
        self.packets.push_back((now, Fate::UnderWay));
        self.under_way += 1;
        Some(number)
    }

    fn timeout(&self) -> Time {
        (self.smoothed * 2 + 20 * MS)
            .max(200 * MS)
            .max(if self.smoothed == 0 { SECOND } else { 0 })
    }

    pub(super) fn wakes(&self) -> Option<Time> {
        (self.under_way > 0).then_some(self.heard + self.timeout())
    }

    /// Where nothing is heard any more, everything is taken for lost.
    fn expire(&mut self, now: Time) {
        if self.under_way == 0 || now < self.heard + self.timeout() {
            return;
        }
        self.heard = now;
        for (_, fate) in &mut self.packets {
            if *fate == Fate::UnderWay {
                *fate = Fate::Lost;
            }
        }
        self.under_way = 0;
        self.threshold = (self.window * BETA).max(2.0);
        self.window = 1.0;
        self.recovery = self.end();
        self.epoch = None;
        self.undo = None;
        self.cuts += 1;
    }

    pub(super) fn acknowledged(&mut self, number: u64, now: Time) {
        self.heard = now;
        let Some(place) = number.checked_sub(self.first) else {
            return;
        };
        let (sent, fate) = self.packets[place as usize];
        self.packets[place as usize].1 = Fate::Arrived;
        match fate {
            Fate::Arrived => return,
            Fate::Lost => {
                // It was only late.
                self.spurious += 1;
                self.tolerance = self
                    .tolerance
                    .max(self.highest.saturating_sub(number) + 1)
                    .min(300);
                if let Some((window, threshold)) = self.undo.take() {
                    self.window = self.window.max(window);
                    self.threshold = threshold;
                    self.epoch = None;
                    self.maximum = window;
                }
            }
            Fate::UnderWay => self.under_way -= 1,
        }
        self.measure(now - sent);
        self.grow(now, now - sent);
        self.highest = self.highest.max(number);
        self.judge();
        while self.packets.len() > 4096
            || self.packets.front().is_some_and(|p| p.1 == Fate::Arrived)
        {
            let gone = self.packets.pop_front().map(|packet| packet.1);
            if gone == Some(Fate::UnderWay) {
                self.under_way -= 1;
            }
            self.first += 1;
        }
    }

    fn measure(&mut self, trip: Time) {
        self.least = self.least.min(trip);
        self.smoothed = match self.smoothed {
            0 => trip,
            smoothed => (smoothed * 7 + trip) / 8,
        };
    }

    fn grow(&mut self, now: Time, trip: Time) {
        // No more than what is used.
        if (self.under_way as f64 + 1.0) < self.window * 0.5 {
            return;
        }
        if self.window < self.threshold {
            self.window += 1.0;
            let slow = trip > self.least + (self.least / 8).clamp(4 * MS, 16 * MS);
            self.slow = if slow { self.slow + 1 } else { 0 };
            if self.slow >= 8 && self.window > 16.0 {
                self.threshold = self.window;
            }
            return;
        }
        let epoch = *self.epoch.get_or_insert(now);
        self.maximum = self.maximum.max(self.window * BETA);
        let trip = self.smoothed as f64 / 1e9;
        let time = (now - epoch) as f64 / 1e9 + trip;
        let k = (self.maximum * (1.0 - BETA) / C).cbrt();
        let cubic = C * (time - k).powi(3) + self.maximum;
        let reno = self.maximum * BETA + 3.0 * (1.0 - BETA) / (1.0 + BETA) * time / trip;
        let target = cubic.max(reno).clamp(self.window, self.window * 1.5);
        self.window += (target - self.window) / self.window;
    }

    /// Counts as lost what has been overtaken by many.
    fn judge(&mut self) {
        let end = self.highest.saturating_sub(self.tolerance);
        let mut lost = None;
        for number in self.judged.max(self.first)..=end {
            let place = (number - self.first) as usize;
            if self.packets[place].1 == Fate::UnderWay {
                self.packets[place].1 = Fate::Lost;
                self.under_way -= 1;
                lost = Some(number);
            }
        }
        self.judged = self.judged.max(end);
        if lost.is_some_and(|lost| lost >= self.recovery) {
            self.undo = Some((self.window, self.threshold));
            self.maximum = if self.window < self.maximum {
                self.window * (1.0 + BETA) / 2.0
            } else {
                self.window
            };
            self.window = (self.window * BETA).max(2.0);
            self.threshold = self.window;
            self.recovery = self.end();
            self.epoch = None;
            self.cuts += 1;
        }
    }
}
