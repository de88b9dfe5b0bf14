//! A link as arithmetic: packets in, arrival times out, no clock and no I/O.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Shape, loss::Losing, trace::Playback};

/// What a link did not carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets for which there was no room.
    pub dropped: u64,
    /// Packets lost at random.
    pub lost: u64,
}

/// The state of one direction of a link.
#[derive(Debug)]
pub struct LinkQueue {
    shape: Shape,
    limit: usize,
    losing: Losing,
    playback: Option<Playback>,
    /// When the last accepted packet will have left.
    busy_until: Option<Instant>,
    /// When packets that wait or are being sent will have left, oldest first.
    departures: VecDeque<Instant>,
    last_arrival: Option<Instant>,
    /// What the last departure was rounded off by, in 1/rate nanoseconds.
    remainder: u64,
    random: fastrand::Rng,
    losses: Losses,
}

impl LinkQueue {
    /// Starts an idle link. `mtu` in bytes turns a queue given as time into packets; `seed` decides
    /// about loss and jitter.
    #[must_use]
    pub fn new(shape: Shape, mtu: u32, seed: u64) -> Self {
        Self {
            shape,
            limit: shape.queue_packets(mtu) as usize,
            losing: Losing::new(shape.loss),
            playback: shape.trace.map(Playback::new),
            busy_until: None,
            departures: VecDeque::new(),
            last_arrival: None,
            remainder: 0,
            random: fastrand::Rng::with_seed(seed),
            losses: Losses::default(),
        }
    }

    /// Changes the link while packets are on it. They keep the times that they were given.
    pub fn reshape(&mut self, shape: Shape, mtu: u32) {
        self.shape = shape;
        self.limit = shape.queue_packets(mtu) as usize;
        self.losing = Losing::new(shape.loss);
        self.playback = shape.trace.map(Playback::new);
        self.remainder = 0;
    }

    /// Offers a frame of `length` bytes at `now`; returns when it arrives, if it does. `now` must
    /// not run backwards.
    pub fn offer(&mut self, now: Instant, length: usize) -> Option<Instant> {
        if self.losing.next(&mut self.random) {
            self.losses.lost += 1;
            return None;
        }
        while self
            .departures
            .front()
            .is_some_and(|&departure| departure <= now)
        {
            self.departures.pop_front();
        }
        if self.departures.len() >= self.limit {
            self.losses.dropped += 1;
            return None;
        }
        // A packet that was read late, because the thread was, does not cost the link time: the
        // sending starts where the one before it ended.
        let start = self
            .busy_until
            .map_or(now, |busy_until| busy_until.max(now));
        let departure = match &mut self.playback {
            Some(playback) => playback.send(now, length).max(start),
            None => start + self.sending_time(length),
        };
        self.busy_until = Some(departure);
        self.departures.push_back(departure);

        let arrival = departure + self.one_way();
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        Some(arrival)
    }

    /// How long the link takes to send `length` bytes. Rounding carries over to the next packet:
    /// at gigabits a second a nanosecond lost with each would show.
    fn sending_time(&mut self, length: usize) -> Duration {
        let rate = self.shape.rate_bps;
        // No frame has 2^30 bytes, and what is left over is less than the rate.
        let exact = (length as u64 * 8 * 1_000_000_000).saturating_add(self.remainder);
        self.remainder = exact % rate;
        Duration::from_nanos(exact / rate)
    }

    fn one_way(&mut self) -> Duration {
        if self.shape.jitter.is_zero() {
            return self.shape.latency;
        }
        let spread = self.shape.jitter.mul_f64(2.0 * self.random.f64());
        (self.shape.latency + spread).saturating_sub(self.shape.jitter)
    }

    /// How long a packet takes at least.
    pub(super) fn least_delay(&self) -> Duration {
        self.shape.latency.saturating_sub(self.shape.jitter)
    }

    /// What it did not carry so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// How many opportunities a recording had between two times; none where the rate is constant, or nothing has been sent.
    pub(super) fn opportunities(&self, from: Instant, to: Instant) -> Option<u64> {
        self.playback.as_ref()?.opportunities(from, to)
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "rates and counts far below 2^52"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::{QueueLength, Trace};

    const MTU: u32 = 1500;

    /// As a link with nothing to carry over would take, rounded down.
    fn sending_time(shape: &Shape, length: usize) -> Duration {
        Duration::from_nanos(length as u64 * 8_000_000_000 / shape.rate_bps)
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        (
            100_000_u64..1_000_000_000,
            0_u64..200,
            0_u64..=100,
            10_u32..500,
        )
            .prop_map(|(rate, latency, jitter_percent, queue)| {
                let latency = Duration::from_millis(latency);
                Shape::new(rate, latency)
                    .jitter(latency.mul_f64(jitter_percent as f64 / 100.0))
                    .queue(QueueLength::Packets(queue))
            })
    }

    /// Lengths and gaps of packets offered, gaps in µs.
    fn arrivals() -> impl Strategy<Value = Vec<(usize, u64)>> {
        prop::collection::vec((60_usize..=1514, 0_u64..5_000), 1..400)
    }

    proptest! {
        #[test]
        fn packets_arrive_in_order_within_latency_and_jitter(
            shape in shapes(), offered in arrivals(), seed: u64,
        ) {
            let mut link = LinkQueue::new(shape, MTU, seed);
            let mut now = Instant::now();
            let mut last = now;
            for (length, gap) in offered {
                now += Duration::from_micros(gap);
                let wait = link.busy_until.map_or(Duration::ZERO, |t| t.saturating_duration_since(now));
                let sent = wait + sending_time(&shape, length);
                if let Some(arrival) = link.offer(now, length) {
                    prop_assert!(arrival >= last);
                    prop_assert!(arrival + shape.jitter >= now + sent + shape.latency);
                    let latest = now + sent + shape.latency + shape.jitter + Duration::from_nanos(1);
                    prop_assert!(arrival <= latest.max(last));
                    last = arrival;
                }
            }
        }

        #[test]
        fn an_idle_link_without_jitter_is_exact(rate in 100_000_u64..1_000_000_000, ms in 0_u64..500) {
            let shape = Shape::new(rate, Duration::from_millis(ms));
            let mut link = LinkQueue::new(shape, MTU, 0);
            let now = Instant::now();
            let arrival = link.offer(now, 1514).unwrap();
            let expected = Duration::from_secs_f64(1514.0 * 8.0 / rate as f64) + shape.latency;
            prop_assert!((arrival - now).abs_diff(expected) < Duration::from_nanos(10));
        }

        #[test]
        fn a_full_link_delivers_its_rate(shape in shapes(), length in 60_usize..=1514) {
            let mut link = LinkQueue::new(Shape { jitter: Duration::ZERO, ..shape }, MTU, 0);
            let start = Instant::now();
            let tick = sending_time(&shape, length) / 2;
            // Twice as much as fits is offered, long enough for 2,000 packets to leave.
            let arrived: Vec<_> =
                (0..4_000).filter_map(|n| link.offer(start + tick * n, length)).collect();
            let (first, last) = (arrived[0], arrived[arrived.len() - 1]);
            let bits = (arrived.len() - 1) as f64 * length as f64 * 8.0;
            let rate = bits / (last - first).as_secs_f64();
            prop_assert!((rate / shape.rate_bps as f64 - 1.0).abs() < 1e-3, "{rate}");
        }

        #[test]
        fn no_more_than_the_queue_waits(shape in shapes(), burst in 1_usize..1_000) {
            let mut link = LinkQueue::new(shape, MTU, 0);
            let now = Instant::now();
            let accepted = (0..burst).filter(|_| link.offer(now, 1514).is_some()).count();
            let limit = shape.queue_packets(MTU) as usize;
            prop_assert_eq!(accepted, burst.min(limit));
            prop_assert_eq!(link.losses().dropped, burst.saturating_sub(limit) as u64);
            // Once one has left there is room for one.
            if burst >= limit {
                let later = now + sending_time(&shape, 1514) + Duration::from_nanos(1);
                prop_assert!(link.offer(later, 1514).is_some());
                prop_assert!(link.offer(later, 1514).is_none());
            }
        }
    }

    #[test]
    fn what_is_lost_is_counted_and_takes_no_time() {
        let shape = Shape::new(1_000_000, Duration::ZERO).loss(1.0);
        let mut link = LinkQueue::new(shape, MTU, 0);
        let now = Instant::now();
        assert!((0..5).all(|_| link.offer(now, 1250).is_none()));
        assert_eq!((link.losses().lost, link.losses().dropped), (5, 0));
        link.reshape(shape.loss(0.0), MTU);
        assert_eq!(link.offer(now, 1250), Some(now + Duration::from_millis(10)));
        assert_eq!(link.losses().lost, 5);
    }

    #[test]
    fn jitter_is_evenly_distributed() {
        const PACKETS: usize = 10_000;
        let ms = Duration::from_millis;
        let shape = Shape::new(1_000_000_000, ms(30)).jitter(ms(10));
        let mut link = LinkQueue::new(shape, MTU, 1);
        let mut now = Instant::now();
        // So far apart that none waits for the one before.
        let mut delays: Vec<Duration> = (0..PACKETS)
            .map(|_| {
                now += ms(21);
                let sent = now + Duration::from_micros(1);
                link.offer(now, 125).unwrap() - sent
            })
            .collect();
        delays.sort_unstable();
        for share in [0, 1, 10, 25, 50, 75, 90, 99] {
            let expected = ms(20) + ms(20) * share / 100;
            let off = delays[PACKETS * share as usize / 100].abs_diff(expected);
            assert!(off < ms(20) / 50, "{off:?} at {share}%");
        }
        assert!(delays[PACKETS - 1] <= ms(40));
    }

    #[test]
    fn a_recorded_link_waits_for_its_opportunities() {
        let ms = Duration::from_millis;
        let text = "2\n9\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let shape = Shape::recorded(Trace::read(file.path()).unwrap(), ms(5));
        let shape = shape.queue(QueueLength::Packets(2));
        let mut link = LinkQueue::new(shape, MTU, 0);
        let now = Instant::now();
        assert_eq!(link.offer(now, 1514), Some(now + ms(7)));
        assert_eq!(link.offer(now, 1514), Some(now + ms(14)));
        assert_eq!(link.offer(now, 1514), None);
        assert_eq!(link.losses().dropped, 1);
        assert_eq!(link.offer(now + ms(2), 1514), Some(now + ms(16)));
    }

    #[test]
    fn a_new_rate_holds_from_the_next_packet() {
        let mut link = LinkQueue::new(Shape::new(1_000_000, Duration::ZERO), MTU, 0);
        let now = Instant::now();
        assert_eq!(link.offer(now, 1250), Some(now + Duration::from_millis(10)));
        link.reshape(Shape::new(10_000_000, Duration::ZERO), MTU);
        assert_eq!(link.offer(now, 1250), Some(now + Duration::from_millis(11)));
    }
}
