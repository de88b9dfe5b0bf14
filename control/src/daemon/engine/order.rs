//! The packets of each SA back in order, before they are handed to the kernel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    time::Duration,
};

use crate::{
    config::{Resequence, TunnelName},
    esp::Inbound,
    reorder::{Arrival, Figures, Resequencer, Terms, Time},
    resend::{Kind, Word},
};

/// How long a packet may wait for those before it: longer than links' jitter, shorter than TCP's patience.
pub(crate) const BOUND: Duration = Duration::from_millis(50);

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

/// How it went with the packets of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What has been done in all.
    pub(crate) figures: Figures,
    /// Whether so many packets come out of order that `auto` has order kept at present.
    pub(crate) disturbed: bool,
}

/// The packets of one SA.
#[derive(Debug)]
struct OfSa {
    tunnel: TunnelName,
    packets: Resequencer<Packet>,
}

/// The resequencers, by SPI.
#[derive(Debug, Default)]
pub(super) struct Order {
    by_spi: HashMap<u32, OfSa>,
    /// What was done for SAs that are no more.
    before: BTreeMap<TunnelName, Figures>,
    /// Those in which packets wait; of a hub's many tunnels these are few.
    waiting: Vec<u32>,
    /// Those that miss something that is to be asked for.
    asking: Vec<u32>,
}

impl Order {
    /// Takes a packet of an SA of `table`; what goes on now goes to the end of `out`.
    pub(super) fn push(
        &mut self,
        table: &Inbound,
        (spi, terms): (u32, Terms),
        arrival: Arrival,
        packet: Packet,
        out: &mut Vec<Packet>,
    ) {
        if !self.by_spi.contains_key(&spi) {
            match table
                .tunnel(spi)
                .filter(|_| terms.policy != Resequence::Off)
            {
                Some(tunnel) => self.begin(spi, tunnel.clone()),
                None => return out.push(packet),
            }
        }
        let Some(OfSa { packets: of_sa, .. }) = self.by_spi.get_mut(&spi) else {
            return;
        };
        of_sa.push(terms, arrival, packet, |packet| out.push(packet));
        if of_sa.deadline().is_some() && !self.waiting.contains(&spi) {
            self.waiting.push(spi);
        }
        if of_sa.wants() && !self.asking.contains(&spi) {
            self.asking.push(spi);
        }
    }

    /// Takes note of a packet of an SA that goes nowhere.
    pub(super) fn skip(&mut self, spi: u32, number: u64, out: &mut Vec<Packet>) {
        if let Some(OfSa { packets, .. }) = self.by_spi.get_mut(&spi) {
            packets.skip(number, |packet| out.push(packet));
        }
    }

    /// Takes note of what the other side says of packets that nobody is to wait for.
    pub(super) fn excuse(&mut self, word: &Word, out: &mut Vec<Packet>) {
        let Some(OfSa { packets, .. }) = self.by_spi.get_mut(&word.spi()) else {
            return;
        };
        let numbers = word.runs().iter().flat_map(|run| run.numbers());
        let deliver = |packet| out.push(packet);
        match word.kind() {
            Kind::Gone => packets.void(numbers, deliver),
            Kind::Apart(lane) => packets.part(lane, numbers, deliver),
            Kind::Wanted => {}
        }
    }

    /// Tells what is to be asked for: the SPI, and the number.
    pub(super) fn take_wanted(&mut self, mut ask: impl FnMut(u32, u64)) {
        for spi in self.asking.drain(..) {
            let of_sa = self.by_spi.get_mut(&spi);
            let numbers = of_sa
                .into_iter()
                .flat_map(|of_sa| of_sa.packets.take_wanted());
            numbers.for_each(|number| ask(spi, number));
        }
    }

    fn begin(&mut self, spi: u32, tunnel: TunnelName) {
        let packets = Resequencer::new(BOUND);
        self.by_spi.insert(spi, OfSa { tunnel, packets });
    }

    /// How it went with the packets of each tunnel of which any are looked at.
    pub(super) fn kept(&self) -> BTreeMap<TunnelName, Kept> {
        let mut kept: BTreeMap<TunnelName, Kept> = BTreeMap::new();
        for (tunnel, figures) in &self.before {
            kept.entry(tunnel.clone()).or_default().figures += *figures;
        }
        for OfSa { tunnel, packets } in self.by_spi.values() {
            let of_tunnel = kept.entry(tunnel.clone()).or_default();
            of_tunnel.figures += packets.figures();
            of_tunnel.disturbed |= packets.is_disturbed();
        }
        kept
    }

    /// Lets go of what has waited as long as it may. Returns when there will be something to let go of again.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<Packet>) -> Option<Time> {
        let mut next = None;
        self.waiting.retain(|spi| {
            let Some(OfSa { packets: of_sa, .. }) = self.by_spi.get_mut(spi) else {
                return false;
            };
            of_sa.expire(now, |packet| out.push(packet));
            if of_sa.wants() && !self.asking.contains(spi) {
                self.asking.push(*spi);
            }
            let deadline = of_sa.deadline();
            next = next.into_iter().chain(deadline).min();
            deadline.is_some()
        });
        next
    }

    /// Forgets the SAs that are no more, and lets go of their packets.
    pub(super) fn follow(&mut self, table: &Inbound, out: &mut Vec<Packet>) {
        self.by_spi.retain(|spi, of_sa| {
            let stays = table.tunnel(*spi).is_some();
            if !stays {
                of_sa.packets.flush(|packet| out.push(packet));
                let before = self.before.entry(of_sa.tunnel.clone()).or_default();
                *before += of_sa.packets.figures();
            }
            stays
        });
        let alive: BTreeSet<_> = table.tunnels().collect();
        self.before.retain(|tunnel, _| alive.contains(tunnel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reorder::{Kin, RoundTrip};

    const SPI: u32 = 0x1000;
    const ON: (u32, Terms) = sa(Resequence::On);

    const fn sa(policy: Resequence) -> (u32, Terms) {
        let resend = None;
        let ivcs = 1;
        (
            SPI,
            Terms {
                policy,
                ivcs,
                resend,
            },
        )
    }

    /// A tunnel with SAs of these SPIs.
    fn table(spis: &[u32]) -> Inbound {
        let (name, tunnel) = crate::esp::tunnel_for_tests(0, true, spis);
        Inbound::default().follow(&[(name, tunnel)].into()).0
    }

    fn arrival(number: u64, slot: usize, ms: u64) -> Arrival {
        Arrival {
            number,
            slot,
            time: Duration::from_millis(ms),
            kin: Kin {
                flow: 1,
                bytes: None,
            },
            waits: true,
        }
    }

    /// Pushes packets; returns what goes on, by lane, which is the packet's number here.
    fn push(order: &mut Order, sa: (u32, Terms), arrivals: &[Arrival]) -> Vec<usize> {
        let (table, mut out) = (table(&[sa.0]), Vec::new());
        for arrival in arrivals {
            let packet = Packet {
                lane: usize::try_from(arrival.number).unwrap(),
                ..Packet::default()
            };
            order.push(&table, sa, *arrival, packet, &mut out);
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
    fn what_is_missing_is_asked_for_where_the_other_side_can_send_again() {
        let (mut order, mut wanted) = (Order::default(), Vec::new());
        let (spi, terms) = sa(Resequence::Auto);
        let resend = Some(RoundTrip::default());
        let gap = [arrival(7, 0, 0), arrival(9, 0, 5)];
        let able = (spi, Terms { resend, ..terms });
        assert_eq!(push(&mut order, able, &gap), [7]);
        order.take_wanted(|spi, number| wanted.push((spi, number)));
        assert_eq!(wanted, [(spi, 8)]);
        // The other side has it no more.
        let mut gone = Word::new(Kind::Gone, spi);
        assert!(gone.add(8));
        let mut out = Vec::new();
        order.excuse(&gone, &mut out);
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
    fn what_was_done_for_a_tunnel_outlives_its_keys() {
        let mut order = Order::default();
        let gap = [arrival(0, 0, 0), arrival(1, 1, 0), arrival(3, 0, 5)];
        push(&mut order, ON, &gap);
        push(&mut order, ON, &[arrival(2, 1, 9)]);
        let (tunnel, _) = crate::esp::tunnel_for_tests(0, true, &[]);
        let done = |figures: Figures| Kept {
            figures,
            disturbed: true,
        };
        let once = Figures {
            in_order: 3,
            late: 1,
            held: 1,
            waited: Duration::from_millis(4),
            ..Figures::default()
        };
        assert_eq!(order.kept(), [(tunnel.clone(), done(once))].into());
        order.follow(&table(&[0x2000]), &mut Vec::new());
        push(&mut order, (0x2000, ON.1), &gap[..2]);
        let more = Figures {
            in_order: 5,
            ..once
        };
        assert_eq!(order.kept(), [(tunnel, done(more))].into());
        order.follow(&Inbound::default(), &mut Vec::new());
        assert!(order.kept().is_empty());
    }

    #[test]
    fn nothing_waits_where_order_is_not_asked_for() {
        let off = sa(Resequence::Off);
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
