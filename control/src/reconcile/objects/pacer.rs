use std::fmt;

use super::InterfaceName;

/// The queueing discipline of a link's interface that lets packets leave at the times that they bear: `fq`, at the root.
///
/// It bears Withy's mark in its handle, and stands where the kernel's own default was, which the kernel puts back when it is removed. So
/// there is nothing to remember, and whoever has put another there keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacer {
    /// The interface.
    pub device: InterfaceName,
}

impl Pacer {
    /// The upper half of its handle (`tc qdisc` shows `5749:`): the letters "WI".
    pub const MAJOR: u16 = 0x5749;
    /// How many packets it holds, of all flows.
    ///
    /// All pieces of an IVC can count as one flow, of which `fq` by itself holds 100 packets: 12 ms at 100 Mbit/s. What is in the queue was
    /// let in by the scheduler, which bounds its time; this is a tenth of a second at 1.2 Gbit/s.
    pub const LIMIT: u32 = 20_000;
    /// How many of one flow.
    pub const FLOW_LIMIT: u32 = 10_000;
    /// The least [`Self::FLOW_LIMIT`] of an `fq` that somebody else has put there, if it is to be relied on.
    pub const LEAST_FLOW_LIMIT: u32 = 1_000;
}

impl fmt::Display for Pacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "qdisc fq {:x}: dev {}", Self::MAJOR, self.device)
    }
}
