//! Order among threads that share a stream of packets: each takes a batch with a number, works on it beside the others, and delivers when
//! it is that batch's turn. Flows are spread over lanes, and each lane has its own turn, so that several threads can deliver at once
//! although no flow is ever out of order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The number of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// The lanes, and the place where batches are taken.
#[derive(Debug)]
pub(super) struct Lanes {
    next: Mutex<u64>,
    /// What batches pass before all others.
    sequence: Lane,
    by_flow: Vec<Lane>,
}

/// Where the batches of a lane are.
#[derive(Debug, Default)]
struct Lane {
    turn: Mutex<u64>,
    passed: Condvar,
}

/// The right to take a batch. While one thread has it the others wait.
pub(super) struct Intake<'l>(MutexGuard<'l, u64>);

impl Intake<'_> {
    /// Numbers the batch that was taken.
    pub(super) fn number(&mut self) -> Turn {
        let turn = *self.0;
        *self.0 += 1;
        Turn(turn)
    }
}

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            next: Mutex::default(),
            sequence: Lane::default(),
            by_flow: (0..count.max(1)).map(|_| Lane::default()).collect(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_flow.len()
    }

    /// The lane of a flow.
    pub(super) fn of(&self, flow: u32) -> usize {
        // As many flows for each: the upper half of the product.
        let count = self.by_flow.len() as u64;
        usize::try_from((u64::from(flow) * count) >> 32).unwrap_or_default()
    }

    /// Waits for the right to take a batch.
    pub(super) fn intake(&self) -> Intake<'_> {
        Intake(lock(&self.next))
    }

    /// Does for a batch what must be done in the order of batches, whatever the flow. Every batch must pass here, before all lanes.
    pub(super) fn sequence(&self, turn: Turn, body: impl FnOnce()) {
        self.sequence.pass(turn, body);
    }

    /// Delivers what a batch has for a lane, once all batches before it have. Every batch must pass every lane, in the order of their
    /// numbers, also with nothing to deliver.
    pub(super) fn deliver(&self, lane: usize, turn: Turn, deliver: impl FnOnce()) {
        self.by_flow[lane].pass(turn, deliver);
    }
}

impl Lane {
    fn pass(&self, turn: Turn, body: impl FnOnce()) {
        let waits = |at: &mut u64| *at != turn.0;
        let at = self.passed.wait_while(lock(&self.turn), waits);
        drop(at);
        // Nobody else has this number.
        body();
        *lock(&self.turn) = turn.0 + 1;
        self.passed.notify_all();
    }
}

fn lock(number: &Mutex<u64>) -> MutexGuard<'_, u64> {
    number.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn lanes_keep_the_order_in_which_batches_were_taken() {
        let lanes = Lanes::new(3);
        let delivered: Vec<Mutex<Vec<u64>>> = (0..3).map(|_| Mutex::default()).collect();
        let sequenced: Mutex<Vec<u64>> = Mutex::default();
        thread::scope(|scope| {
            for seed in 0..4 {
                let (lanes, delivered, sequenced) = (&lanes, &delivered, &sequenced);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..200 {
                        let turn = lanes.intake().number();
                        // Work takes its time; the order must not depend on it.
                        if random.u8(..) < 20 {
                            thread::sleep(Duration::from_micros(random.u64(..50)));
                        }
                        lanes.sequence(turn, || sequenced.lock().unwrap().push(turn.0));
                        for (lane, delivered) in delivered.iter().enumerate() {
                            lanes.deliver(lane, turn, || delivered.lock().unwrap().push(turn.0));
                        }
                    }
                });
            }
        });
        for lane in delivered.into_iter().chain([sequenced]) {
            assert!(lane.into_inner().unwrap().into_iter().eq(0..800));
        }
    }

    #[test]
    fn flows_are_spread_over_all_lanes() {
        let lanes = Lanes::new(3);
        assert_eq!(lanes.count(), 3);
        for (flow, lane) in [(0, 0), (u32::MAX / 3, 0), (u32::MAX / 2, 1), (u32::MAX, 2)] {
            assert_eq!(lanes.of(flow), lane);
        }
    }
}
