//! The kernel's emulator: encoding of a [`Shape`] for `sch_netem`.

use std::time::Duration;

use anyhow::Result;

use super::{Loss, Shape};
use crate::netns::{self, Netns};

/// Attributes nested after `struct tc_netem_qopt` (`include/uapi/linux/pkt_sched.h`).
mod attribute {
    /// Holds [`LOSS_GE`].
    pub(super) const LOSS: u16 = 5;
    /// `NETEM_LOSS_GE`: `struct tc_netem_gemodel`.
    pub(super) const LOSS_GE: u16 = 2;
    pub(super) const RATE: u16 = 6;
    pub(super) const RATE64: u16 = 8;
    pub(super) const LATENCY64: u16 = 10;
    pub(super) const JITTER64: u16 = 11;
    /// Kernel 6.6 and later; older ones ignore it and draw at random.
    pub(super) const PRNG_SEED: u16 = 14;
}

/// Returns whether the kernel has netem.
pub(crate) fn available() -> Result<bool> {
    netns::has_netem(options(&Shape::new(1_000_000, Duration::ZERO), 1500, 0))
}

/// Puts netem at the egress of a device, or changes the one that is there.
pub(crate) fn apply(netns: &Netns, device: &str, shape: &Shape, mtu: u32, seed: u64) -> Result<()> {
    netns::set_root_qdisc(netns, device, "netem", options(shape, mtu, seed))
}

/// Encodes `TCA_OPTIONS` of netem, in the machine's byte order.
///
/// netem computes a departure from the one before it (`netem_enqueue`, `net/sched/sch_netem.c`), so
/// it keeps its rate however late its timer runs, and it does not reorder once a rate is set. Its
/// limit counts packets under way as well as those that wait: both are added up here.
fn options(shape: &Shape, mtu: u32, seed: u64) -> Vec<u8> {
    let under_way = shape.packets_in(shape.latency + shape.jitter, mtu);
    let limit = shape.queue_packets(mtu).saturating_add(under_way);
    let loss = match shape.loss {
        Loss::Independent(probability) => part(probability),
        Loss::Bursts { .. } => 0,
    };
    let rate = shape.rate_bps / 8;

    let mut bytes = Vec::new();
    // latency, limit, loss, gap, duplicate, jitter; the times follow in nanoseconds.
    for word in [0, limit, loss, 0, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    // rate, packet overhead, cell size, cell overhead
    let mut fixed = u32::try_from(rate)
        .unwrap_or(u32::MAX)
        .to_ne_bytes()
        .to_vec();
    fixed.extend([0; 12]);
    push(&mut bytes, attribute::RATE, &fixed);
    if u32::try_from(rate).is_err() {
        push(&mut bytes, attribute::RATE64, &rate.to_ne_bytes());
    }
    push(
        &mut bytes,
        attribute::LATENCY64,
        &nanoseconds(shape.latency),
    );
    push(&mut bytes, attribute::JITTER64, &nanoseconds(shape.jitter));
    if let Loss::Bursts { .. } = shape.loss {
        push(&mut bytes, attribute::LOSS, &gilbert(shape.loss));
    }
    push(&mut bytes, attribute::PRNG_SEED, &seed.to_ne_bytes());
    bytes
}

/// The model of bursts, as an attribute: the chances that the link turns bad and good, that it does
/// not lose a packet when bad, and that it loses one when good.
fn gilbert(loss: Loss) -> Vec<u8> {
    let odds = loss.odds();
    let words = [part(odds.bad), part(odds.good), 0, 0];
    let mut bytes = Vec::new();
    push(
        &mut bytes,
        attribute::LOSS_GE,
        &words.map(u32::to_ne_bytes).concat(),
    );
    bytes
}

/// A probability as netem has it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to u32::MAX"
)]
fn part(probability: f64) -> u32 {
    (probability * f64::from(u32::MAX)).round() as u32
}

fn nanoseconds(time: Duration) -> [u8; 8] {
    i64::try_from(time.as_nanos())
        .unwrap_or(i64::MAX)
        .to_ne_bytes()
}

/// Appends a netlink attribute whose value's length is a multiple of 4, as all of netem's are.
fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    debug_assert_eq!(value.len() % 4, 0);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "values are at most 16 bytes"
    )]
    let length = 4 + value.len() as u16;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_laid_out_as_the_kernel_reads_them() {
        let shape = Shape::new(8_000_000, Duration::from_millis(15)).loss(1.0);
        let bytes = options(&shape, 1500, 7);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        // 100 ms and 15 ms of 8 Mbit/s in frames of 1514 bytes.
        assert_eq!(word(4), 67 + 10);
        assert_eq!(word(8), u32::MAX);
        let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(
            (half(24), half(26), word(28)),
            (20, attribute::RATE, 1_000_000)
        );
        assert_eq!((half(44), half(46)), (12, attribute::LATENCY64));
        assert_eq!(bytes[48..56], 15_000_000_i64.to_ne_bytes());
        assert_eq!(bytes.len(), 24 + 20 + 3 * 12);
    }

    #[test]
    fn bursts_are_a_model_within_an_attribute() {
        let shape = Shape::new(8_000_000, Duration::ZERO).bursts(0.2, 4.0);
        let bytes = options(&shape, 1500, 7);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(word(8), 0);
        let at = 24 + 20 + 2 * 12;
        assert_eq!((half(at), half(at + 2)), (24, attribute::LOSS));
        assert_eq!((half(at + 4), half(at + 6)), (20, attribute::LOSS_GE));
        // Bad for a fifth of all packets: four in a row, then sixteen good ones.
        assert_eq!(
            [8, 12, 16, 20].map(|more| word(at + more)),
            [u32::MAX / 16 + 1, u32::MAX / 4 + 1, 0, 0]
        );
        assert_eq!(bytes.len(), at + 24 + 12);
    }

    #[test]
    fn rates_beyond_32_bits_take_the_wide_attribute() {
        let bytes = options(&Shape::new(40_000_000_000, Duration::ZERO), 1500, 0);
        assert_eq!(bytes[28..32], u32::MAX.to_ne_bytes());
        assert_eq!(bytes[48..56], 5_000_000_000_u64.to_ne_bytes());
    }
}
