use std::{collections::BTreeMap, net::IpAddr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{
        AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
    },
};

use super::{Link, Netlink, NetlinkError, gone};
use crate::reconcile::objects::{Address, PROTOCOL};

/// An IPv4 address as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenAddress {
    /// The number of the interface.
    pub(crate) index: u32,
    /// The address.
    pub(crate) address: Ipv4Net,
    /// Whether it can be used beyond the link.
    pub(crate) global: bool,
    /// Whether another address of the same subnet came before it.
    pub(crate) secondary: bool,
    /// Whether Withy has set it.
    pub(crate) ours: bool,
}

impl Netlink {
    /// Reads all IPv4 addresses, in the kernel's order: primary ones first on each interface.
    pub(crate) async fn ipv4_addresses(&self) -> Result<Vec<SeenAddress>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetAddress(request);
        let answer = self.dump_route("list addresses", request).await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => read_address(&address),
                _ => None,
            })
            .collect())
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    ///
    /// The interface is missing or has the address already, or the kernel refuses.
    pub async fn add_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewAddress(self.address_message(address).await?);
        self.execute_route("add an address", NLM_F_CREATE | NLM_F_EXCL, message)
            .await
    }

    /// Takes an address from an interface. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let message = match self.address_message(address).await {
            Ok(message) => RouteNetlinkMessage::DelAddress(message),
            Err(error) => return gone(Err(error)),
        };
        gone(self.execute_route("remove an address", 0, message).await)
    }

    async fn address_message(&self, address: &Address) -> Result<AddressMessage, NetlinkError> {
        let ip = IpAddr::V4(address.address.addr());
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = address.address.prefix_len();
        message.header.index = self.index_of(&address.device).await?;
        message.attributes.push(AddressAttribute::Local(ip));
        message.attributes.push(AddressAttribute::Address(ip));
        message
            .attributes
            .push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        Ok(message)
    }
}

/// Picks Withy's addresses.
pub(crate) fn find_addresses(seen: &[SeenAddress], links: &BTreeMap<u32, Link>) -> Vec<Address> {
    seen.iter()
        .filter(|address| address.ours)
        .filter_map(|address| {
            let device = links.get(&address.index)?.name.clone();
            Some(Address {
                device,
                address: address.address,
            })
        })
        .collect()
}

fn read_address(message: &AddressMessage) -> Option<SeenAddress> {
    let (mut local, mut ours) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point line `Address` is the other end's.
            AddressAttribute::Local(IpAddr::V4(ip)) => local = Some(*ip),
            AddressAttribute::Protocol(protocol) => {
                ours = *protocol == AddressProtocol::Other(PROTOCOL);
            }
            _ => {}
        }
    }
    Some(SeenAddress {
        index: message.header.index,
        address: Ipv4Net::new(local?, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe,
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
        ours,
    })
}
