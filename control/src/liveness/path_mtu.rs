//! The search for an IVC's path MTU: datagram packetization layer path MTU discovery (RFC 8899), with padded
//! keepalives as the probes, which need no ICMP and are acknowledged by the other side's keepalives.
//!
//! ```text
//!             passes                      all that differ by one are known
//!   largest ─────────► settled ◄──────────────────────────────────────────┐
//!      │ lost                 │ confirmation lost                         │
//!      ▼                      ▼                                           │
//!   base ──────────────► search between what passes and what is lost ─────┘
//! ```
//!
//! Until something is confirmed [`BASE`] is used, or what an earlier run found: the largest would be lost wherever the path is
//! narrower than the interfaces, while the smaller one costs no more than a few packets in two pieces, for the first probe goes out
//! with the first keepalive that is answered. A larger size is used when it is confirmed, a smaller one when
//! a confirmed one is lost [`TRIES`] times.

use std::time::Duration;

/// What is used as long as nothing is known, in bytes: what nearly every path carries (the smallest MTU of IPv6).
pub const BASE: u16 = 1280;
/// What every path carries, in bytes (RFC 791): it is not probed.
pub(super) const LEAST: u16 = 576;
/// How often a size is probed before it counts as too large (RFC 8899, section 5.1.2: `MAX_PROBES`, there 3).
const TRIES: u32 = 4;
/// The shortest time in which a probe must be acknowledged.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long what is used stays unconfirmed.
const CONFIRM: Duration = Duration::from_secs(30);
/// How long that is on links that are paid by the byte.
const CONFIRM_METERED: Duration = Duration::from_mins(5);
/// How long a path is taken to be no wider than it was found (RFC 8899, section 5.1.1: `PMTU_RAISE_TIMER`).
const RAISE: Duration = Duration::from_mins(10);
/// Sizes that are more likely than others, in bytes: Ethernet, `PPPoE`, tunnels in tunnels, jumbo frames.
const LIKELY: [u16; 14] = [
    1280, 1380, 1400, 1420, 1440, 1452, 1460, 1472, 1480, 1492, 1500, 4352, 8192, 9000,
];

/// The search.
#[derive(Debug)]
pub(super) struct Search {
    /// The largest size that may be probed.
    most: u16,
    /// The size in use.
    used: u16,
    confirmed: bool,
    /// The largest size known to pass, and the smallest known not to.
    passes: u16,
    lost: u16,
    /// Whether there is anything between these two to look for.
    searching: bool,
    /// Whether the largest size is tried before those in between.
    hopeful: bool,
    probe: Option<Probe>,
    /// The number of the last probe.
    number: u32,
    confirm: Duration,
    raise: Duration,
}

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Probe {
    size: u16,
    number: u32,
    tries: u32,
    until: Duration,
}

impl Search {
    /// Begins a search up to `most` bytes with what an earlier run found. Probes are numbered from `number` on, so that those of earlier
    /// runs are told apart.
    pub(super) fn new(most: u16, found: Option<u16>, number: u32) -> Self {
        let most = most.max(LEAST);
        Self {
            most,
            used: found.unwrap_or(BASE).clamp(LEAST, most),
            confirmed: false,
            passes: LEAST,
            lost: most.saturating_add(1),
            searching: true,
            hopeful: true,
            probe: None,
            number,
            confirm: Duration::ZERO,
            raise: Duration::ZERO,
        }
    }

    /// The size that was found; none as long as that is [`BASE`] for want of anything better.
    pub(super) fn found(&self) -> Option<u16> {
        (self.confirmed || self.used != BASE.min(self.most)).then_some(self.used)
    }

    /// Whether the size in use was confirmed, and none larger is looked for.
    pub(super) fn is_settled(&self) -> bool {
        self.confirmed && !self.searching
    }

    /// The links' interfaces carry another size now.
    pub(super) fn set_most(&mut self, most: u16) {
        let most = most.max(LEAST);
        if most == self.most {
            return;
        }
        let number = self.number;
        let found = self.used;
        *self = Self::new(most, Some(found), number);
    }

    /// The path is cut: what is under way says nothing of its size.
    pub(super) fn interrupt(&mut self) {
        self.probe = None;
    }

    /// When there is something to send at the latest; none while an acknowledgement is awaited that is not late.
    pub(super) fn due(&self) -> Duration {
        match self.probe {
            Some(probe) => probe.until,
            None if self.searching => Duration::ZERO,
            None if self.used < self.most => self.confirm.min(self.raise),
            None => self.confirm,
        }
    }

    /// Returns the size and the number of a probe to send now, if there is one; `patience` is how long its acknowledgement may take.
    pub(super) fn poll(&mut self, now: Duration, patience: Duration) -> Option<(u16, u32)> {
        if self.due() > now {
            return None;
        }
        let tries = match self.probe.take() {
            Some(probe) if probe.tries >= TRIES => {
                self.give_up(probe.size, now);
                0
            }
            Some(probe) => probe.tries,
            None => 0,
        };
        if !self.searching && self.raise <= now && self.used < self.most {
            self.lost = self.most.saturating_add(1);
            self.searching = true;
            // Mostly nothing has changed, which one byte more tells.
            self.hopeful = false;
        }
        let size = if self.searching {
            self.next()
        } else if self.confirm <= now {
            self.used
        } else {
            return None;
        };
        self.number = self.number.wrapping_add(1);
        self.probe = Some(Probe {
            size,
            number: self.number,
            tries: tries + 1,
            until: now + patience.max(PATIENCE),
        });
        Some((size, self.number))
    }

    /// The other side has received the probe of this number.
    pub(super) fn acknowledged(&mut self, number: u32, metered: bool, now: Duration) {
        let Some(probe) = self.probe.filter(|probe| probe.number == number) else {
            return;
        };
        self.probe = None;
        self.hopeful = true;
        self.passes = self.passes.max(probe.size);
        self.used = self.passes;
        self.confirmed = true;
        self.confirm = now + if metered { CONFIRM_METERED } else { CONFIRM };
        self.look_on(now);
    }

    /// A size is lost so often that it is too large.
    fn give_up(&mut self, size: u16, now: Duration) {
        self.lost = self.lost.min(size);
        if size <= self.passes || size <= self.used {
            // What was believed to pass does not: a black hole.
            self.confirmed = false;
            self.passes = LEAST;
            self.used = if size > BASE {
                BASE.min(self.most)
            } else {
                LEAST
            };
            self.searching = true;
        }
        self.look_on(now);
    }

    fn look_on(&mut self, now: Duration) {
        let before = self.searching;
        self.searching = self.passes.saturating_add(1) < self.lost;
        if self.searching {
            return;
        }
        if self.passes == LEAST {
            // Not probed, yet all that there is.
            (self.used, self.confirmed) = (LEAST, true);
            self.confirm = now + CONFIRM;
        }
        if before {
            self.raise = now + RAISE;
        }
    }

    /// The next size to probe, between what passes and what is lost.
    fn next(&self) -> u16 {
        let (low, high) = (self.passes, self.lost);
        if high > self.most {
            return if self.hopeful { self.most } else { low + 1 };
        }
        if low == LEAST && self.used > low && self.used < high {
            return self.used;
        }
        // A likely size that passes is mostly the right one.
        if LIKELY.contains(&low) {
            return low + 1;
        }
        let quarter = (high - low) / 4;
        let range = if high == self.most {
            low + 1..high
        } else {
            low + quarter + 1..high - quarter
        };
        let likely = LIKELY.iter().rev().copied();
        let mut likely = likely.filter(|size| range.contains(size));
        likely.next().unwrap_or(low + (high - low) / 2)
    }
}

#[cfg(test)]
mod tests;
