//! What two gateways have agreed on, as the rest of the gateway uses it.

use std::{fmt, net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use zeroize::Zeroizing;

use super::keys::{ConnectionSecret, Way};
use crate::{config::LinkName, suite::Suite, wire::LinkFacts};

/// An SVC that both sides know.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The responder's name for it.
    pub svc: u64,
    /// This gateway's tunnel endpoint.
    pub local: Ipv4Addr,
    /// The other gateway's tunnel endpoint.
    pub remote: Ipv4Addr,
    /// The subnets behind this gateway.
    pub local_subnets: Vec<Ipv4Net>,
    /// The subnets behind the other gateway.
    pub remote_subnets: Vec<Ipv4Net>,
    /// The suite of both directions, by the keys in use.
    pub suite: Suite,
    /// The IVCs.
    pub ivcs: Vec<AgreedIvc>,
    /// The SAs to the other gateway, the one in use last.
    pub outbound: Vec<SaKeys>,
    /// The SAs from the other gateway.
    pub inbound: Vec<SaKeys>,
}

/// An IVC that both sides know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedIvc {
    /// The responder's number for it.
    pub number: u32,
    /// The link at this end.
    pub link: LinkName,
    /// The address at the other end.
    pub remote: Ipv4Addr,
    /// The link at the other end.
    pub facts: LinkFacts,
    /// Whether a control connection goes over it.
    pub connected: bool,
    /// Whether the other side says that its end does not work at the moment.
    pub impaired: bool,
}

/// An SA's name and key.
#[derive(Clone, PartialEq, Eq)]
pub struct SaKeys {
    /// The SPI.
    pub spi: u32,
    /// The suite; those of old keys may have another than the one in use.
    pub suite: Suite,
    /// The key material, as long as the suite says.
    pub material: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaKeys({:#010x}, hidden)", self.spi)
    }
}

/// The keys of both directions that come from one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// How this gateway receives.
    pub(super) inbound: SaKeys,
    /// How this gateway sends.
    pub(super) outbound: SaKeys,
    /// When they were made.
    pub(super) made: Duration,
}

impl Generation {
    /// Derives the keys. `way` is that of what this gateway sends.
    pub(super) fn derive(
        secret: &ConnectionSecret,
        suite: Suite,
        way: Way,
        (inbound, outbound): (u32, u32),
        made: Duration,
    ) -> Self {
        let back = match way {
            Way::ToResponder => Way::ToInitiator,
            Way::ToInitiator => Way::ToResponder,
        };
        let keys = |way, spi| SaKeys {
            spi,
            suite,
            material: secret.esp(suite, way, spi),
        };
        Self {
            inbound: keys(back, inbound),
            outbound: keys(way, outbound),
            made,
        }
    }
}

/// The keys of an SVC over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring {
    /// Received by, but not sent by yet.
    pub(super) next: Option<Generation>,
    /// In use.
    pub(super) current: Option<Generation>,
    /// Received by until the time given.
    old: Vec<(Generation, Duration)>,
}

impl Keyring {
    /// Puts keys in use, and keeps those before for a while.
    pub(super) fn switch(&mut self, generation: Generation, now: Duration) {
        self.next = None;
        let old = self.current.replace(generation);
        self.old.extend(old.map(|old| (old, now + super::OLD_KEYS)));
    }

    /// Takes keys into use that the kernel has from an earlier run.
    pub(super) fn adopt(inbound: SaKeys, outbound: SaKeys, made: Duration) -> Self {
        Self {
            current: Some(Generation {
                inbound,
                outbound,
                made,
            }),
            ..Self::default()
        }
    }

    /// Drops keys that are old enough; returns whether there were any.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let before = self.old.len();
        self.old.retain(|(_, until)| *until > now);
        self.old.len() != before
    }

    /// The SAs by which this gateway sends, the one in use last.
    pub(super) fn outbound(&self) -> Vec<SaKeys> {
        let old = self.old.iter().map(|(old, _)| &old.outbound);
        old.chain(self.current.iter().map(|keys| &keys.outbound))
            .cloned()
            .collect()
    }

    /// The SAs by which this gateway receives.
    pub(super) fn inbound(&self) -> Vec<SaKeys> {
        let old = self.old.iter().map(|(old, _)| &old.inbound);
        old.chain(self.current.iter().map(|keys| &keys.inbound))
            .chain(self.next.iter().map(|keys| &keys.inbound))
            .cloned()
            .collect()
    }

    /// Whether this gateway receives by an SPI.
    pub(super) fn receives(&self, spi: u32) -> bool {
        self.inbound().iter().any(|keys| keys.spi == spi)
    }
}
