//! Devices of a namespace.

use std::{net::Ipv4Addr, os::fd::AsRawFd};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use netlink_packet_route::{
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::NeighbourState,
};
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec};

use super::Netns;
use crate::sys::device::{Offload, set_offload};

/// What a card may do for the kernel, from what builds on others to what others build on.
const OFFLOADS: [Offload; 6] = [
    Offload::TcpSegmentation,
    Offload::GenericSegmentation,
    Offload::GenericReceive,
    Offload::ScatterGather,
    Offload::TransmitChecksum,
    Offload::ReceiveChecksum,
];

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Where the end lives.
    pub netns: &'a Netns,
    /// The device's name there.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// What both ends of a veth pair have in common.
#[derive(Clone, Copy, Debug)]
pub struct LinkPlan {
    /// Largest IP packet, in bytes.
    pub mtu: u32,
}

/// Totals of a device since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent, Ethernet headers included.
    pub tx_bytes: u64,
    /// Frames that the device could not take in.
    pub rx_dropped: u64,
    /// Frames that the device did not send.
    pub tx_dropped: u64,
}

impl Netns {
    /// Joins two namespaces with a veth pair, both ends up and without offloads.
    ///
    /// Offloads are off because the lab must see packets as they would be on a wire: with
    /// segmentation offload a veth hands on "packets" of up to 64 KB, which a link emulator or
    /// netem would count, delay and drop as one, and with checksum offload TCP and UDP checksums
    /// are left to a card that does not exist.
    pub fn join(left: VethEnd<'_>, right: VethEnd<'_>, plan: LinkPlan) -> Result<()> {
        let mut message = end_message(&left, plan);
        let peer = InfoData::Veth(InfoVeth::Peer(end_message(&right, plan)));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(peer),
        ]));
        left.netns
            .netlink(async |handle| Ok(handle.link().add(message).execute().await?))
            .with_context(|| format!("cannot make the veth pair {}, {}", left.name, right.name))?;
        for end in [left, right] {
            end.netns.disable_offloads(end.name)?;
            end.netns.set_up(end.name)?;
        }
        Ok(())
    }

    /// Turns every offload off that would let the lab see anything but packets of the wire.
    pub(crate) fn disable_offloads(&self, device: &str) -> Result<()> {
        self.enter(|| {
            for offload in OFFLOADS {
                set_offload(device, offload, false)
                    .with_context(|| format!("cannot turn {offload:?} off on {device}"))?;
            }
            Ok(())
        })
    }

    /// Turns the offloads on that Ethernet cards have and drivers turn on by themselves.
    pub(crate) fn enable_offloads(&self, device: &str) -> Result<()> {
        self.enter(|| {
            // Segmentation asks for scattered buffers, and those for checksums.
            for offload in OFFLOADS.into_iter().rev() {
                set_offload(device, offload, true)
                    .with_context(|| format!("cannot turn {offload:?} on on {device}"))?;
            }
            Ok(())
        })
    }

    /// Returns the index of a device.
    pub fn link_index(&self, device: &str) -> Result<u32> {
        Ok(self.link_message(device)?.header.index)
    }

    /// Returns whether the namespace has a device of that name.
    pub fn has_link(&self, device: &str) -> Result<bool> {
        self.netlink(async |handle| {
            let links: Vec<_> = handle.link().get().execute().try_collect().await?;
            Ok(links.iter().any(|link| named(link, device)))
        })
    }

    fn link_message(&self, device: &str) -> Result<LinkMessage> {
        self.netlink(async |handle| {
            let mut links = handle.link().get().match_name(device.to_owned()).execute();
            match links.try_next().await {
                Ok(Some(link)) => Ok(link),
                Ok(None) => bail!("the kernel gave no answer"),
                Err(error) => Err(error.into()),
            }
        })
        .with_context(|| format!("cannot look up the device {device}"))
    }

    /// Sets a device up.
    pub fn set_up(&self, device: &str) -> Result<()> {
        self.set_link(device, LinkMessageBuilder::up)
    }

    /// Sets a device down. Its addresses stay, its routes go.
    pub fn set_down(&self, device: &str) -> Result<()> {
        self.set_link(device, LinkMessageBuilder::down)
    }

    /// Changes a device's MTU, in bytes.
    pub fn set_mtu(&self, device: &str, mtu: u32) -> Result<()> {
        self.set_link(device, |change| change.mtu(mtu))
    }

    /// Lets a device send without asking for Ethernet addresses (`IFF_NOARP`).
    pub(crate) fn set_noarp(&self, device: &str) -> Result<()> {
        self.set_link(device, |change| change.arp(false))
    }

    fn set_link(
        &self,
        device: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec> + Send,
    ) -> Result<()> {
        let index = self.link_index(device)?;
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.netlink(async |handle| Ok(handle.link().set(message).execute().await?))
            .with_context(|| format!("cannot change the device {device}"))
    }

    /// Deletes a device; of a veth pair, both ends.
    pub fn delete_link(&self, device: &str) -> Result<()> {
        let index = self.link_index(device)?;
        self.netlink(async |handle| Ok(handle.link().del(index).execute().await?))
            .with_context(|| format!("cannot delete the device {device}"))
    }

    /// States the Ethernet address of a neighbour, so that none has to be asked for it.
    pub fn set_neighbour(&self, device: &str, address: Ipv4Addr, mac: [u8; 6]) -> Result<()> {
        let index = self.link_index(device)?;
        self.netlink(async |handle| {
            let neighbours = handle.neighbours();
            let neighbour = neighbours.add(index, address.into()).replace();
            let neighbour = neighbour.link_layer_address(&mac);
            Ok(neighbour.state(NeighbourState::Permanent).execute().await?)
        })
        .with_context(|| format!("cannot state the neighbour {address} at {device}"))
    }

    /// Gives a device an IPv4 address.
    pub fn add_address(&self, device: &str, address: Ipv4Addr, prefix_len: u8) -> Result<()> {
        let index = self.link_index(device)?;
        self.netlink(async |handle| {
            Ok(handle
                .address()
                .add(index, address.into(), prefix_len)
                .execute()
                .await?)
        })
        .with_context(|| format!("cannot add {address}/{prefix_len} to {device}"))
    }

    /// Takes an IPv4 address from a device.
    pub fn delete_address(&self, device: &str, address: Ipv4Addr, prefix_len: u8) -> Result<()> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(self.link_index(device)?)
            .address(address, prefix_len)
            .build();
        self.netlink(async |handle| Ok(handle.address().del(message).execute().await?))
            .with_context(|| format!("cannot delete {address}/{prefix_len} from {device}"))
    }

    /// Reads a device's totals.
    pub fn counters(&self, device: &str) -> Result<Counters> {
        let message = self.link_message(device)?;
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(Counters {
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_bytes,
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_bytes,
                    rx_dropped: stats.rx_dropped,
                    tx_dropped: stats.tx_dropped,
                }),
                _ => None,
            })
            .with_context(|| format!("{device} reports no counters"))
    }

    /// Returns whether a device is administratively up.
    pub fn is_up(&self, device: &str) -> Result<bool> {
        Ok(self
            .link_message(device)?
            .header
            .flags
            .contains(LinkFlags::Up))
    }
}

fn end_message(end: &VethEnd<'_>, plan: LinkPlan) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(end.name.to_owned()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::Address(end.mac.to_vec()),
        // Both ends name their namespace, so that neither depends on where the request is sent.
        LinkAttribute::NetNsFd(end.netns.descriptor.as_raw_fd()),
    ];
    message
}

fn named(link: &LinkMessage, device: &str) -> bool {
    link.attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::IfName(name) if name == device))
}
