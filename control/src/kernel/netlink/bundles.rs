use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage,
    },
};

use super::{Link, Netlink, NetlinkError, gone};
use crate::reconcile::{
    BundleEnd, SeenBundle,
    objects::{BundleDevice, BundleMtu, InterfaceName},
};

impl Netlink {
    /// Makes a bundle device, and configures it.
    ///
    /// # Errors
    ///
    /// An interface with one of the names exists, or the kernel refuses for another reason.
    pub async fn create_bundle(&self, bundle: &BundleDevice) -> Result<(), NetlinkError> {
        let mut message = end(&bundle.name, bundle, BundleDevice::MAC);
        let peer = end(&bundle.peer, bundle, BundleDevice::PEER_MAC);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let message = RouteNetlinkMessage::NewLink(message);
        self.execute_route("create a veth pair", NLM_F_CREATE | NLM_F_EXCL, message)
            .await?;
        self.configure_bundle(bundle).await
    }

    /// Gives both ends of a bundle device the properties that they should have.
    ///
    /// # Errors
    ///
    /// An end is missing, or the kernel refuses.
    pub async fn configure_bundle(&self, bundle: &BundleDevice) -> Result<(), NetlinkError> {
        for name in [&bundle.peer, &bundle.name] {
            let link = self
                .link(name)
                .await?
                .ok_or_else(|| NetlinkError::NoInterface(name.clone()))?;
            self.configure_end(&link, bundle.mtu).await?;
        }
        Ok(())
    }

    /// Gives the engine's device the properties that it should have, Withy's mark among them; returns whether it had
    /// others.
    ///
    /// # Errors
    ///
    /// It is missing, or the kernel refuses.
    pub async fn configure_tun(
        &self,
        name: &InterfaceName,
        mtu: BundleMtu,
    ) -> Result<bool, NetlinkError> {
        let link = self.link(name).await?;
        let link = link.ok_or_else(|| NetlinkError::NoInterface(name.clone()))?;
        let end = read_end(&link);
        if end.up && end.aliased && end.mtu == mtu.bytes() && !end.link_local {
            return Ok(false);
        }
        self.configure_end(&link, mtu).await.map(|()| true)
    }

    /// Removes the engine's device if it bears Withy's mark. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_tun(&self, name: &InterfaceName) -> Result<(), NetlinkError> {
        match self.link(name).await? {
            Some(link) if read_end(&link).aliased && !link.ethernet => {
                self.remove_device("remove a TUN device", link.index).await
            }
            _ => Ok(()),
        }
    }

    /// Removes a bundle device, and with it its other end. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_bundle(&self, name: &InterfaceName) -> Result<(), NetlinkError> {
        let Some(link) = self.link(name).await? else {
            return Ok(());
        };
        self.remove_device("remove a veth pair", link.index).await
    }

    async fn remove_device(&self, operation: &'static str, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let message = RouteNetlinkMessage::DelLink(message);
        gone(self.execute_route(operation, 0, message).await)
    }

    async fn configure_end(&self, link: &Link, mtu: BundleMtu) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message
            .attributes
            .push(LinkAttribute::IfAlias(BundleDevice::ALIAS.to_owned()));
        message.attributes.push(LinkAttribute::Mtu(mtu.bytes()));
        // The kernel may have no IPv6, and then refuses to hear of it.
        if link.address_generation.is_some() {
            message
                .attributes
                .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                    vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
                )]));
        }
        self.set_link("configure a device", message).await?;

        // In a message of its own: the kernel applies flags before it applies the address
        // generation mode, and an interface that comes up first gets its link-local address.
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        message.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        self.set_link("set a device up", message).await
    }

    async fn set_link(
        &self,
        operation: &'static str,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        self.execute_route(operation, 0, RouteNetlinkMessage::SetLink(message))
            .await
    }
}

/// Describes one end of a new pair. It stays down until it is configured.
fn end(name: &InterfaceName, bundle: &BundleDevice, mac: [u8; 6]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.as_str().to_owned()));
    message
        .attributes
        .push(LinkAttribute::Address(mac.to_vec()));
    message
        .attributes
        .push(LinkAttribute::Mtu(bundle.mtu.bytes()));
    message
}

/// Finds the bundle devices among all links.
pub(crate) fn find_bundles(links: &BTreeMap<u32, Link>) -> Vec<(InterfaceName, SeenBundle)> {
    links
        .values()
        .filter(|link| link.veth && link.mac == BundleDevice::MAC)
        .map(|link| {
            let peer = link.peer.and_then(|index| links.get(&index));
            let peer = peer.map(|peer| (peer.name.clone(), read_end(peer)));
            (
                link.name.clone(),
                SeenBundle {
                    near: read_end(link),
                    peer,
                },
            )
        })
        .collect()
}

fn read_end(link: &Link) -> BundleEnd {
    BundleEnd {
        mtu: link.mtu,
        up: link.up,
        arp: link.arp,
        aliased: link.alias.as_deref() == Some(BundleDevice::ALIAS),
        link_local: !matches!(link.address_generation, None | Some(In6AddrGenMode::None)),
    }
}
