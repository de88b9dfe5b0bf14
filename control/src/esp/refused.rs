//! Why packets are not sealed or opened.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no whole IPv4 or IPv6 packet.
    #[error("neither a whole IPv4 packet nor a whole IPv6 packet")]
    NotIp,
    /// It would be longer than an IPv4 packet can be.
    #[error("too long for one ESP packet")]
    Oversized,
    /// The SA has no sequence number left.
    #[error("all sequence numbers of the SA are used up")]
    Exhausted,
    /// No tunnel goes where it wants to go.
    #[error("no tunnel leads to this destination")]
    NoTunnel,
    /// Its addresses are not those of its tunnel's subnets.
    #[error("the addresses are not of the tunnel's subnets")]
    Selector,
    /// The tunnel has no SA yet.
    #[error("the tunnel has no outbound SA")]
    NoSa,
    /// No SA has its SPI, or that SA is between other endpoints.
    #[error("no SA has this SPI between these endpoints")]
    UnknownSpi,
    /// It is too short, or of a length that no ESP packet has.
    #[error("no ESP packet has this length")]
    Length,
    /// It came before.
    #[error("a replayed packet")]
    Replayed,
    /// It came before, and the other gateway is taken to send copies.
    #[error("a second copy")]
    Copied,
    /// It is older than anything that the window remembers.
    #[error("older than the anti-replay window")]
    Old,
    /// Its ICV is wrong.
    #[error("a wrong integrity check value")]
    Forged,
    /// Its padding is not what RFC 4303 says.
    #[error("wrong padding")]
    Padding,
    /// What is inside is no IP packet.
    #[error("the next header says neither IPv4 nor IPv6")]
    NextHeader,
    /// There is nothing inside: it was sent to hide how much traffic there is.
    #[error("a dummy packet")]
    Dummy,
    /// A router has marked congestion on what does not know of such marks (RFC 6040 section 4.2).
    #[error("congestion marked on a packet that is not capable of ECN")]
    Congestion,
    /// The device hands over a super-packet of a kind that it was not asked for.
    #[error("a super-packet that cannot be cut")]
    Uncuttable,
    /// The kernel did not take it.
    #[error("the kernel does not take it")]
    Stuck,
}

impl Refused {
    /// All reasons.
    pub const ALL: [Self; 18] = [
        Self::NotIp,
        Self::Oversized,
        Self::Exhausted,
        Self::NoTunnel,
        Self::Selector,
        Self::NoSa,
        Self::UnknownSpi,
        Self::Length,
        Self::Replayed,
        Self::Copied,
        Self::Old,
        Self::Forged,
        Self::Padding,
        Self::NextHeader,
        Self::Dummy,
        Self::Congestion,
        Self::Uncuttable,
        Self::Stuck,
    ];

    /// The name in status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "esp_not_ip",
            Self::Oversized => "esp_oversized",
            Self::Exhausted => "esp_exhausted",
            Self::NoTunnel => "esp_no_tunnel",
            Self::Selector => "esp_selector",
            Self::NoSa => "esp_no_sa",
            Self::UnknownSpi => "esp_unknown_spi",
            Self::Length => "esp_length",
            Self::Replayed => "esp_replayed",
            Self::Copied => "esp_copied",
            Self::Old => "esp_old",
            Self::Forged => "esp_forged",
            Self::Padding => "esp_padding",
            Self::NextHeader => "esp_next_header",
            Self::Dummy => "esp_dummy",
            Self::Congestion => "esp_congestion",
            Self::Uncuttable => "esp_uncuttable",
            Self::Stuck => "esp_stuck",
        }
    }
}

/// How many packets were refused, by reason; several threads count.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refused::ALL.len()]);

impl Refusals {
    /// Counts one packet.
    pub fn add(&self, reason: Refused) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts several packets.
    pub fn add_many(&self, reason: Refused, count: u64) {
        self.0[reason as usize].fetch_add(count, Relaxed);
    }

    /// Returns how many packets were refused for a reason.
    #[must_use]
    pub fn of(&self, reason: Refused) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_name_of_its_own() {
        let refusals = Refusals::default();
        for (at, reason) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            refusals.add(reason);
        }
        assert!(Refused::ALL.iter().all(|reason| refusals.of(*reason) == 1));
        let names: BTreeSet<_> = Refused::ALL.map(Refused::name).into();
        assert_eq!(names.len(), Refused::ALL.len());
    }
}
