//! What comes from links: opened, and handed to the kernel.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use super::Shared;
use crate::{
    esp::{Inbound, Refused},
    kernel::{
        esp::{BATCH, Received},
        tun::Writer,
    },
    offload::{self, HEADER, Header, Joiner, Unit},
};

/// The longest IP packet, in bytes.
const LONGEST: usize = 65_535;

/// One of the threads that receive. They take turns: whoever has received a whole batch, behind which there may be more, lets the next one
/// receive; while there is less, one thread does it all.
pub(super) struct Inward<'s> {
    shared: &'s Shared,
    received: Received,
    slots: Vec<Slot>,
    joiner: Joiner,
}

/// A packet as it came, and what was inside.
struct Slot {
    buffer: Box<[u8]>,
    length: usize,
    /// Where the packet lies that was inside; empty if there was none to be believed.
    inner: Range<usize>,
    lane: usize,
}

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.inner.clone()]
    }
}

impl<'s> Inward<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        let slot = || Slot {
            buffer: vec![0; LONGEST].into(),
            length: 0,
            inner: 0..0,
            lane: 0,
        };
        Self {
            shared,
            received: Received::default(),
            slots: (0..BATCH).map(|_| slot()).collect(),
            joiner: Joiner::new(BATCH),
        }
    }

    /// Works for ever.
    pub(super) fn run(mut self) {
        let lanes = &self.shared.lanes;
        let mut intake = lanes.intake();
        loop {
            let Ok(count) = self.receive() else { continue };
            let turn = intake.number();
            if count == BATCH {
                drop(intake);
                self.open(count);
                self.deliver(count, turn);
                intake = lanes.intake();
            } else {
                self.open(count);
                self.deliver(count, turn);
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut lengths = [0; BATCH];
        let count =
            self.shared
                .receiver
                .receive(&mut self.received, &mut self.slots, |at, length| {
                    lengths[at] = length;
                })?;
        for (slot, length) in self.slots.iter_mut().zip(lengths) {
            slot.length = length;
        }
        Ok(count)
    }

    fn open(&mut self, count: usize) {
        let table: &Inbound = &self.shared.inbound();
        for slot in &mut self.slots[..count] {
            let packet = slot.buffer.get_mut(..slot.length).unwrap_or_default();
            slot.inner = table.open(packet).unwrap_or_else(|reason| {
                self.shared.refusals.add(reason);
                0..0
            });
            slot.lane = self.shared.lanes.of(offload::flow(slot.as_ref()));
        }
    }

    fn deliver(&mut self, count: usize, turn: super::lanes::Turn) {
        let device = self.shared.device();
        for lane in 0..self.shared.lanes.count() {
            let members = (0..count).filter(|at| {
                let slot = &self.slots[*at];
                slot.lane == lane && !slot.inner.is_empty()
            });
            self.joiner.plan(&self.slots, members);
            self.shared.lanes.deliver(lane, turn, || {
                let stuck = write(&self.joiner, &mut self.slots, device.as_deref());
                self.shared.refusals.add_many(Refused::Stuck, stuck);
            });
        }
    }
}

/// Hands what is planned to the kernel; returns how many packets it did not take.
fn write(joiner: &Joiner, slots: &mut [Slot], device: Option<&Writer>) -> u64 {
    let mut stuck = 0;
    for unit in joiner.units() {
        let pushes = unit.pushes(slots[unit.last()].as_ref());
        let first = &mut slots[unit.first()];
        let header = unit.finish(&mut first.buffer[first.inner.clone()], pushes);
        let written = device.is_some_and(|device| write_unit(joiner, unit, &header, slots, device));
        if !written {
            stuck += unit.count() as u64;
        }
    }
    stuck
}

fn write_unit(
    joiner: &Joiner,
    unit: &Unit,
    header: &Header,
    slots: &[Slot],
    device: &Writer,
) -> bool {
    let header: [u8; HEADER] = header.bytes();
    let mut parts = [IoSlice::new(&[]); BATCH + 1];
    parts[0] = IoSlice::new(&header);
    parts[1] = IoSlice::new(slots[unit.first()].as_ref());
    let mut count = 2;
    for at in joiner.rest(unit) {
        parts[count] = IoSlice::new(&slots[at].as_ref()[unit.headers()..]);
        count += 1;
    }
    device.write(&parts[..count]).is_ok()
}
