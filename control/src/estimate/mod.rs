//! What each IVC carries, found out while it is used: its rate, its latency, and the queue on it.
//!
//! Keepalives go the way of the data, so each is a *mark* in it: before it so many bytes were sent, and when it arrived so many had been
//! received. The delay of a mark, less the smallest delay of the IVC (`base`), is the queue that it met. Clocks of two gateways are not
//! alike, but what matters is by how much the IVCs of an SVC differ, and how much more a delay is than the smallest.
//!
//! **Queue.** From the queue that the newest mark met, and from what has been sent since, follows how long the queue is now (`marks`).
//! The scheduler's virtual clock is corrected by the difference ([`Term::shift`]). So the next packet's arrival is predicted from what was
//! measured, a wrong rate does no more harm than it can do within one round trip, and where answers are overdue the queue is at
//! least as long as they are late. Jitter only ever adds to delays: the smallest of several counts.
//!
//! **Departures** (`leave`). Where pieces leave at the rate of the link, those that have to wait are held before they get there, marks among them. A
//! mark counts as sent when it leaves, so the delay is that of the link, and the queue that is found is the link's own; what is held
//! comes on top. Of that queue a little is kept, by leaving faster or more slowly than the link carries ([`Term::leave`]): so the link is seen to be
//! busy, and the rest holds as it does without.
//!
//! **Rate** (`rate`). A link is busy while its marks meet a queue longer than jitter explains, without a pause. What comes through
//! meanwhile is what it carries, whether that is more or less than was thought. What was sent is counted, not what arrived:
//! loss by chance lowers no rate. Only where more is lost than that, a full queue has refused it, and what arrived counts. A link that
//! is not busy carries at least what comes through; nothing lowers its rate, so idle links and sparing applications keep theirs.
//!
//! **More** (`trial`). A link that idles although the scheduler has a queue for it carries more than was thought. For a moment
//! more is sent, by half at first, and when the marks meet no queue that is the new rate, and more is tried. The first trials on an IVC
//! of which nothing is known send four times as much: from 10 Mbit/s on, a hundred times as much is reached within four round trips, while
//! a link that carries no more than 1 Mbit/s is given no more than three tenths of a second's worth. Where other IVCs are known, one that is not begins at
//! a sixteenth of the fastest. Before anybody sends anything all are loaded, from 1 Mbit/s on (`explore`).
//!
//! **Less** (`rest`). Where a rate has fallen, but not to nothing, it may be that the way has become longer, or jitters: now and then
//! nothing is sent for a moment, and if the delay stays there is no queue behind it.
//!
//! **Latency** (`base`). The smallest delay holds until a smaller one comes; or until so little was sent that there can be no queue,
//! or delays are so much alike that there is none, and they are longer all the same: then the way has become longer.
//!
//! **Room** (`room`). A queue that has overflowed is kept shorter from then on.
//!
//! **Together** (`bond`). Packets may be queued as long as the slowest IVC worth waiting for is slower, and 25 ms more (more with
//! jitter, or where packets take long), and longer for a moment, as the tunnel's `queue` says. How many are marked or dropped before that is decided
//! as PIE does (`early`). No queue is to
//! overflow, so what an IVC has no room for goes by another ([`Term::most`]), and the horizon is no further than the shortest queue of those that carry
//! much. An IVC by which packets would come when the others' queues have overflowed is not used, but marked, and used again when that changes.
//!
//! All this is sans-IO: times come with the events. [`Bond::sent`] and [`Bond::reported`] take in what happens, [`Bond::plan`] says with
//! what the scheduler is to be programmed.

mod account;
mod apart;
mod base;
mod bond;
mod early;
mod explore;
mod group;
mod ivc;
mod leave;
mod loss;
mod marks;
mod rate;
mod rest;
mod room;
mod trial;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use apart::{Apart, Place, Places};
pub use bond::{Bond, Gauged, HOPED, Plan, Standing, Term};
pub use explore::{Explored, Explorer, Ground};
pub use ivc::Estimate;
pub use rate::Confidence;

/// A full packet, in bytes, with what it costs on an Ethernet link.
pub(crate) const PACKET: f64 = 1514.0;

/// What has been sent on an IVC, as of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// The moment.
    pub at: Duration,
    /// The bytes sent by then, with what a packet costs beneath IP.
    pub bytes: u64,
    /// How far the virtual clock is ahead of the moment, in nanoseconds.
    pub ahead: i64,
    /// When a packet leaves that is handed over at the moment: later than that where those before it are held back.
    pub leaves: Duration,
}

/// What the other side has received on an IVC. Times are of the other side's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The number of the newest mark.
    pub number: u32,
    /// When it arrived.
    pub arrived: Duration,
    /// The bytes received, counted as those sent.
    pub bytes: u64,
    /// When they were counted.
    pub read: Duration,
}
