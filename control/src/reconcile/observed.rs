use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{
    Key,
    objects::{
        BundleDevice, Direction, EspKey, InterfaceName, Object, Policy, Position, ReqId, Route,
        SecurityAssociation, Suite, SysctlValue,
    },
};
use crate::api::status::SaUsage;

/// What there is in the kernel that bears Withy's mark.
///
/// Settings are an exception: those that are wanted are here too, though nobody has changed them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The objects.
    pub objects: BTreeMap<Key, Seen>,
}

/// An object as the kernel reports it.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A bundle device.
    Bundle(SeenBundle),
    /// A setting.
    Sysctl(SeenSysctl),
    /// An address; its key says everything.
    Address,
    /// A route.
    Route(Route),
    /// A rule; its key says everything.
    Rule,
    /// A security association.
    Association(SeenAssociation),
    /// A policy; none if it is not of the kind that Withy makes.
    Policy(Option<Policy>),
    /// What holds the packets of an interface.
    Pacer(SeenPacer),
}

/// A queueing discipline with Withy's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenPacer {
    /// Whether it holds as many packets as Withy's does.
    pub as_made: bool,
}

/// A veth pair with Withy's Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBundle {
    /// The end into which routes point.
    pub near: BundleEnd,
    /// The other end with its name, unless it is in another namespace.
    pub peer: Option<(InterfaceName, BundleEnd)>,
}

/// One end of the pair.
// They are independent facts, not states of one thing.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleEnd {
    /// The MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it resolves addresses with ARP.
    pub arp: bool,
    /// Whether it bears the alias for people.
    pub aliased: bool,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub link_local: bool,
}

/// A setting with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSysctl {
    /// The value; none if there is no such setting.
    pub current: Option<String>,
    /// The value from before Withy changed it; none if it has not.
    pub original: Option<String>,
}

/// A security association with one of Withy's reqids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenAssociation {
    /// The outer source address.
    pub source: Ipv4Addr,
    /// The reqid.
    pub reqid: ReqId,
    /// Algorithms and key, as far as the kernel tells.
    pub key: SeenKey,
    /// Direction and its properties; none if they are not of the kind that Withy makes.
    pub direction: Option<Direction>,
    /// Its sequence numbers.
    pub position: Position,
    /// Since when it has been there, and how much it has been used; for people.
    pub usage: SaUsage,
}

/// The algorithms and key of a security association, as far as the kernel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenKey {
    /// Known.
    Known(EspKey),
    /// The kernel is locked down and keeps keys to itself.
    Withheld(Suite),
    /// None of Withy's suites.
    Unknown,
}

/// How an object compares with what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Satisfied,
    /// It differs and can be changed in place.
    Differs,
    /// It differs in something that cannot be changed in place.
    Unusable,
}

impl Seen {
    /// Compares the object with what it should be.
    #[must_use]
    pub fn compare(&self, desired: &Object) -> Verdict {
        let (equal, otherwise) = match (self, desired) {
            (Self::Bundle(seen), Object::Bundle(desired)) => return seen.compare(desired),
            (Self::Sysctl(seen), Object::Sysctl(desired)) => {
                (seen.accepted_by(&desired.value), Verdict::Differs)
            }
            (Self::Route(seen), Object::Route(desired)) => (seen == desired, Verdict::Differs),
            (Self::Policy(seen), Object::Policy(desired)) => {
                (seen.as_ref() == Some(desired), Verdict::Differs)
            }
            (Self::Association(seen), Object::Association(desired)) => {
                (seen.equals(desired), Verdict::Unusable)
            }
            (Self::Pacer(seen), Object::Pacer(_)) => (seen.as_made, Verdict::Differs),
            (Self::Address, Object::Address(_)) | (Self::Rule, Object::Rule(_)) => {
                (true, Verdict::Differs)
            }
            // Equal keys are of the same kind.
            _ => (false, Verdict::Unusable),
        };
        if equal { Verdict::Satisfied } else { otherwise }
    }

    /// Whether the object vanishes when that interface does.
    pub(crate) fn lives_on(&self, key: &Key, device: &InterfaceName) -> bool {
        match self {
            Self::Route(route) => route.device() == Some(device),
            _ => key.lives_on(device),
        }
    }
}

impl SeenBundle {
    fn compare(&self, desired: &BundleDevice) -> Verdict {
        let Some((peer, far)) = &self.peer else {
            return Verdict::Unusable;
        };
        if *peer != desired.peer {
            return Verdict::Unusable;
        }
        let good = BundleEnd {
            mtu: desired.mtu.bytes(),
            up: true,
            arp: false,
            aliased: true,
            link_local: false,
        };
        if self.near == good && *far == good {
            Verdict::Satisfied
        } else {
            Verdict::Differs
        }
    }
}

impl SeenSysctl {
    fn accepted_by(&self, value: &SysctlValue) -> bool {
        self.current
            .as_deref()
            .is_some_and(|current| value.accepts(current))
    }
}

impl SeenAssociation {
    fn equals(&self, desired: &SecurityAssociation) -> bool {
        let same_key = match &self.key {
            SeenKey::Known(key) => *key == desired.key,
            // What cannot be compared is taken to be right: replacing it each time would lose
            // packets and start its sequence numbers again.
            SeenKey::Withheld(suite) => *suite == desired.key.suite(),
            SeenKey::Unknown => false,
        };
        same_key
            && self.source == desired.source
            && self.reqid == desired.reqid
            && self.direction == Some(desired.direction)
    }
}
