//! How many connections were refused, or ended because of what came over them, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection is refused, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No tunnel has the client's key.
    UnknownKey,
    /// The client does not speak TLS as demanded.
    Tls,
    /// The handshake took too long.
    Timeout,
    /// There were too many in too short a time.
    Rate,
    /// Too many handshakes were under way, or too many of the client's address had just failed.
    HalfOpen,
    /// What came was no message, or one that cannot be read.
    Message,
}

const NAMES: [(Refusal, &str); 6] = [
    (Refusal::UnknownKey, "unknown_key"),
    (Refusal::Tls, "tls"),
    (Refusal::Timeout, "timeout"),
    (Refusal::Rate, "rate"),
    (Refusal::HalfOpen, "half_open"),
    (Refusal::Message, "message"),
];

/// Counts refused connections; what a gateway's listener, connector and machines have in common.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; NAMES.len()]);

impl Refusals {
    pub(super) fn count(&self, why: Refusal) {
        for ((reason, _), counter) in NAMES.iter().zip(&self.0) {
            if *reason == why {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns each reason's name and how often it was one.
    #[must_use]
    pub fn snapshot(&self) -> [(&'static str, u64); NAMES.len()] {
        std::array::from_fn(|place| (NAMES[place].1, self.0[place].load(Ordering::Relaxed)))
    }
}
