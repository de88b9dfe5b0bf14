use std::fmt;

use ipnet::Ipv4Net;

use super::InterfaceName;

/// An IPv4 address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface.
    pub device: InterfaceName,
    /// The address with its prefix length: host bits are kept.
    pub address: Ipv4Net,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {} dev {}", self.address, self.device)
    }
}
