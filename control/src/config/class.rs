//! The classes of a tunnel's traffic.

use serde::Serialize;
use withy_common::{classes::Match, label::Policy};

use super::{Dscp, PortRange, Protocol, TrafficPolicy};

/// A class of a tunnel's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// What is of the class.
    #[serde(rename = "match")]
    pub takes: Takes,
    /// By which IVCs it goes.
    pub policy: TrafficPolicy,
}

/// What a class takes: packets for which all that is stated holds. Something is stated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Takes {
    /// One of these code points; any if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dscp: Vec<Dscp>,
    /// One of these protocols; any if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<Protocol>,
    /// One of these ports at either end; any, and packets without, if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Of these lengths; any if nothing is stated.
    #[serde(skip_serializing_if = "Sizes::is_any")]
    pub size: Sizes,
}

/// Lengths of IP packets in bytes, with both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The shortest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u16>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u16>,
}

impl Sizes {
    /// Whether it is any length.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Both ends.
    #[must_use]
    pub fn ends(self) -> (u16, u16) {
        (self.at_least.unwrap_or(0), self.at_most.unwrap_or(u16::MAX))
    }
}

impl Takes {
    /// Whether nothing is stated.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this takes everything that another takes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T>(here: &[T], there: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            let covered = |there| here.iter().any(|here| covers(here, there));
            here.is_empty() || !there.is_empty() && there.iter().all(covered)
        }
        let (here, there) = (self.size.ends(), other.size.ends());
        all(&self.dscp, &other.dscp, PartialEq::eq)
            && all(&self.protocol, &other.protocol, PartialEq::eq)
            && all(&self.ports, &other.ports, |here, there| here.covers(*there))
            && here.0 <= there.0
            && there.1 <= here.1
    }
}

impl From<&Takes> for Match {
    fn from(takes: &Takes) -> Self {
        Self {
            dscp: takes.dscp.iter().map(|dscp| dscp.get()).collect(),
            protocols: takes
                .protocol
                .iter()
                .map(|protocol| protocol.get())
                .collect(),
            ports: takes.ports.iter().map(|range| range.ends()).collect(),
            sizes: (!takes.size.is_any()).then(|| takes.size.ends()),
        }
    }
}

impl From<TrafficPolicy> for Policy {
    fn from(policy: TrafficPolicy) -> Self {
        match policy {
            TrafficPolicy::Aggregate => Self::Aggregate,
            TrafficPolicy::LowestLatency => Self::LowestLatency,
            TrafficPolicy::Redundant => Self::Redundant,
            TrafficPolicy::Sticky => Self::Sticky,
        }
    }
}
