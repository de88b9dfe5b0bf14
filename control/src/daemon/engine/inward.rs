//! What comes from links: opened, put back in order, and handed to the kernel.

use std::{
    io::{self, IoSlice},
    mem,
    sync::Arc,
    time::Duration,
};

use withy_common::maps::IvcRx;

use super::{
    Shared,
    lanes::Turn,
    order::{Order, Packet},
};
use crate::{
    esp::{Inbound, Opened, Refused},
    kernel::{
        esp::{BATCH, Received},
        tun::Writer,
    },
    offload::{self, HEADER, Header, Joiner, LONGEST, Unit},
    reorder::Arrival,
};

/// How many buffers a thread keeps for packets to come.
const SPARES: usize = 4 * BATCH;

/// One of the threads that receive. They take turns: whoever has received a whole batch, behind which there may be more, lets the next one
/// receive; while there is less, one thread does it all.
pub(super) struct Inward<'s> {
    shared: &'s Shared,
    received: Received,
    slots: Vec<Slot>,
    /// The SAs as they were last.
    table: Arc<Inbound>,
    /// What goes on, in order.
    out: Vec<Packet>,
    spares: Vec<Box<[u8]>>,
    joiner: Joiner,
}

/// A packet as it came, and what was inside if it is to be believed.
struct Slot {
    buffer: Box<[u8]>,
    opened: Option<Opened>,
}

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl<'s> Inward<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        let slot = || Slot {
            buffer: buffer(),
            opened: None,
        };
        Self {
            shared,
            received: Received::default(),
            slots: (0..BATCH).map(|_| slot()).collect(),
            table: Arc::default(),
            out: Vec::with_capacity(BATCH),
            spares: (0..SPARES).map(|_| buffer()).collect(),
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
                self.work(count, turn);
                intake = lanes.intake();
            } else {
                self.work(count, turn);
            }
        }
    }

    /// Receives what there is; nothing once it is time to let go of what waits.
    fn receive(&mut self) -> io::Result<usize> {
        if let Some(deadline) = self.shared.deadline() {
            let left = deadline.saturating_sub(self.shared.now());
            // Rounded up, so that it is time afterwards.
            if !self.shared.receiver.wait(left + Duration::from_millis(1))? {
                return Ok(0);
            }
        }
        let Self {
            shared,
            received,
            slots,
            ..
        } = self;
        shared.receiver.receive(received, slots)
    }

    fn work(&mut self, count: usize, turn: Turn) {
        let table = self.shared.inbound.get();
        self.open(count, &table);
        let lanes = &self.shared.lanes;
        lanes.sequence(turn, || {
            let mut order = self.shared.order();
            self.arrange(count, &table, &mut order);
        });
        self.deliver(turn);
        let buffers = self.out.drain(..).map(|packet| packet.buffer);
        let room = SPARES.saturating_sub(self.spares.len());
        self.spares.extend(buffers.take(room));
    }

    fn open(&mut self, count: usize, table: &Inbound) {
        for (at, slot) in self.slots[..count].iter_mut().enumerate() {
            let length = self.received.length(at);
            let packet = slot.buffer.get_mut(..length).unwrap_or_default();
            let opened = table.open(packet);
            let refused = |reason: &Refused| self.shared.refusals.add(*reason);
            slot.opened = opened.inspect_err(refused).ok();
        }
    }

    /// Puts what was opened in order, with what came before.
    fn arrange(&mut self, count: usize, table: &Arc<Inbound>, order: &mut Order) {
        let time = self.shared.now();
        if !Arc::ptr_eq(&self.table, table) {
            order.follow(table, &mut self.out);
            self.table = Arc::clone(table);
        }
        for slot in &mut self.slots[..count] {
            let Some(opened) = slot.opened.take() else {
                continue;
            };
            // The program that received it has left word.
            let ivc = IvcRx::marked(slot.buffer[8]);
            let buffer = self.spares.pop().unwrap_or_else(buffer);
            let mut packet = Packet {
                buffer: mem::replace(&mut slot.buffer, buffer),
                inner: opened.inner,
                lane: 0,
            };
            let kin = offload::kin(packet.as_ref());
            packet.lane = self.shared.lanes.of(kin.flow);
            let arrival = Arrival {
                number: opened.number,
                slot: ivc,
                time,
                kin,
                waits: opened.waits,
            };
            order.push(
                table,
                (opened.spi, opened.resequence),
                arrival,
                packet,
                &mut self.out,
            );
        }
        let deadline = order.expire(time, &mut self.out);
        self.shared.set_deadline(deadline);
    }

    fn deliver(&mut self, turn: Turn) {
        let device = self.shared.device.get();
        let device = device.as_ref().as_ref();
        let lanes = &self.shared.lanes;
        for lane in 0..lanes.count() {
            let joiner = &mut self.joiner;
            let mut chunks = self.out.chunks_mut(BATCH);
            // What is planned before the turn is planned beside others.
            let first = chunks.next().unwrap_or_default();
            plan(joiner, first, lane);
            lanes.deliver(lane, turn, || {
                let mut stuck = write(joiner, first, device);
                for chunk in chunks {
                    plan(joiner, chunk, lane);
                    stuck += write(joiner, chunk, device);
                }
                self.shared.refusals.add_many(Refused::Stuck, stuck);
            });
        }
    }
}

fn buffer() -> Box<[u8]> {
    vec![0; LONGEST].into()
}

/// Plans what goes by a lane.
fn plan(joiner: &mut Joiner, packets: &[Packet], lane: usize) {
    joiner.plan(
        packets,
        (0..packets.len()).filter(|at| packets[*at].lane == lane),
    );
}

/// Hands what is planned to the kernel; returns how many packets it did not take.
fn write(joiner: &Joiner, packets: &mut [Packet], device: Option<&Writer>) -> u64 {
    let mut stuck = 0;
    for unit in joiner.units() {
        let pushes = unit.pushes(packets[unit.last()].as_ref());
        let first = &mut packets[unit.first()];
        let header = unit.finish(&mut first.buffer[first.inner.clone()], pushes);
        let written =
            device.is_some_and(|device| write_unit(joiner, unit, &header, packets, device));
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
    packets: &[Packet],
    device: &Writer,
) -> bool {
    let header: [u8; HEADER] = header.bytes();
    let mut parts = [IoSlice::new(&[]); BATCH + 1];
    parts[0] = IoSlice::new(&header);
    parts[1] = IoSlice::new(packets[unit.first()].as_ref());
    let mut count = 2;
    for at in joiner.rest(unit) {
        parts[count] = IoSlice::new(&packets[at].as_ref()[unit.headers()..]);
        count += 1;
    }
    device.write(&parts[..count]).is_ok()
}
