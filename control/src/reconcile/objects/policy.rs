use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::ReqId;

/// An IPsec policy: which inner packets must be, or must have been, in which tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where in the kernel's path it is asked.
    pub direction: PolicyDirection,
    /// The inner source addresses.
    pub source: Ipv4Net,
    /// The inner destination addresses.
    pub destination: Ipv4Net,
    /// The tunnel.
    pub template: Template,
    /// Among policies that match the smallest wins.
    pub priority: u32,
}

/// Where in the kernel's path a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyDirection {
    /// For packets that arrived and are for the gateway itself.
    In,
    /// For packets that arrived and are passed on.
    Forward,
    /// For packets that leave, whoever sent them.
    Out,
}

/// The tunnel that a policy asks for: ESP in tunnel mode between two tunnel endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The outer source address.
    pub source: Ipv4Addr,
    /// The outer destination address.
    pub destination: Ipv4Addr,
    /// Ties the policy to its security associations.
    pub reqid: ReqId,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            source,
            destination,
            template,
            priority,
        } = self;
        write!(
            f,
            "policy {direction} src {source} dst {destination} tunnel {} to {} reqid {} priority \
             {priority}",
            template.source,
            template.destination,
            template.reqid.to_kernel(),
        )
    }
}

impl fmt::Display for PolicyDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Forward => "fwd",
            Self::Out => "out",
        })
    }
}
