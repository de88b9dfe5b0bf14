//! Numbers and how people read them.

use std::time::Duration;

/// Bits a second of that many bytes in that time; none in no time.
#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement; 2^52 bytes are exact"
)]
pub(super) fn bits_per_second(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        bytes as f64 * 8.0 / time.as_secs_f64()
    }
}

/// What part of `whole` `part` is; none of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement; 2^52 bytes are exact"
)]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// What part of `whole` `part` is; none of nothing.
pub(super) fn share_of(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// `10.4`, in Mbit/s.
pub(super) fn megabits(bps: f64) -> String {
    format!("{:.1}", bps / 1e6)
}

/// `38.2 MB`.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// `25%`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

/// `94.3%`, rounded down: what is not reached must not look as if it were.
pub(super) fn reached(ratio: f64) -> String {
    format!("{:.1}%", (ratio * 1000.0).floor() / 10.0)
}

/// A non-negative measurement as an integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and not negative; `as` saturates"
)]
pub(super) fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

/// A ratio with four digits after the point, for machines.
pub(super) fn four_digits(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}
