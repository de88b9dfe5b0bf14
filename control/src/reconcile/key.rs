use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::objects::{
    Address, Direction, InterfaceName, Object, PolicyDirection, Rule, Spi, SysctlPath, TABLE_MAIN,
};

/// What the kernel tells objects apart by: two objects with equal keys cannot both exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A bundle device, by the end into which routes point.
    Bundle(InterfaceName),
    /// A setting.
    Sysctl(SysctlPath),
    /// An address.
    Address(Address),
    /// A route (`fib_table_insert`; Withy's have no TOS).
    Route {
        /// The routing table.
        table: u32,
        /// Where packets go.
        destination: Ipv4Net,
        /// The priority.
        priority: u32,
    },
    /// A rule.
    Rule(Rule),
    /// A security association.
    Association {
        /// The outer destination address.
        destination: Ipv4Addr,
        /// The index.
        spi: Spi,
    },
    /// A policy (`xfrm_policy_insert`; Withy's have neither mark nor interface).
    Policy {
        /// Where it is asked.
        direction: PolicyDirection,
        /// The inner source addresses.
        source: Ipv4Net,
        /// The inner destination addresses.
        destination: Ipv4Net,
    },
    /// What holds the packets of an interface: it has one queueing discipline at its root.
    Pacer(InterfaceName),
}

impl Key {
    /// The interface with which the object comes and goes.
    pub(crate) fn lives_on(&self, device: &InterfaceName) -> bool {
        match self {
            Self::Bundle(name) | Self::Pacer(name) => name == device,
            Self::Sysctl(path) => path.belongs_to(device),
            Self::Address(address) => address.device == *device,
            // Where a route points is no part of its key: see `Seen::lives_on`.
            Self::Route { .. } | Self::Rule(_) | Self::Association { .. } | Self::Policy { .. } => {
                false
            }
        }
    }
}

impl Object {
    /// What the kernel tells it apart by.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Bundle(bundle) => Key::Bundle(bundle.name.clone()),
            Self::Sysctl(sysctl) => Key::Sysctl(sysctl.path.clone()),
            Self::Address(address) => Key::Address(address.clone()),
            Self::Route(route) => Key::Route {
                table: route.table,
                destination: route.destination,
                priority: route.priority,
            },
            Self::Rule(rule) => Key::Rule(rule.clone()),
            Self::Association(association) => Key::Association {
                destination: association.destination,
                spi: association.spi,
            },
            Self::Policy(policy) => Key::Policy {
                direction: policy.direction,
                source: policy.source,
                destination: policy.destination,
            },
            Self::Pacer(pacer) => Key::Pacer(pacer.device.clone()),
        }
    }

    /// The place of the object in the order of making: it needs only objects of earlier stages.
    ///
    /// A tunnel must be able to decrypt before the other side can be made to encrypt, and both
    /// must be there before a policy asks for them.
    pub(crate) fn stage(&self) -> u8 {
        match self {
            Self::Bundle(_) => 0,
            Self::Sysctl(_) => 1,
            Self::Address(_) => 2,
            Self::Route(_) => 3,
            Self::Rule(_) => 4,
            Self::Association(association) => match association.direction {
                Direction::In(_) => 5,
                Direction::Out(_) => 6,
            },
            Self::Policy(_) => 7,
            Self::Pacer(_) => 8,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(name) => write!(f, "device {name}"),
            Self::Sysctl(path) => write!(f, "sysctl {path}"),
            Self::Address(address) => address.fmt(f),
            Self::Route {
                table: TABLE_MAIN,
                destination,
                ..
            } => write!(f, "route {destination}"),
            Self::Route {
                table, destination, ..
            } => {
                write!(f, "route {destination} table {table}")
            }
            Self::Rule(rule) => rule.fmt(f),
            Self::Association { destination, spi } => {
                write!(f, "association dst {destination} spi {:#010x}", spi.get())
            }
            Self::Policy {
                direction,
                source,
                destination,
            } => {
                write!(f, "policy {direction} src {source} dst {destination}")
            }
            Self::Pacer(device) => write!(f, "qdisc fq dev {device}"),
        }
    }
}
