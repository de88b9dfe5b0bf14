//! The packets of each SA back in order, before they are handed to the kernel.

use std::{collections::HashMap, ops::Range, time::Duration};

use crate::{
    config::Resequence,
    esp::Inbound,
    reorder::{Arrival, Resequencer, Time},
};

/// How long a packet may wait for those before it: longer than links' jitter, shorter than TCP's patience.
const BOUND: Duration = Duration::from_millis(50);

/// A packet that was inside an ESP packet.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// What it lies in.
    pub(super) buffer: Box<[u8]>,
    /// Where.
    pub(super) inner: Range<usize>,
    /// The lane of its flow.
    pub(super) lane: usize,
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.inner.clone()]
    }
}

/// The resequencers, by SPI.
#[derive(Debug, Default)]
pub(super) struct Order {
    by_spi: HashMap<u32, Resequencer<Packet>>,
    /// Those in which packets wait; of a hub's many tunnels these are few.
    waiting: Vec<u32>,
}

impl Order {
    /// Takes a packet of an SA; what goes on now goes to the end of `out`.
    pub(super) fn push(
        &mut self,
        (spi, policy): (u32, Resequence),
        arrival: Arrival,
        packet: Packet,
        out: &mut Vec<Packet>,
    ) {
        if policy == Resequence::Off && !self.by_spi.contains_key(&spi) {
            out.push(packet);
            return;
        }
        let of_sa = self
            .by_spi
            .entry(spi)
            .or_insert_with(|| Resequencer::new(BOUND));
        of_sa.push(policy, arrival, packet, |packet| out.push(packet));
        if of_sa.deadline().is_some() && !self.waiting.contains(&spi) {
            self.waiting.push(spi);
        }
    }

    /// Lets go of what has waited as long as it may. Returns when there will be something to let go of again.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<Packet>) -> Option<Time> {
        let mut next = None;
        self.waiting.retain(|spi| {
            let Some(of_sa) = self.by_spi.get_mut(spi) else {
                return false;
            };
            of_sa.expire(now, |packet| out.push(packet));
            let deadline = of_sa.deadline();
            next = next.into_iter().chain(deadline).min();
            deadline.is_some()
        });
        next
    }

    /// Forgets the SAs that are no more, and lets go of their packets.
    pub(super) fn follow(&mut self, table: &Inbound, out: &mut Vec<Packet>) {
        self.by_spi.retain(|spi, of_sa| {
            let stays = table.has(*spi);
            if !stays {
                of_sa.flush(|packet| out.push(packet));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reorder::Kin;

    const ON: (u32, Resequence) = (0x1000, Resequence::On);

    fn arrival(number: u64, slot: usize, ms: u64) -> Arrival {
        Arrival {
            number,
            slot,
            time: Duration::from_millis(ms),
            kin: Kin {
                flow: 1,
                bytes: None,
            },
        }
    }

    /// Pushes packets; returns what goes on, by lane, which is the packet's number here.
    fn push(order: &mut Order, sa: (u32, Resequence), arrivals: &[Arrival]) -> Vec<usize> {
        let mut out = Vec::new();
        for arrival in arrivals {
            let packet = Packet {
                lane: usize::try_from(arrival.number).unwrap(),
                ..Packet::default()
            };
            order.push(sa, *arrival, packet, &mut out);
        }
        out.into_iter().map(|packet| packet.lane).collect()
    }

    #[test]
    fn what_waits_is_let_go_when_it_is_time() {
        let mut order = Order::default();
        let gap = [arrival(0, 0, 0), arrival(1, 1, 0), arrival(3, 0, 5)];
        assert_eq!(push(&mut order, ON, &gap), [0, 1]);
        let mut out = Vec::new();
        let before = Duration::from_millis(4) + BOUND;
        let due = Duration::from_millis(5) + BOUND;
        assert_eq!(order.expire(before, &mut out), Some(due));
        assert!(out.is_empty());
        assert_eq!(order.expire(due, &mut out), None);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn packets_of_an_sa_that_is_gone_go_on() {
        let mut order = Order::default();
        let gap = [arrival(0, 0, 0), arrival(1, 1, 0), arrival(3, 0, 5)];
        push(&mut order, ON, &gap);
        let mut out = Vec::new();
        order.follow(&Inbound::default(), &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(order.expire(Duration::ZERO, &mut out), None);
    }

    #[test]
    fn nothing_waits_where_order_is_not_asked_for() {
        let off = (0x1000, Resequence::Off);
        let gap = [
            arrival(0, 0, 0),
            arrival(1, 1, 0),
            arrival(3, 0, 5),
            arrival(2, 1, 6),
        ];
        assert_eq!(push(&mut Order::default(), off, &gap), [0, 1, 3, 2]);
        assert_eq!(push(&mut Order::default(), ON, &gap), [0, 1, 2, 3]);
    }
}
