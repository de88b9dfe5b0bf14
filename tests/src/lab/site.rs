//! A site: a private network with a host on it, and the gateway.

use anyhow::{Context, Result};

use super::{
    addressing::{Lan, Role, mac},
    home::GatewayDirs,
    link::{Link, LinkSpec},
};
use crate::netns::{LinkPlan, Netns, Route, VethEnd};

/// Name of the host's only interface.
pub const HOST_DEVICE: &str = "eth0";

/// Name of the gateway's interface towards its private network.
pub const LAN_DEVICE: &str = "lan0";

/// A site of a routed Internet before it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSpec {
    /// The site's name: letters and digits.
    pub name: String,
    /// The gateway's links.
    pub links: Vec<LinkSpec>,
}

impl SiteSpec {
    /// Describes a site.
    #[must_use]
    pub fn new(name: &str, links: &[LinkSpec]) -> Self {
        Self {
            name: name.to_owned(),
            links: links.to_vec(),
        }
    }
}

/// A site: host, gateway and the gateway's links.
#[derive(Debug)]
pub struct Site {
    name: String,
    host: Netns,
    gateway: Netns,
    lan: Lan,
    dirs: GatewayDirs,
    pub(super) links: Vec<Link>,
}

impl Site {
    /// Creates host and gateway and joins them; the site has no links yet.
    pub(super) fn create(name: &str, number: usize, dirs: GatewayDirs) -> Result<Self> {
        let host = Netns::new(&format!("host-{name}"))?;
        let gateway = Netns::new(&format!("gateway-{name}"))?;
        let lan = Lan::of(number)?;
        let host_end = VethEnd {
            netns: &host,
            name: HOST_DEVICE,
            mac: mac(Role::Host, number, 0)?,
        };
        let lan_end = VethEnd {
            netns: &gateway,
            name: LAN_DEVICE,
            mac: mac(Role::Lan, number, 0)?,
        };
        Netns::join(host_end, lan_end, LinkPlan { mtu: 1500 })?;
        host.add_address(HOST_DEVICE, lan.host, lan.prefix_len)?;
        gateway.add_address(LAN_DEVICE, lan.gateway, lan.prefix_len)?;
        host.set_route(&Route::default(HOST_DEVICE).via(lan.gateway))?;
        // One transfer must not start with what another learnt about the path.
        host.set_sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        Ok(Self {
            name: name.to_owned(),
            host,
            gateway,
            lan,
            dirs,
            links: Vec::new(),
        })
    }

    /// The site's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's namespace.
    #[must_use]
    pub fn host(&self) -> &Netns {
        &self.host
    }

    /// The gateway's namespace.
    #[must_use]
    pub fn gateway(&self) -> &Netns {
        &self.gateway
    }

    /// The private network's addresses.
    #[must_use]
    pub fn lan(&self) -> Lan {
        self.lan
    }

    /// The gateway's directories, inside the lab's mount namespace.
    #[must_use]
    pub fn dirs(&self) -> &GatewayDirs {
        &self.dirs
    }

    /// The gateway's links, in the order given.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Gives the private network Ethernet cards as they are sold: with segmentation and checksums in hardware, and
    /// frames of one stream joined on arrival. Without it every frame there is a packet of its own.
    pub fn offload_lan(&self) -> Result<()> {
        self.host.enable_offloads(HOST_DEVICE)?;
        self.gateway.enable_offloads(LAN_DEVICE)
    }

    /// The link with that interface name.
    pub fn link(&self, name: &str) -> Result<&Link> {
        self.links
            .iter()
            .find(|link| link.name() == name)
            .with_context(|| format!("site {} has no link {name}", self.name))
    }
}
