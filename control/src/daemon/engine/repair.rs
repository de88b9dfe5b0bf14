//! What links lose, sent again: what is kept for that, and what the two sides agree on.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use withy_common::label::Label;

use super::{ByRemote, way::Way};
use crate::{
    esp::Sealer,
    kernel::esp::BATCH,
    reorder::RoundTrip,
    resend::{Again, Kind, Ring, Word},
};

/// What the two sides of a tunnel do about losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Agreed {
    /// This side keeps what it sends.
    pub(in crate::daemon) keeps: bool,
    /// How long answers take, if the other side does.
    pub(in crate::daemon) round_trip: Option<RoundTrip>,
}

/// What is agreed with whom, by remote endpoint.
pub(super) type Agreements = HashMap<Ipv4Addr, Agreed>;

/// What is kept of all tunnels.
#[derive(Default)]
pub(in crate::daemon) struct Repair {
    agreed: ByRemote<Agreed>,
    /// Whether anything is kept. A hub's many tunnels are not looked through for each batch.
    keeps: AtomicBool,
    /// By the SA's SPI.
    kept: Mutex<HashMap<u32, Kept>>,
    sent: AtomicU64,
}

struct Kept {
    remote: Ipv4Addr,
    ring: Ring,
    /// Of most tunnels nothing goes apart.
    apart: Option<Ring>,
}

impl Kept {
    fn new(remote: Ipv4Addr) -> Self {
        Self {
            remote,
            ring: Ring::new(),
            apart: None,
        }
    }

    /// Keeps a packet, and with another label, if it has gone apart: that way it went wrong.
    fn keep(&mut self, number: u32, packet: &[u8], beside: Option<Label>, now: Duration) {
        match beside {
            None => {
                self.ring.keep(number, packet, now);
            }
            Some(label) => {
                let ring = self.apart.get_or_insert_with(Ring::apart);
                if let Some(packet) = ring.keep(number, packet, now) {
                    Sealer::label(packet, label);
                }
            }
        }
    }

    /// Takes a packet that is to be sent again; tells whether it has gone apart.
    fn take(&mut self, number: u32, now: Duration) -> (Again, bool) {
        match (self.ring.take(number, now), &mut self.apart) {
            (Again::Gone, Some(apart)) => (apart.take(number, now), true),
            (again, _) => (again, false),
        }
    }

    fn packet(&self, (apart, range): &(bool, Range<usize>)) -> &[u8] {
        match &self.apart {
            Some(ring) if *apart => ring.packet(range),
            _ => self.ring.packet(range),
        }
    }
}

/// Words to be said, with the remote endpoint of the tunnel in which that is.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<(Ipv4Addr, Word)>);

impl Words {
    /// Says something of one more packet.
    pub(super) fn add(&mut self, remote: Ipv4Addr, kind: Kind, spi: u32, number: u32) {
        let same = |(to, word): &(Ipv4Addr, Word)| {
            *to == remote && word.kind() == kind && word.spi() == spi
        };
        if let Some((_, word)) = self.0.iter_mut().rev().find(|said| same(said))
            && word.add(number)
        {
            return;
        }
        let mut word = Word::new(kind, spi);
        word.add(number);
        self.0.push((remote, word));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &Word)> {
        self.0.iter().map(|(remote, word)| (*remote, word))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What the headers of a sealed packet say.
pub(super) struct Headers {
    pub(super) remote: Ipv4Addr,
    pub(super) spi: u32,
    /// The lower half of the sequence number.
    pub(super) number: u32,
    /// What the packet was taken for, if it has not left yet.
    pub(super) label: Label,
}

impl Headers {
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| packet.get(at..)?.first_chunk().copied();
        Some(Self {
            remote: Ipv4Addr::from(word(16)?),
            spi: u32::from_be_bytes(word(20)?),
            number: u32::from_be_bytes(word(24)?),
            label: Label::identified(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?)),
        })
    }
}

impl Repair {
    /// Learns what is agreed of the tunnel to an endpoint.
    pub(in crate::daemon) fn agree(&self, remote: Ipv4Addr, agreed: Agreed) {
        if self.agreed.put(remote, agreed) {
            self.look();
        }
    }

    /// Forgets tunnels.
    pub(in crate::daemon) fn retain(&self, stays: impl Fn(Ipv4Addr) -> bool) {
        if self.agreed.retain(stays) {
            self.look();
        }
    }

    /// Forgets what is kept and need not be. What is agreed is known already, so that what is forgotten does not come back.
    fn look(&self) {
        let agreed = self.agreed();
        let any = agreed.values().any(|agreed| agreed.keeps);
        self.keeps.store(any, Relaxed);
        let keeps = |kept: &Kept| keeps(&agreed, kept.remote);
        self.kept().retain(|_, kept| keeps(kept));
    }

    /// Forgets what was sent by SAs that are no more.
    pub(super) fn follow(&self, has: impl Fn(u32) -> bool) {
        self.kept().retain(|spi, _| has(*spi));
    }

    /// What is agreed now.
    pub(super) fn agreed(&self) -> Arc<Agreements> {
        self.agreed.get()
    }

    /// How many packets have been sent again.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Whether what is sent to an endpoint is kept.
    pub(super) fn keeps_to(&self, remote: Ipv4Addr) -> bool {
        self.keeps.load(Relaxed) && keeps(&self.agreed.get(), remote)
    }

    /// Keeps sealed packets that were sent, as far as that is agreed, and has the other side told of those that were refused. Of those that have gone
    /// apart it is known with which label they would not have.
    pub(super) fn keep<'p>(
        &self,
        packets: impl Iterator<Item = (&'p [u8], bool, Option<Label>)>,
        now: Duration,
        words: &mut Words,
    ) {
        if !self.keeps.load(Relaxed) {
            return;
        }
        let mut kept = self.kept();
        let agreed = self.agreed();
        for (packet, refused, beside) in packets {
            let Some(headers) = Headers::read(packet) else {
                continue;
            };
            let Headers {
                remote,
                spi,
                number,
                ..
            } = headers;
            if !keeps(&agreed, remote) {
                continue;
            }
            if refused {
                words.add(remote, Kind::Gone, spi, number);
                continue;
            }
            let of_sa = kept.entry(spi).or_insert_with(|| Kept::new(remote));
            of_sa.keep(number, packet, beside, now);
        }
    }

    /// Sends again what is wanted in the tunnel to `remote`, and has the other side told what is not to be had. What is refused
    /// is not to be had either; returns how many of those packets nobody else has counted.
    pub(super) fn answer(
        &self,
        (remote, wanted): (Ipv4Addr, &Word),
        now: Duration,
        (way, device): (&mut Way, u32),
        words: &mut Words,
    ) -> u64 {
        let mut all = self.kept();
        let mut kept = all.get_mut(&wanted.spi());
        kept = kept.filter(|kept| kept.remote == remote);
        let mut found: Vec<(u32, (bool, Range<usize>))> = Vec::new();
        let mut gone = Vec::new();
        for number in wanted.runs().iter().flat_map(|run| run.numbers()) {
            let again = kept.as_mut().map(|kept| kept.take(number, now));
            let (again, apart) = again.unwrap_or((Again::Gone, false));
            match again {
                Again::Goes(range) => found.push((number, (apart, range))),
                Again::Gone => gone.push(number),
                Again::Went => {}
            }
        }
        let (known, mut stuck) = (gone.len(), 0);
        if let Some(kept) = kept {
            for batch in found.chunks(BATCH) {
                let packet = |at: usize| kept.packet(&batch[at].1);
                stuck += way.send(device, batch.len(), packet, |at| gone.push(batch[at].0));
            }
        }
        let sent = found.len() - (gone.len() - known);
        self.sent.fetch_add(sent as u64, Relaxed);
        let first = wanted.runs().first().map_or(0, |run| run.first);
        gone.sort_by_key(|number| number.wrapping_sub(first));
        for number in gone {
            words.add(remote, Kind::Gone, wanted.spi(), number);
        }
        stuck
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<u32, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is sent to an endpoint is kept.
fn keeps(agreed: &Agreements, remote: Ipv4Addr) -> bool {
    agreed.get(&remote).is_some_and(|agreed| agreed.keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
    const NOW: Duration = Duration::from_secs(3);
    const KEEPS: Agreed = Agreed {
        keeps: true,
        round_trip: None,
    };

    fn packet(remote: Ipv4Addr, number: u32) -> Vec<u8> {
        let mut packet = vec![7; 100];
        packet[16..20].copy_from_slice(&remote.octets());
        packet[20..24].copy_from_slice(&0x1000_u32.to_be_bytes());
        packet[24..28].copy_from_slice(&number.to_be_bytes());
        packet
    }

    fn keep(repair: &Repair, packets: &[(Vec<u8>, bool)]) -> Words {
        let mut words = Words::default();
        let packets = packets
            .iter()
            .map(|(packet, refused)| (&packet[..], *refused, None));
        repair.keep(packets, NOW, &mut words);
        words
    }

    /// What is said to be gone when these numbers are wanted; nothing can be sent, for there is no device.
    fn gone(repair: &Repair, remote: Ipv4Addr, wanted: &[u32]) -> (Vec<u32>, u64) {
        let mut asked = Words::default();
        for number in wanted {
            asked.add(remote, Kind::Wanted, 0x1000, *number);
        }
        let (mut words, mut way) = (Words::default(), Way::new());
        let mut stuck = 0;
        for asked in asked.iter() {
            stuck += repair.answer(asked, NOW, (&mut way, 0), &mut words);
        }
        (numbers(&words), stuck)
    }

    fn numbers(words: &Words) -> Vec<u32> {
        let runs = words.iter().flat_map(|(_, word)| word.runs());
        runs.flat_map(|run| run.numbers()).collect()
    }

    #[test]
    fn what_was_refused_or_is_not_kept_the_other_side_is_told() {
        let repair = Repair::default();
        let packets = [
            (packet(REMOTE, 6), false),
            (packet(REMOTE, 7), true),
            (packet(Ipv4Addr::LOCALHOST, 8), true),
        ];
        assert!(numbers(&keep(&repair, &packets)).is_empty(), "not agreed");
        repair.agree(REMOTE, KEEPS);
        assert_eq!(numbers(&keep(&repair, &packets)), [7]);
        // What the device refuses when it is sent again is gone, too.
        assert_eq!(gone(&repair, REMOTE, &[5, 6, 9]), (vec![5, 6, 9], 1));
        assert_eq!(repair.sent(), 0);
    }

    #[test]
    fn what_went_apart_goes_again_beside_it() {
        let mut kept = Kept::new(REMOTE);
        let mut labelled = packet(REMOTE, 6);
        Sealer::label(&mut labelled, Label::new(2, 77));
        kept.keep(6, &labelled, Some(Label::new(2, 255)), NOW);
        kept.keep(7, &labelled, None, NOW);
        let mut again = |number| match kept.take(number, NOW + Duration::from_secs(1)) {
            (Again::Goes(range), apart) => Some(kept.packet(&(apart, range)).to_vec()),
            _ => None,
        };
        let mut beside = packet(REMOTE, 6);
        Sealer::label(&mut beside, Label::new(2, 255));
        assert_eq!(again(6), Some(beside), "which takes longer");
        assert_eq!(again(7), None);
    }

    #[test]
    fn nobody_gets_what_is_anothers() {
        let repair = Repair::default();
        repair.agree(REMOTE, KEEPS);
        keep(&repair, &[(packet(REMOTE, 6), false)]);
        assert_eq!(gone(&repair, Ipv4Addr::LOCALHOST, &[6]), (vec![6], 0));
    }

    #[test]
    fn nothing_is_kept_longer_than_it_is_agreed() {
        let repair = Repair::default();
        for forget in [
            (|repair: &Repair| repair.agree(REMOTE, Agreed::default())) as fn(&Repair),
            |repair| repair.retain(|_| false),
            |repair| repair.follow(|_| false),
        ] {
            repair.agree(REMOTE, KEEPS);
            keep(&repair, &[(packet(REMOTE, 6), false)]);
            assert_eq!(repair.kept().len(), 1);
            forget(&repair);
            assert!(repair.kept().is_empty());
        }
    }
}
