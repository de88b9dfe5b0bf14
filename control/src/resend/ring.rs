//! What was sent lately.

use std::{ops::Range, time::Duration};

/// How much is kept of an SA.
#[derive(Clone, Copy, Debug)]
struct Extent {
    bytes: usize,
    /// How many packets; a power of two.
    places: usize,
    /// What is older nobody wants any more.
    oldest: Duration,
}

/// Of what goes by the bonded links: a quarter of a second at 130 Mbit/s.
const BONDED: Extent = Extent {
    bytes: 4 << 20,
    places: 8_192,
    oldest: Duration::from_millis(400),
};
/// Of what goes by links that are further away, a part of all numbers: two thirds of a second at 100 Mbit/s.
const APART: Extent = Extent {
    bytes: 8 << 20,
    places: 32_768,
    oldest: Duration::from_millis(1_500),
};
/// How often a packet is sent again at most.
const TIMES: u8 = 2;
/// One byte may be sent again for so many that are sent.
const SHARE: usize = 5;
/// And so many at once, as when a link has failed.
const BURST: usize = 512 << 10;

/// The sealed packets that were sent lately by an SA. Nothing is allocated once it is made.
#[derive(Debug)]
pub struct Ring {
    extent: Extent,
    bytes: Box<[u8]>,
    places: Box<[Place]>,
    /// How many bytes have been laid down since the beginning, gaps at the end included.
    head: u64,
    /// How many bytes may be sent again now.
    credit: usize,
}

/// Where a packet lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    number: u32,
    /// Behind how many bytes.
    at: u64,
    /// In bytes; 0 where there is none.
    length: usize,
    since: Duration,
    times: u8,
}

/// What becomes of a packet that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// It goes: what [`Ring::packet`] takes.
    Goes(Range<usize>),
    /// It has gone often enough.
    Went,
    /// It is not there, or too much has been sent again.
    Gone,
}

impl Ring {
    /// Makes an empty one for what goes by the bonded links.
    #[must_use]
    pub fn new() -> Self {
        Self::of(BONDED)
    }

    /// Makes an empty one for what goes by links that are further away.
    #[must_use]
    pub fn apart() -> Self {
        Self::of(APART)
    }

    fn of(extent: Extent) -> Self {
        Self {
            extent,
            bytes: vec![0; extent.bytes].into(),
            places: vec![Place::default(); extent.places].into(),
            head: 0,
            credit: BURST,
        }
    }

    fn place(&self, number: u32) -> usize {
        number as usize % self.extent.places
    }

    fn offset(&self, head: u64) -> usize {
        usize::try_from(head % self.extent.bytes as u64).unwrap_or_default()
    }

    /// Keeps a packet that was sent; `number` is the lower half of its sequence number. Returns where it lies, unless it is too long.
    pub fn keep(&mut self, number: u32, packet: &[u8], now: Duration) -> Option<&mut [u8]> {
        let mut at = self.offset(self.head);
        if at + packet.len() > self.extent.bytes {
            self.head += (self.extent.bytes - at) as u64;
            at = 0;
        }
        let place = self.place(number);
        let room = self.bytes.get_mut(at..at + packet.len())?;
        room.copy_from_slice(packet);
        self.places[place] = Place {
            number,
            at: self.head,
            length: packet.len(),
            since: now,
            times: 0,
        };
        self.head += packet.len() as u64;
        self.credit = (self.credit + packet.len() / SHARE).min(BURST);
        Some(room)
    }

    /// Takes a packet that is to be sent again.
    pub fn take(&mut self, number: u32, now: Duration) -> Again {
        let place = self.place(number);
        let found = &mut self.places[place];
        let there = found.length > 0
            && found.number == number
            // What came later lies over it.
            && self.head - found.at <= self.extent.bytes as u64
            && now.saturating_sub(found.since) < self.extent.oldest;
        if !there {
            return Again::Gone;
        }
        if found.times >= TIMES {
            return Again::Went;
        }
        let Some(left) = self.credit.checked_sub(found.length) else {
            return Again::Gone;
        };
        self.credit = left;
        found.times += 1;
        let (at, length) = (found.at, found.length);
        let at = self.offset(at);
        Again::Goes(at..at + length)
    }

    /// The packet that [`Ring::take`] has found.
    #[must_use]
    pub fn packet(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn packet(number: u32, length: usize) -> Vec<u8> {
        (0_u32..)
            .map(|at| number.wrapping_mul(31).wrapping_add(at).to_be_bytes()[3])
            .take(length)
            .collect()
    }

    fn taken(ring: &mut Ring, number: u32, now: Duration) -> Option<Vec<u8>> {
        match ring.take(number, now) {
            Again::Goes(range) => Some(ring.packet(&range).to_vec()),
            Again::Went | Again::Gone => None,
        }
    }

    #[test]
    fn a_packet_goes_again_twice_and_not_when_it_is_old() {
        let mut ring = Ring::new();
        assert_eq!(ring.take(0, NOW), Again::Gone, "nothing was kept");
        ring.keep(0, &packet(0, 100), NOW);
        assert_eq!(taken(&mut ring, 0, NOW), Some(packet(0, 100)));
        assert_eq!(taken(&mut ring, 0, NOW), Some(packet(0, 100)));
        assert_eq!(ring.take(0, NOW), Again::Went);
        ring.keep(1, &packet(1, 100), NOW);
        assert_eq!(ring.take(1, NOW + BONDED.oldest), Again::Gone);
        assert_eq!(ring.take(1 + 8_192, NOW), Again::Gone);
    }

    #[test]
    fn a_fifth_of_what_is_sent_may_be_sent_again() {
        let mut ring = Ring::new();
        let (mut kept, mut again) = (0, 0);
        for number in 0..20_000 {
            ring.keep(number, &packet(number, 1_000), NOW);
            kept += 1_000;
            for _ in 0..3 {
                again += taken(&mut ring, number, NOW).map_or(0, |packet| packet.len());
            }
        }
        assert!(again <= kept / SHARE + BURST, "{again} of {kept}");
        assert!(again > kept / SHARE - 1_000, "{again} of {kept}");
    }

    proptest! {
        // A ring takes a while to fill.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn gives_back_what_was_kept_last_and_nothing_else(
            first: u32, lengths in prop::collection::vec(1_usize..66_000, 1..300),
        ) {
            let mut ring = Ring::new();
            let mut kept = BTreeMap::new();
            for (step, length) in (0_u32..).zip(&lengths) {
                let number = first.wrapping_add(step);
                ring.keep(number, &packet(number, *length), NOW);
                kept.insert(step, *length);
            }
            let mut bytes = 0;
            for (step, length) in kept.iter().rev() {
                ring.credit = BURST;
                let number = first.wrapping_add(*step);
                bytes += length;
                let found = taken(&mut ring, number, NOW);
                if let Some(found) = found {
                    prop_assert_eq!(found, packet(number, *length));
                } else {
                    prop_assert!(bytes > BONDED.bytes - 66_000, "{} is gone after {}", step, bytes);
                }
            }
        }
    }
}
