use std::collections::BTreeMap;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask,
        LinkFlags, LinkInfo, LinkLayerType, LinkMessage, State,
    },
};
use rustix::io::Errno;

use super::{Netlink, NetlinkError};
use crate::reconcile::objects::InterfaceName;

/// An interface as the kernel reports it.
// They are independent facts, not states of one thing.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether packets can pass: the carrier is there, and the operational state (RFC 2863) is
    /// "up", or "unknown" for drivers that report none.
    pub operational: bool,
    /// Whether its frames have Ethernet headers.
    pub ethernet: bool,
    /// Whether the kernel itself makes it (`IFLA_INFO_KIND`: veth, VLAN, bridge and so on).
    pub software: bool,
    /// Whether it is one end of a line with one other end (PPP, for one).
    pub point_to_point: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// The MTU in bytes.
    pub mtu: u32,
    pub(super) arp: bool,
    pub(super) alias: Option<String>,
    pub(super) mac: Vec<u8>,
    pub(super) veth: bool,
    /// The index of the other end of a veth pair in the same namespace.
    pub(super) peer: Option<u32>,
    /// How the kernel makes link-local IPv6 addresses; none where there is no IPv6.
    pub(super) address_generation: Option<In6AddrGenMode>,
}

impl Netlink {
    /// Reads all interfaces, by their numbers.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or the answer cannot be read.
    pub async fn links(&self) -> Result<BTreeMap<u32, Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes.push(without_statistics());
        let answer = self
            .dump_route("list links", RouteNetlinkMessage::GetLink(request))
            .await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => read_link(link),
                _ => None,
            })
            .map(|link| (link.index, link))
            .collect())
    }

    /// Reads one interface; none if there is none of that name.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or the answer cannot be read.
    pub async fn link(&self, name: &InterfaceName) -> Result<Option<Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request
            .attributes
            .push(LinkAttribute::IfName(name.as_str().to_owned()));
        request.attributes.push(without_statistics());
        let request = RouteNetlinkMessage::GetLink(request);
        match self.route.lock().await.get("look up a link", request).await {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(read_link(link)),
            Ok(_) => Ok(None),
            Err(error) if error.refused_with(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks up an interface's number.
    pub(super) async fn index_of(&self, name: &InterfaceName) -> Result<u32, NetlinkError> {
        match self.link(name).await? {
            Some(link) => Ok(link.index),
            None => Err(NetlinkError::NoInterface(name.clone())),
        }
    }
}

/// Keeps the counters of each interface, most of its size, out of the answer.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn read_link(message: LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: InterfaceName::new("?").ok()?,
        up: flags.contains(LinkFlags::Up),
        operational: false,
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        software: false,
        point_to_point: flags.contains(LinkFlags::Pointopoint),
        loopback: flags.contains(LinkFlags::Loopback),
        mtu: 0,
        arp: !flags.contains(LinkFlags::Noarp),
        alias: None,
        mac: Vec::new(),
        veth: false,
        peer: None,
        address_generation: None,
    };
    let (mut named, mut state, mut peer_is_elsewhere) = (false, State::Unknown, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => {
                link.name = InterfaceName::new(name).ok()?;
                named = true;
            }
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::OperState(reported) => state = reported,
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => peer_is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                link.software = infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
                link.veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            LinkAttribute::AfSpecUnspec(families) => {
                link.address_generation = read_address_generation(&families);
            }
            _ => {}
        }
    }
    if peer_is_elsewhere || !link.veth {
        link.peer = None;
    }
    // The carrier's loss shows at once; that it is back counts when the kernel has put the queues
    // in place (`linkwatch_do_dev`), which the state tells, unless the driver reports none.
    link.operational =
        flags.contains(LinkFlags::LowerUp) && matches!(state, State::Up | State::Unknown);
    named.then_some(link)
}

fn read_address_generation(families: &[AfSpecUnspec]) -> Option<In6AddrGenMode> {
    families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => {
            attributes.iter().find_map(|attribute| match attribute {
                AfSpecInet6::AddrGenMode(mode) => Some(*mode),
                _ => None,
            })
        }
        _ => None,
    })
}
