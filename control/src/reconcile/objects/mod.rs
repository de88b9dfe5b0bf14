//! The nouns of the kernel's network configuration, as plain values.
//!
//! They depend neither on the configuration file nor on netlink. A value that exists is one that
//! the kernel can be asked for: lengths, ranges and names are checked when it is made.

mod address;
mod association;
mod bundle;
mod interface;
mod key;
mod pacer;
mod policy;
mod route;
mod rule;
mod sysctl;

pub use crate::suite::Suite;
pub use address::Address;
pub use association::{
    Direction, IllegalReplayWindow, IllegalSpi, Inbound, Outbound, Position, ReplayWindow, ReqId,
    SecurityAssociation, Spi,
};
pub use bundle::{BundleDevice, BundleMtu, IllegalBundleMtu};
pub use interface::{IllegalInterfaceName, InterfaceName};
pub use key::{EspKey, IllegalKeyLength};
pub use pacer::Pacer;
pub use policy::{Policy, PolicyDirection, Template};
pub use route::{Gateway, PathMtu, Route, RouteMetrics, RouteTarget, TABLE_MAIN};
pub use rule::Rule;
pub use sysctl::{IllegalSysctlPath, Sysctl, SysctlPath, SysctlValue};

/// The routing protocol number that marks Withy's routes, rules and addresses
/// (`RTPROT_*`, `FRA_PROTOCOL`, `IFA_PROTO`).
///
/// The kernel keeps it and reports it, and does nothing with it. 87 is assigned neither in
/// `include/uapi/linux/rtnetlink.h` nor in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 87;

/// One object of any kind, with which steps and reports speak about all of them alike.
///
/// The order of the variants is the order in which they are made: each depends only on earlier
/// ones. Removal goes the other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The bundle device.
    Bundle(BundleDevice),
    /// A setting under `/proc/sys`.
    Sysctl(Sysctl),
    /// An address of an interface.
    Address(Address),
    /// A route.
    Route(Route),
    /// A routing rule.
    Rule(Rule),
    /// An IPsec security association, one direction.
    Association(SecurityAssociation),
    /// An IPsec policy.
    Policy(Policy),
    /// What holds the packets of a link until it is their time.
    Pacer(Pacer),
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundle(object) => object.fmt(f),
            Self::Sysctl(object) => object.fmt(f),
            Self::Address(object) => object.fmt(f),
            Self::Route(object) => object.fmt(f),
            Self::Rule(object) => object.fmt(f),
            Self::Association(object) => object.fmt(f),
            Self::Policy(object) => object.fmt(f),
            Self::Pacer(object) => object.fmt(f),
        }
    }
}
