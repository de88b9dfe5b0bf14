//! The configuration while it is checked: everything may be missing, everything knows its place.
//!
//! What could not be read has been reported and is `None`; so is what the file leaves out. The
//! checks look at whatever is there, so that one error does not hide another.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    key::KeyMaterial,
    model::{Endpoints, Gateway, Ivc, Limits, Link, Manual, Rates, Receive, Sa, SplitPolicy},
    sink::{At, Located},
    value::{
        BundleName, Delay, GatewayName, InterfaceName, LinkName, Mss, Mtu, Rate, Setting, Spi,
        Text, TunnelName,
    },
};
use crate::suite::Suite;

#[derive(Debug, Default)]
pub(super) struct ConfigDraft {
    pub(super) gateway: Option<GatewayDraft>,
    pub(super) links: Vec<LinkDraft>,
    pub(super) bundles: Vec<BundleDraft>,
    pub(super) tunnels: Vec<TunnelDraft>,
}

#[derive(Debug)]
pub(super) struct GatewayDraft {
    pub(super) name: Option<Located<GatewayName>>,
    pub(super) lan: Vec<Located<InterfaceName>>,
    pub(super) svcs: Option<Located<u32>>,
    pub(super) ivcs: Option<Located<u32>>,
}

#[derive(Debug)]
pub(super) struct LinkDraft {
    /// The key as written, so that references to a link with a bad name find it.
    pub(super) key: Located<String>,
    pub(super) name: Option<LinkName>,
    pub(super) interface: Option<Located<InterfaceName>>,
    pub(super) isp: Option<Located<Text>>,
    pub(super) address: Option<Located<Setting<Ipv4Addr>>>,
    pub(super) next_hop: Option<Located<Setting<Ipv4Addr>>>,
    pub(super) rate: Option<Rates>,
    pub(super) latency: Option<Located<Delay>>,
    pub(super) mtu: Option<Located<Setting<Mtu>>>,
    pub(super) overhead: Option<u8>,
    pub(super) receive: Option<Located<Receive>>,
}

#[derive(Debug)]
pub(super) struct BundleDraft {
    pub(super) key: Located<String>,
    pub(super) name: Option<BundleName>,
    pub(super) links: Vec<Located<String>>,
}

#[derive(Debug)]
pub(super) struct TunnelDraft {
    pub(super) key: Located<String>,
    pub(super) name: Option<TunnelName>,
    pub(super) description: Option<Located<Text>>,
    pub(super) bundle: Option<Located<String>>,
    pub(super) local_endpoint: Option<Located<Ipv4Addr>>,
    pub(super) remote_endpoint: Option<Located<Ipv4Addr>>,
    pub(super) local_subnets: Vec<Located<Ipv4Net>>,
    pub(super) remote_subnets: Vec<Located<Ipv4Net>>,
    pub(super) ivcs: Vec<IvcDraft>,
    pub(super) split: Option<Located<SplitPolicy>>,
    pub(super) mss: Option<Located<Mss>>,
    pub(super) queue: Option<Located<Delay>>,
    pub(super) security: Option<SecurityDraft>,
}

#[derive(Debug)]
pub(super) struct IvcDraft {
    pub(super) at: At,
    pub(super) link: Option<Located<String>>,
    pub(super) remote: Option<Located<Ipv4Addr>>,
    pub(super) rate: Option<Located<Rate>>,
    pub(super) latency: Option<Located<Delay>>,
    pub(super) mtu: Option<Located<Setting<Mtu>>>,
}

#[derive(Debug)]
pub(super) struct SecurityDraft {
    pub(super) suite: Option<Located<Suite>>,
    pub(super) outbound: Option<SaDraft>,
    pub(super) inbound: Option<SaDraft>,
    pub(super) replay_window: Option<Located<u32>>,
}

#[derive(Debug)]
pub(super) struct SaDraft {
    pub(super) spi: Option<Located<Spi>>,
    pub(super) key_file: Option<Located<String>>,
    pub(super) key: Option<KeyMaterial>,
}

impl GatewayDraft {
    pub(super) fn limits(&self) -> Limits {
        let default = Limits::default();
        let or =
            |limit: &Option<Located<u32>>, default| limit.as_ref().map_or(default, |l| l.value);
        Limits {
            svcs: or(&self.svcs, default.svcs),
            ivcs: or(&self.ivcs, default.ivcs),
        }
    }

    pub(super) fn finish(self) -> Option<Gateway> {
        let limits = self.limits();
        let lan = self
            .lan
            .into_iter()
            .map(|interface| interface.value)
            .collect();
        Some(Gateway {
            name: self.name?.value,
            lan,
            limits,
        })
    }
}

impl LinkDraft {
    pub(super) fn finish(self) -> Option<(LinkName, Link)> {
        let link = Link {
            interface: self.interface?.value,
            isp: value(self.isp),
            address: value(self.address).unwrap_or_default(),
            next_hop: value(self.next_hop).unwrap_or_default(),
            rate: self.rate?,
            latency: self.latency?.value,
            mtu: value(self.mtu).unwrap_or_default(),
            overhead: self.overhead.unwrap_or(Link::DEFAULT_OVERHEAD),
            receive: value(self.receive).unwrap_or_default(),
        };
        Some((self.name?, link))
    }
}

impl TunnelDraft {
    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        let local = self.local_endpoint.as_ref()?.value;
        Some(Endpoints {
            local,
            remote: self.remote_endpoint.as_ref()?.value,
        })
    }
}

impl IvcDraft {
    /// Fills in what the file leaves to the link.
    pub(super) fn finish(self, name: LinkName, link: &Link) -> Option<Ivc> {
        Some(Ivc {
            link: name,
            remote: self.remote?.value,
            rate: value(self.rate).unwrap_or(link.rate.up),
            latency: value(self.latency).unwrap_or(link.latency),
            mtu: value(self.mtu).unwrap_or(link.mtu),
        })
    }
}

impl SecurityDraft {
    pub(super) fn finish(self) -> Option<Manual> {
        Some(Manual {
            suite: self.suite?.value,
            outbound: self.outbound?.finish()?,
            inbound: self.inbound?.finish()?,
            replay_window: value(self.replay_window).unwrap_or(Manual::MAX_REPLAY_WINDOW),
        })
    }
}

impl SaDraft {
    fn finish(self) -> Option<Sa> {
        let key_file = self.key_file?.value.into();
        Some(Sa {
            spi: self.spi?.value,
            key_file,
            key: self.key?,
        })
    }
}

pub(super) fn value<T>(located: Option<Located<T>>) -> Option<T> {
    located.map(|located| located.value)
}
