use std::fmt;

use ipnet::Ipv4Net;

/// A routing rule: packets from these addresses are routed by this table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Rules are tried from the smallest up; 0, 32766 and 32767 are the kernel's own.
    pub priority: u32,
    /// The source addresses.
    pub from: Ipv4Net,
    /// The routing table.
    pub table: u32,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rule priority {} from {} table {}",
            self.priority, self.from, self.table
        )
    }
}
