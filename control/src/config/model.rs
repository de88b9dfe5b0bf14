//! The validated configuration.
//!
//! Serialised, it is a configuration file again that reads as the same model; keys are never
//! serialised, only the names of their files.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{
    class::Class,
    keying::{Keying, Manual, Negotiated},
    value::{
        BundleName, Delay, GatewayName, InterfaceName, LinkName, MetricsListen, Mss, Mtu, Rate,
        Setting, Text, TunnelName, ValueError,
    },
};
use crate::{esp, identity::PrivateKey, reconcile::objects::ReplayWindow};

/// The configuration of one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The machine itself.
    pub gateway: Gateway,
    /// The connections to the public network.
    pub links: BTreeMap<LinkName, Link>,
    /// The groups of links that tunnels may use. Each names only links of [`Config::links`].
    pub bundles: BTreeMap<BundleName, Bundle>,
    /// The tunnels to other gateways. Each names a bundle of [`Config::bundles`].
    pub tunnels: BTreeMap<TunnelName, Tunnel>,
}

impl Config {
    /// The tunnels whose replay window is larger than any that the kernel's engine has.
    pub fn wide_windows(&self) -> impl Iterator<Item = &TunnelName> {
        let wide = |tunnel: &Tunnel| tunnel.replay_window() > Tunnel::KERNEL_REPLAY_WINDOW;
        let tunnels = self.tunnels.iter();
        tunnels.filter_map(move |(name, tunnel)| wide(tunnel).then_some(name))
    }
}

/// The gateway itself and its private side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// The gateway's name.
    pub name: GatewayName,
    /// The interfaces of the private network: at least one, none twice, none of a link.
    pub lan: Vec<InterfaceName>,
    /// Who the gateway is; there if any tunnel is negotiated.
    #[serde(flatten)]
    pub identity: Option<Identity>,
    /// The TCP port for gateways that open tunnels to this one.
    pub listen: u16,
    /// The tunnel endpoints that this gateway hands out, /30 or larger, apart from all other
    /// addresses of the file; there if any tunnel is opened by the other gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Ipv4Net>,
    /// What seals and opens the packets of tunnels.
    pub engine: EngineChoice,
    /// The sizes of the data path's maps.
    pub limits: Limits,
    /// Figures for Prometheus.
    pub metrics: Metrics,
}

/// Figures for Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Metrics {
    /// Where they are served.
    pub listen: MetricsListen,
}

/// What a gateway proves to others who it is with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The key's file as the configuration names it.
    pub key_file: PathBuf,
    /// The private key.
    #[serde(skip)]
    pub key: PrivateKey,
}

/// The sizes of the data path's maps, 1 to 65536 entries each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// How many SVCs (far gateways) there can be.
    pub svcs: u32,
    /// How many IVCs there can be in all.
    pub ivcs: u32,
}

impl Limits {
    /// The largest size of either map.
    pub const MAX: u32 = 65_536;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            svcs: 4096,
            ivcs: 4096,
        }
    }
}

/// One connection between the gateway and the public network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The interface; no other link's, and not of the LAN.
    pub interface: InterfaceName,
    /// Who provides the link, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isp: Option<Text>,
    /// The link's address; `auto`: the interface's own, followed when it changes.
    pub address: Setting<Ipv4Addr>,
    /// The next hop; `auto`: the gateway of the interface's default route.
    pub next_hop: Setting<Ipv4Addr>,
    /// The link's rates.
    pub rate: Rates,
    /// The one-way latency to the far end, queues empty, until it is measured.
    pub latency: Delay,
    /// The largest IP packet that the link carries; `auto`: the interface's MTU.
    pub mtu: Setting<Mtu>,
    /// What each packet costs on the link beneath IP, in bytes.
    pub overhead: u8,
    /// Where packets from this link are received.
    pub receive: Receive,
    /// Whether packets leave at the link's rate.
    pub pacing: Pacing,
    /// Whether the link is paid by the byte.
    pub metered: bool,
    /// How often the link's IVCs are probed.
    pub probe: Probe,
}

/// How often IVCs are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The time between two keepalives, at least [`Probe::MIN`].
    pub interval: Delay,
    /// The time between two keepalives while no data flows, at least [`Probe::interval`].
    pub idle: Delay,
}

impl Probe {
    /// The shortest time between two keepalives: 20 ms.
    pub const MIN: Delay = delay(20_000);
    /// The time between two keepalives where the configuration has none: 100 ms.
    pub const DEFAULT: Delay = delay(100_000);
    /// The time between two keepalives while no data flows on a metered link, where the configuration has none: 5 s.
    pub const METERED: Delay = delay(5_000_000);
}

/// A delay that is in range.
const fn delay(micros: u64) -> Delay {
    match Delay::from_micros(micros) {
        Some(delay) => delay,
        None => Delay::MAX,
    }
}

impl Link {
    /// The overhead where the configuration has none: an Ethernet header, in bytes.
    pub const DEFAULT_OVERHEAD: u8 = 14;
    /// The latency until it is measured, where the configuration has none: 20 ms.
    pub const DEFAULT_LATENCY: Delay = delay(20_000);
}

/// The most that a link carries, seen from the gateway; `auto`: what it turns out to carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// To the public network.
    pub up: Setting<Rate>,
    /// From the public network.
    pub down: Setting<Rate>,
}

/// A group of links that a tunnel may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bundle {
    /// The links: at least one, none twice.
    pub links: Vec<LinkName>,
}

/// The VPN between this gateway's private network and another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// What the tunnel is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// The links that the tunnel may use.
    pub bundle: BundleName,
    /// The two private networks. No subnet overlaps another of them.
    pub subnets: Subnets,
    /// When packets are split.
    pub split: SplitPolicy,
    /// What TCP's MSS is clamped to; already decided where the file says nothing.
    pub mss: Mss,
    /// The bound of each IVC's virtual queue.
    pub queue: Delay,
    /// Whether packets that arrive are put back in order.
    pub resequence: Resequence,
    /// By which IVCs its packets go that are of none of the classes.
    pub policy: TrafficPolicy,
    /// The classes of its packets, of which the first counts that takes a packet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// Whether what links lose is sent again.
    pub resend: Resend,
    /// How its ends, IVCs and keys come about.
    #[serde(flatten)]
    pub keying: Keying,
}

impl Tunnel {
    /// Returns what the operator wrote down, if that is all there is.
    #[must_use]
    pub fn manual(&self) -> Option<&Manual> {
        match &self.keying {
            Keying::Manual(manual) => Some(manual),
            Keying::Negotiated(_) => None,
        }
    }

    /// Returns what goes into the negotiation, if there is one.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match &self.keying {
            Keying::Manual(_) => None,
            Keying::Negotiated(negotiated) => Some(negotiated),
        }
    }

    /// Returns the anti-replay window in packets.
    #[must_use]
    pub fn replay_window(&self) -> u32 {
        match &self.keying {
            Keying::Manual(manual) => manual.replay_window,
            Keying::Negotiated(negotiated) => negotiated.replay_window,
        }
    }

    /// The largest replay window in packets: that of Withy's own engine.
    pub const MAX_REPLAY_WINDOW: u32 = esp::MAX_WINDOW;
    /// The kernel's largest replay window in packets, and the default.
    pub const KERNEL_REPLAY_WINDOW: u32 = ReplayWindow::MAX.packets();
    /// The smallest replay window in packets: what RFC 4303 section 3.4.3 demands.
    pub const MIN_REPLAY_WINDOW: u32 = 32;
    /// The most IVCs of one tunnel.
    pub const MAX_IVCS: usize = 16;
    /// The most subnets of one tunnel on either side. The kernel takes three policies for each
    /// pair of them.
    pub const MAX_SUBNETS: usize = 64;
    /// The smallest bound of an IVC's virtual queue: 1 ms.
    pub const MIN_QUEUE: Delay = delay(1_000);
    /// The bound of an IVC's virtual queue where the configuration has none: 100 ms.
    pub const DEFAULT_QUEUE: Delay = delay(100_000);
}

/// The private networks of a tunnel, at least one subnet each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subnets {
    /// Behind this gateway.
    pub local: Vec<Ipv4Net>,
    /// Behind the other gateway.
    pub remote: Vec<Ipv4Net>,
}

/// When packets are split over IVCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitPolicy {
    /// As `always` where that makes packets arrive noticeably sooner and hardly anything waits, as `mtu` elsewhere.
    Auto,
    /// Only packets that fit no IVC whole, into as few pieces as possible.
    #[default]
    Mtu,
    /// Also packets that would fit, so that the pieces arrive together.
    Always,
    /// Never; hosts are told the smaller MTU.
    WholeOnly,
}

/// Whether a tunnel's packets are put back in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resequence {
    /// While more of them come out of order than TCP bears.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// By which IVCs packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficPolicy {
    /// Each by the one by which it arrives first.
    #[default]
    Aggregate,
    /// The same, and other packets make way.
    LowestLatency,
    /// By two.
    Redundant,
    /// All of a flow by one.
    Sticky,
}

/// Whether what a tunnel's links lose is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resend {
    /// While so much is lost by chance that TCP suffers.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Where a link's packets are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receive {
    /// XDP where the interface's driver has it, else TC.
    #[default]
    Auto,
    /// Native XDP.
    Xdp,
    /// TC ingress.
    Tc,
}

/// Whether packets leave at their link's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// Where the kernel has `fq`, and nobody has given the interface another queueing discipline.
    #[default]
    Auto,
    /// They leave as they come.
    Off,
}

/// What seals and opens the packets of tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// The kernel where its ESP works, else Withy's own engine.
    #[default]
    Auto,
    /// The kernel.
    Kernel,
    /// Withy's own engine.
    Userspace,
}

macro_rules! choice {
    ($type:ident, $what:literal, $($word:literal => $variant:ident),+) => {
        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(ValueError::unknown_choice(text, $what, &[$($word),+])),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }
    };
}

/// `true` or `false`, as YAML 1.2 has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Truth(pub(crate) bool);

impl FromStr for Truth {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err(ValueError::unknown_choice(
                text,
                "a truth value",
                &["true", "false"],
            )),
        }
    }
}

choice!(SplitPolicy, "a split policy", "auto" => Auto, "mtu" => Mtu, "always" => Always, "whole-only" => WholeOnly);
choice!(EngineChoice, "an IPsec engine", "auto" => Auto, "kernel" => Kernel, "userspace" => Userspace);
choice!(Resequence, "a way to keep order", "auto" => Auto, "on" => On, "off" => Off);
choice!(TrafficPolicy, "a policy", "aggregate" => Aggregate, "lowest-latency" => LowestLatency, "redundant" => Redundant, "sticky" => Sticky);
choice!(Resend, "a way to treat losses", "auto" => Auto, "off" => Off);
choice!(Pacing, "a way to pace", "auto" => Auto, "off" => Off);
choice!(Receive, "a way to receive", "auto" => Auto, "xdp" => Xdp, "tc" => Tc);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_serialise_as_they_read() {
        for word in ["mtu", "always", "whole-only"] {
            let policy: SplitPolicy = word.parse().expect("a legal word");
            assert_eq!(policy.to_string(), word);
            assert_eq!(serde_yaml::to_string(&policy).expect("a text").trim(), word);
        }
        for word in ["auto", "on", "off"] {
            let resequence: Resequence = word.parse().expect("a legal word");
            assert_eq!(resequence.to_string(), word);
        }
        for word in ["aggregate", "lowest-latency", "redundant", "sticky"] {
            let policy: TrafficPolicy = word.parse().expect("a legal word");
            assert_eq!(policy.to_string(), word);
            assert_eq!(serde_yaml::to_string(&policy).expect("a text").trim(), word);
        }
        for word in ["auto", "off"] {
            let resend: Resend = word.parse().expect("a legal word");
            assert_eq!(resend.to_string(), word);
            let pacing: Pacing = word.parse().expect("a legal word");
            assert_eq!(pacing.to_string(), word);
        }
        for word in ["auto", "xdp", "tc"] {
            let receive: Receive = word.parse().expect("a legal word");
            assert_eq!(receive.to_string(), word);
            assert_eq!(
                serde_yaml::to_string(&receive).expect("a text").trim(),
                word
            );
        }
    }
}
