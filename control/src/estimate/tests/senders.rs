//! Who sends: at a constant rate, or as TCP does.

use super::{
    link::Time,
    tcp::Tcp,
    world::{OVERHEAD, PACKET},
};

/// A sender.
#[derive(Debug)]
pub(super) enum Source {
    /// Packets at regular intervals.
    Constant {
        number: u64,
        next: Time,
        every: Time,
        until: Time,
    },
    /// A TCP stream.
    Stream(Box<Tcp>),
}

impl Source {
    /// So many Mbit/s on the link.
    pub(super) fn constant(mbit: f64, from: Time, until: Time) -> Self {
        let every = ((u64::from(PACKET) + OVERHEAD) * 8) as f64 / (mbit * 1e6) * 1e9;
        Self::Constant {
            number: 0,
            next: from,
            every: every as Time,
            until,
        }
    }

    /// A stream whose acknowledgements take `back`.
    pub(super) fn stream(back: Time) -> Self {
        Self::Stream(Box::new(Tcp::new(back)))
    }

    /// The next packet, if there is one to send now.
    pub(super) fn next(&mut self, now: Time) -> Option<u64> {
        match self {
            Self::Constant {
                number,
                next,
                every,
                until,
            } => {
                if *next > now || now > *until {
                    return None;
                }
                *next += *every;
                *number += 1;
                Some(*number)
            }
            Self::Stream(tcp) => tcp.next(now),
        }
    }

    /// When it should be asked again, if nothing happens before.
    pub(super) fn wakes(&self) -> Option<Time> {
        match self {
            Self::Constant { next, until, .. } => (next <= until).then_some(*next),
            Self::Stream(tcp) => tcp.wakes(),
        }
    }

    /// How long it takes until it hears that a packet has arrived, if it does.
    pub(super) fn hears_after(&self) -> Option<Time> {
        match self {
            Self::Constant { .. } => None,
            Self::Stream(tcp) => Some(tcp.back),
        }
    }

    /// It hears that a packet has arrived.
    pub(super) fn acknowledged(&mut self, number: u64, now: Time) {
        if let Self::Stream(tcp) = self {
            tcp.acknowledged(number, now);
        }
    }
}
