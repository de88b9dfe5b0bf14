//! What comes from links: opened, put back in order, and handed to the kernel.

use std::{
    io::{self, IoSlice},
    mem,
    net::Ipv4Addr,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use withy_common::maps::IvcRx;

use super::{
    Shared,
    lanes::Turn,
    order::{Order, Packet},
    repair::Words,
    way::Way,
};
use crate::{
    esp::{Content, Inbound, Opened, Refused},
    kernel::{
        esp::{BATCH, Received},
        tun::Writer,
    },
    offload::{self, HEADER, Header, Joiner, LONGEST, Unit},
    reorder::{Arrival, Kin, MOST_HELD, Terms},
    resend::{Kind, Word},
};

/// How many buffers a thread has at first for packets to come.
const SPARES: usize = 4 * BATCH;
/// How many it keeps of those that packets have waited in.
const MOST_SPARES: usize = SPARES + MOST_HELD;

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
    way: Way,
    /// What other sides want, by their endpoints.
    wanted: Vec<(Ipv4Addr, Word)>,
    /// What there is to tell them.
    words: Words,
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
            way: Way::new(),
            wanted: Vec::new(),
            words: Words::default(),
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
        let room = MOST_SPARES.saturating_sub(self.spares.len());
        self.spares.extend(buffers.take(room));
        self.converse();
    }

    /// Answers what other sides want, and asks for what is missing here.
    fn converse(&mut self) {
        let (shared, device) = (self.shared, self.shared.bundle());
        for (remote, word) in self.wanted.drain(..) {
            let way = (&mut self.way, device);
            let words = &mut self.words;
            let stuck = shared
                .ties
                .repair
                .answer((remote, &word), shared.now(), way, words);
            shared.refusals.add_many(Refused::Stuck, stuck);
        }
        self.way.say(device, &mut self.words, &shared.outbound);
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
        let agreed = self.shared.ties.repair.agreed();
        for at in 0..count {
            let Some(opened) = self.slots[at].opened.take() else {
                continue;
            };
            let inner = match &opened.content {
                Content::Packet(inner) => inner,
                Content::Dummy(payload) => {
                    self.hear(at, payload, &opened, (table, &mut *order));
                    order.skip(opened.spi, opened.number, &mut self.out);
                    continue;
                }
            };
            let mut arrival = Arrival {
                number: opened.number,
                // The program that received it has left word.
                slot: IvcRx::marked(self.slots[at].buffer[8]),
                time,
                kin: Kin::default(),
                waits: opened.waits,
            };
            let packet = self.packet(at, inner, &mut arrival);
            let agreed = agreed.get(&opened.remote);
            let terms = Terms {
                policy: opened.resequence,
                ivcs: opened.ivcs,
                resend: agreed.and_then(|agreed| agreed.round_trip),
            };
            order.push(table, (opened.spi, terms), arrival, packet, &mut self.out);
        }
        let deadline = order.expire(time, &mut self.out);
        self.shared.set_deadline(deadline);
        self.ask(table, order);
    }

    /// Takes the packet out of a slot.
    fn packet(&mut self, at: usize, inner: &Range<usize>, arrival: &mut Arrival) -> Packet {
        let buffer = self.spares.pop().unwrap_or_else(buffer);
        let mut packet = Packet {
            buffer: mem::replace(&mut self.slots[at].buffer, buffer),
            inner: inner.clone(),
            lane: 0,
        };
        arrival.kin = offload::kin(packet.as_ref());
        packet.lane = self.shared.lanes.of(arrival.kin.flow);
        packet
    }

    /// Has the other sides asked for what is missing.
    fn ask(&mut self, table: &Inbound, order: &mut Order) {
        order.take_wanted(|spi, number| {
            if let Some(remote) = table.remote(spi) {
                let [.., a, b, c, d] = number.to_be_bytes();
                let low = u32::from_be_bytes([a, b, c, d]);
                self.words.add(remote, Kind::Wanted, spi, low);
            }
        });
    }

    /// Takes in what the other side of a tunnel says.
    fn hear(
        &mut self,
        at: usize,
        payload: &Range<usize>,
        by: &Opened,
        (table, order): (&Inbound, &mut Order),
    ) {
        let Ok(word) = Word::read(&self.slots[at].buffer[payload.clone()]) else {
            self.shared.refusals.add(Refused::Dummy);
            return;
        };
        match word.kind() {
            Kind::Wanted => self.wanted.push((by.remote, word)),
            // It must be of the same tunnel.
            Kind::Gone | Kind::Apart(_) if table.remote(word.spi()) == Some(by.remote) => {
                order.excuse(&word, &mut self.out);
            }
            Kind::Gone | Kind::Apart(_) => {}
        }
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
