//! The configuration while it is checked: everything may be missing, everything knows its place.
//!
//! What could not be read has been reported and is `None`; so is what the file leaves out. The
//! checks look at whatever is there, so that one error does not hide another.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    class::Takes,
    key::KeyMaterial,
    keying::{Endpoints, Ivc, Manual, Negotiated, Peer, Rekey, Sa},
    model::{
        EngineChoice, Gateway, Identity, Limits, Link, Metrics, Pacing, Probe, Rates, Receive,
        Resend, Resequence, SplitPolicy, TrafficPolicy, Truth, Tunnel,
    },
    sink::{At, Located},
    value::{
        BundleName, Delay, GatewayName, InterfaceName, LinkName, MetricsListen, Mss, Mtu,
        PeerAddress, Period, Rate, Setting, Spi, Text, TunnelName, Volume,
    },
};
use crate::{
    identity::{PrivateKey, PublicKey},
    suite::Suite,
};

#[derive(Debug, Default)]
pub(super) struct ConfigDraft {
    pub(super) gateway: Option<GatewayDraft>,
    pub(super) links: Vec<LinkDraft>,
    pub(super) bundles: Vec<BundleDraft>,
    pub(super) tunnels: Vec<TunnelDraft>,
}

#[derive(Debug)]
pub(super) struct GatewayDraft {
    pub(super) at: At,
    pub(super) name: Option<Located<GatewayName>>,
    pub(super) lan: Vec<Located<InterfaceName>>,
    pub(super) key_file: Option<Located<String>>,
    pub(super) key: Option<PrivateKey>,
    pub(super) listen: Option<u16>,
    pub(super) pool: Option<Located<Ipv4Net>>,
    /// Whether the file has a pool, if only a bad one.
    pub(super) has_pool: bool,
    pub(super) engine: Option<Located<EngineChoice>>,
    pub(super) svcs: Option<Located<u32>>,
    pub(super) ivcs: Option<Located<u32>>,
    pub(super) metrics: Option<Located<MetricsListen>>,
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
    pub(super) pacing: Option<Located<Pacing>>,
    pub(super) metered: Option<Located<Truth>>,
    pub(super) probe: Option<ProbeDraft>,
}

#[derive(Debug, Default)]
pub(super) struct ProbeDraft {
    pub(super) interval: Option<Located<Delay>>,
    pub(super) idle: Option<Located<Delay>>,
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
    pub(super) resequence: Option<Located<Resequence>>,
    pub(super) resend: Option<Located<Resend>>,
    pub(super) mss: Option<Located<Mss>>,
    pub(super) queue: Option<Located<Delay>>,
    pub(super) policy: Option<Located<TrafficPolicy>>,
    pub(super) classes: Vec<ClassDraft>,
    pub(super) keying: KeyingDraft,
}

#[derive(Debug)]
pub(super) struct ClassDraft {
    pub(super) takes: Option<Located<Takes>>,
    pub(super) policy: Option<Located<TrafficPolicy>>,
}

#[derive(Debug)]
pub(super) enum KeyingDraft {
    Manual(Option<SecurityDraft>),
    Negotiated(NegotiatedDraft),
}

#[derive(Debug, Default)]
pub(super) struct NegotiatedDraft {
    pub(super) peer: Option<PeerDraft>,
    pub(super) suites: Vec<Located<Suite>>,
    pub(super) after: Option<Located<Period>>,
    pub(super) bytes: Option<Located<Volume>>,
    pub(super) replay_window: Option<Located<u32>>,
}

#[derive(Debug)]
pub(super) struct PeerDraft {
    pub(super) key: Option<Located<PublicKey>>,
    pub(super) address: Option<Located<PeerAddress>>,
    /// Whether this gateway opens the tunnel: the file has an address, if only a bad one.
    pub(super) opens: bool,
}

#[derive(Debug)]
pub(super) struct IvcDraft {
    pub(super) at: At,
    pub(super) link: Option<Located<String>>,
    pub(super) remote: Option<Located<Ipv4Addr>>,
    pub(super) rate: Option<Located<Setting<Rate>>>,
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
        let identity = match self.key_file {
            Some(file) => Some(Identity {
                key_file: file.value.into(),
                key: self.key?,
            }),
            None => None,
        };
        Some(Gateway {
            name: self.name?.value,
            lan,
            identity,
            listen: self.listen.unwrap_or(PeerAddress::DEFAULT_PORT),
            pool: value(self.pool),
            engine: value(self.engine).unwrap_or_default(),
            limits,
            metrics: Metrics {
                listen: value(self.metrics).unwrap_or_default(),
            },
        })
    }
}

impl LinkDraft {
    pub(super) fn finish(self) -> Option<(LinkName, Link)> {
        let metered = value(self.metered).is_some_and(|truth| truth.0);
        let link = Link {
            interface: self.interface?.value,
            isp: value(self.isp),
            address: value(self.address).unwrap_or_default(),
            next_hop: value(self.next_hop).unwrap_or_default(),
            rate: self.rate.unwrap_or_default(),
            latency: value(self.latency).unwrap_or(Link::DEFAULT_LATENCY),
            mtu: value(self.mtu).unwrap_or_default(),
            overhead: self.overhead.unwrap_or(Link::DEFAULT_OVERHEAD),
            receive: value(self.receive).unwrap_or_default(),
            pacing: value(self.pacing).unwrap_or_default(),
            metered,
            probe: self.probe.unwrap_or_default().finish(metered),
        };
        Some((self.name?, link))
    }
}

impl ProbeDraft {
    /// The interval between two keepalives, as written or else the default.
    pub(super) fn interval(&self) -> Delay {
        let written = self.interval.as_ref();
        written.map_or(Probe::DEFAULT, |interval| interval.value)
    }

    fn finish(self, metered: bool) -> Probe {
        let interval = self.interval();
        let default = if metered { Probe::METERED } else { interval };
        Probe {
            interval,
            idle: value(self.idle).unwrap_or(default.max(interval)),
        }
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

    pub(super) fn manual(&self) -> Option<&SecurityDraft> {
        match &self.keying {
            KeyingDraft::Manual(security) => security.as_ref(),
            KeyingDraft::Negotiated(_) => None,
        }
    }

    pub(super) fn manual_mut(&mut self) -> Option<&mut SecurityDraft> {
        match &mut self.keying {
            KeyingDraft::Manual(security) => security.as_mut(),
            KeyingDraft::Negotiated(_) => None,
        }
    }

    pub(super) fn negotiated(&self) -> Option<&NegotiatedDraft> {
        match &self.keying {
            KeyingDraft::Manual(_) => None,
            KeyingDraft::Negotiated(negotiated) => Some(negotiated),
        }
    }

    pub(super) fn peer(&self) -> Option<&PeerDraft> {
        self.negotiated()?.peer.as_ref()
    }

    /// Whether the other gateway opens the tunnel.
    pub(super) fn waits(&self) -> bool {
        self.peer().is_some_and(|peer| !peer.opens)
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
    pub(super) fn finish(self, endpoints: Endpoints, ivcs: Vec<Ivc>) -> Option<Manual> {
        Some(Manual {
            endpoints,
            ivcs,
            suite: self.suite?.value,
            outbound: self.outbound?.finish()?,
            inbound: self.inbound?.finish()?,
            replay_window: value(self.replay_window).unwrap_or(Tunnel::KERNEL_REPLAY_WINDOW),
        })
    }
}

impl NegotiatedDraft {
    pub(super) fn finish(self) -> Option<Negotiated> {
        let peer = self.peer?;
        let suites: Vec<Suite> = self.suites.iter().map(|suite| suite.value).collect();
        let default = Rekey::default();
        Some(Negotiated {
            peer: Peer {
                key: peer.key?.value,
                address: value(peer.address),
            },
            suites: if suites.is_empty() {
                Negotiated::DEFAULT_SUITES.to_vec()
            } else {
                suites
            },
            rekey: Rekey {
                after: value(self.after).unwrap_or(default.after),
                bytes: value(self.bytes).unwrap_or(default.bytes),
            },
            replay_window: value(self.replay_window).unwrap_or(Tunnel::KERNEL_REPLAY_WINDOW),
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
