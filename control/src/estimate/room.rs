//! How long a link's queue may become: found out when it overflows.

/// The part of what overflowed that is thought to be safe.
const SAFE: f64 = 0.8;
/// No queue is taken to be shorter than this, in seconds.
const LEAST: f64 = 0.06;
/// After which time it is found out anew, in seconds: seldom, for it overflows again.
const FORGOTTEN: f64 = 900.0;

/// The room in a link's queue.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// How long the queue may be, in seconds, and since when that is known.
    known: Option<(f64, f64)>,
}

impl Room {
    /// The queue has overflowed when it was `queue` seconds long.
    pub(super) fn overflowed(&mut self, queue: f64, at: f64) {
        let room = self.at(at).min(SAFE * queue).max(LEAST);
        self.known = Some((room, at));
    }

    /// How long the queue may be, in seconds; endless as long as that is not known.
    pub(super) fn at(&self, at: f64) -> f64 {
        let known = self.known.filter(|(_, since)| at - since < FORGOTTEN);
        known.map_or(f64::INFINITY, |(room, _)| room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_queue_that_overflowed_counts_for_a_while() {
        let mut room = Room::default();
        assert!(room.at(0.0).is_infinite());
        room.overflowed(0.1, 10.0);
        room.overflowed(0.2, 11.0);
        assert!((room.at(12.0) - 0.08).abs() < 1e-9);
        room.overflowed(0.001, 12.0);
        assert!((room.at(12.0) - LEAST).abs() < 1e-9);
        assert!(room.at(12.0 + FORGOTTEN).is_infinite());
    }
}
