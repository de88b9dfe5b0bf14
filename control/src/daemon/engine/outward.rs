//! What the kernel sends into the device: sealed, and handed to the bundle device.

use std::{io, mem};

use super::{Shared, repair::Words, turns::Turn, way::Way};
use crate::{
    esp::{HEADROOM, Outbound, Refused, Sealer, TAILROOM},
    kernel::{esp::BATCH, tun::Queue},
    offload::{self, Cut, HEADER, Header, LONGEST},
};

/// A packet with room for what ESP adds.
type Slot = Box<[u8]>;

/// One queue of the device, with a thread of its own: a flow stays in one, and so in order.
pub(super) struct Outward<'s> {
    shared: &'s Shared,
    queue: Queue,
    way: Way,
    /// What was read last.
    read: Slot,
    batch: Batch,
    /// What there is to tell the other sides.
    words: Words,
    /// The turn to number and send packets of an SA of which those leave in the order of their numbers.
    turn: Option<Turn<'s>>,
}

/// Sealed packets that wait to be sent together.
struct Batch {
    slots: Vec<Slot>,
    /// How long each is that is in use.
    sealed: Vec<usize>,
    /// Which of them were refused.
    refused: [bool; BATCH],
}

impl<'s> Outward<'s> {
    pub(super) fn new(shared: &'s Shared, queue: Queue) -> Self {
        Self {
            shared,
            queue,
            way: Way::new(),
            read: slot(),
            batch: Batch {
                slots: (0..BATCH).map(|_| slot()).collect(),
                sealed: Vec::with_capacity(BATCH),
                refused: [false; BATCH],
            },
            words: Words::default(),
            turn: None,
        }
    }

    /// Works until the device is gone.
    pub(super) fn run(mut self) -> io::Error {
        let mut header = [0; HEADER];
        loop {
            let read = self.queue.read(&mut header, packet_room(&mut self.read));
            match read {
                Ok(length) => self.take(&header, length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flush();
                    // A signal is no reason to end; what the device has to say the next read tells.
                    let _woken = self.queue.wait();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
    }

    /// Seals what was read.
    fn take(&mut self, header: &[u8; HEADER], length: usize) {
        let table = self.shared.outbound.get();
        if let Err(reason) = self.seal(&table, header, length) {
            self.shared.refusals.add(reason);
        }
        if self.batch.is_full() {
            self.flush();
        }
    }

    fn seal(
        &mut self,
        table: &Outbound,
        header: &[u8; HEADER],
        length: usize,
    ) -> Result<(), Refused> {
        let header = Header::read(header).map_err(|_| Refused::Uncuttable)?;
        let mut read = mem::take(&mut self.read);
        let packet = &mut read[HEADROOM..HEADROOM + length];
        let taken = offload::take(&header, packet).map_err(|_| Refused::Uncuttable);
        let sealed = match taken {
            Ok(None) => self.whole(table, &mut read, length),
            Ok(Some(cut)) => self.pieces(table, &cut),
            Err(refused) => Err(refused),
        };
        self.read = read;
        sealed
    }

    /// Seals a packet where it lies, and takes its slot for the batch.
    fn whole(&mut self, table: &Outbound, read: &mut Slot, length: usize) -> Result<(), Refused> {
        let (sa, label) = table.find(&read[HEADROOM..HEADROOM + length], length)?;
        self.take_turn(sa);
        let sealed = sa.seal(read, length)?;
        Sealer::label(read, label);
        mem::swap(read, self.batch.slot());
        self.batch.sealed.push(sealed);
        Ok(())
    }

    /// Cuts a super-packet into the batch's slots, and seals each piece there.
    fn pieces(&mut self, table: &Outbound, cut: &Cut<'_>) -> Result<(), Refused> {
        // They are of one class, for they are of one flow.
        let (sa, label) = table.find(cut.packet(), cut.longest())?;
        self.take_turn(sa);
        for at in 0..cut.count() {
            if self.batch.is_full() {
                self.flush();
                self.take_turn(sa);
            }
            let slot = self.batch.slot();
            let length = cut.write(at, packet_room(slot)).ok_or(Refused::Oversized)?;
            let sealed = sa.seal(slot, length)?;
            Sealer::label(slot, label);
            self.batch.sealed.push(sealed);
        }
        Ok(())
    }

    /// Sees to it that packets of an SA leave in the order of their numbers, whichever thread seals them, if the other side might ask for those that others have
    /// overtaken. A batch has packets of no more than one such SA.
    fn take_turn(&mut self, sa: &Sealer) {
        if !self.shared.ties.repair.keeps_to(sa.remote()) {
            return;
        }
        let place = self.shared.turns.place(sa.spi());
        if self.turn.as_ref().is_some_and(|turn| turn.is(place)) {
            return;
        }
        if self.turn.is_some() {
            self.flush();
        }
        self.turn = Some(self.shared.turns.take(place));
    }

    fn flush(&mut self) {
        let Batch {
            slots,
            sealed,
            refused,
        } = &mut self.batch;
        let (shared, words) = (self.shared, &mut self.words);
        let device = shared.bundle();
        let packet = |at: usize| &slots[at][..sealed[at]];
        // First: what goes apart may arrive sooner than what was sent before it.
        let all = (0..sealed.len()).map(packet);
        let beside = shared.ties.apart.tell(all.clone(), words);
        self.way.say(device, words, &shared.outbound);
        refused.fill(false);
        let note = |at: usize| refused[at] = true;
        let stuck = self.way.send(device, sealed.len(), packet, note);
        let sent = all.zip(&*refused).zip(beside);
        let sent = sent.map(|((packet, refused), beside)| (packet, *refused, beside));
        shared.ties.repair.keep(sent, shared.now(), words);
        self.way.say(device, words, &shared.outbound);
        sealed.clear();
        self.turn = None;
        shared.refusals.add_many(Refused::Stuck, stuck);
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.sealed.len() == self.slots.len()
    }

    /// The next slot that is not in use; there is one unless the batch is full.
    fn slot(&mut self) -> &mut Slot {
        &mut self.slots[self.sealed.len()]
    }
}

fn slot() -> Slot {
    vec![0; HEADROOM + LONGEST + TAILROOM].into()
}

/// Where in a slot a packet lies that is to be sealed.
fn packet_room(slot: &mut Slot) -> &mut [u8] {
    &mut slot[HEADROOM..HEADROOM + LONGEST]
}
