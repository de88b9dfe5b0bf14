//! What the link manager needs to know about interfaces.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::netlink::{Netlink, NetlinkError, RootQueue};
use crate::reconcile::objects::InterfaceName;

/// An interface, its addresses and its way out.
// They are independent facts, not states of one thing.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// The kernel's number for the interface.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
    /// Whether it is administratively up and packets can pass.
    pub up: bool,
    /// The MTU in bytes.
    pub mtu: u32,
    /// Whether its frames have Ethernet headers.
    pub ethernet: bool,
    /// Whether the kernel itself makes it (veth, VLAN, bridge and so on), and no device is behind it.
    pub software: bool,
    /// Whether it is one end of a line with one other end (PPP, for one): no next hop is needed.
    pub point_to_point: bool,
    /// The addresses that can be used beyond the link; the primary ones come first.
    pub addresses: Vec<Ipv4Net>,
    /// The next hop of the best default route in the main table that leaves by this interface.
    pub default_gateway: Option<Ipv4Addr>,
    /// What holds its packets, if the kernel tells of anything.
    pub queue: Option<RootQueue>,
}

impl Netlink {
    /// Reads the facts about all interfaces.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or an answer cannot be read.
    pub async fn link_facts(&self) -> Result<BTreeMap<InterfaceName, LinkFacts>, NetlinkError> {
        let links = self.links().await?;
        let mut addresses = self.ipv4_addresses().await?;
        // A stable sort keeps the kernel's order otherwise.
        addresses.sort_by_key(|address| address.secondary);
        let mut defaults = self.default_routes().await?;
        defaults.sort_by_key(|route| route.priority);
        let queues = self.root_queues().await?;

        Ok(links
            .into_values()
            .map(|link| {
                let addresses = addresses
                    .iter()
                    .filter(|address| address.index == link.index && address.global)
                    .map(|address| address.address)
                    .collect();
                let default = defaults.iter().find(|route| route.index == link.index);
                let facts = LinkFacts {
                    index: link.index,
                    name: link.name.clone(),
                    up: link.up && link.operational,
                    mtu: link.mtu,
                    ethernet: link.ethernet,
                    software: link.software,
                    point_to_point: link.point_to_point,
                    addresses,
                    default_gateway: default.and_then(|route| route.gateway),
                    queue: (queues.iter().find(|queue| queue.index == link.index)).cloned(),
                };
                (link.name, facts)
            })
            .collect())
    }
}
