//! How the ends of a tunnel, its IVCs and its keys come about.

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Serialize, Serializer};

use super::{
    key::KeyMaterial,
    value::{Delay, LinkName, Mtu, PeerAddress, Period, Rate, Setting, Spi, Volume},
};
use crate::{identity::PublicKey, suite::Suite};

/// How the ends of a tunnel, its IVCs and its keys come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keying {
    /// The operator writes everything down.
    Manual(Manual),
    /// The gateways settle it between them.
    Negotiated(Negotiated),
}

/// ESP with manual keys. Extended sequence numbers (RFC 4303 section 2.2.1) are always on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manual {
    /// The virtual addresses of the two ends of the SVC.
    pub endpoints: Endpoints,
    /// The IVCs, 1 to [`Tunnel::MAX_IVCS`](super::Tunnel::MAX_IVCS); no pair of link and remote
    /// address occurs twice in a configuration.
    pub ivcs: Vec<Ivc>,
    /// The suite of both directions.
    pub suite: Suite,
    /// The SA towards the other gateway.
    pub outbound: Sa,
    /// The SA from the other gateway.
    pub inbound: Sa,
    /// The anti-replay window in packets, 32 to 65,536; the kernel's engine takes 4096 at most.
    pub replay_window: u32,
}

/// What this gateway brings to the negotiation of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The other gateway.
    pub peer: Peer,
    /// The suites that are good enough: at least one, none twice, the best one first.
    pub suites: Vec<Suite>,
    /// When new keys are made.
    pub rekey: Rekey,
    /// The anti-replay window in packets, 32 to 65,536; the kernel's engine takes 4096 at most.
    pub replay_window: u32,
}

impl Negotiated {
    /// The suites where the configuration has none.
    pub const DEFAULT_SUITES: [Suite; 2] = [Suite::AesGcm256, Suite::ChaCha20Poly1305];
}

/// The other gateway of a negotiated tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its public key; of no other tunnel's peer, and not this gateway's own.
    pub key: PublicKey,
    /// Where it listens, if this gateway opens the tunnel; else this one waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<PeerAddress>,
}

/// When the keys of a negotiated tunnel are replaced: at whatever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rekey {
    /// After so much time.
    pub after: Period,
    /// After so much traffic in one direction.
    pub bytes: Volume,
}

/// The virtual addresses of an SVC's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Endpoints {
    /// This gateway's; tunnels of a gateway may share it.
    pub local: Ipv4Addr,
    /// The other gateway's; of this tunnel alone.
    pub remote: Ipv4Addr,
}

/// A pair of link addresses that carries a tunnel's packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ivc {
    /// The link of this gateway, one of the tunnel's bundle.
    pub link: LinkName,
    /// The address of the other gateway's link.
    pub remote: Ipv4Addr,
    /// The rate towards the other gateway; the link's rate up where the file says nothing.
    pub rate: Setting<Rate>,
    /// The one-way latency; the link's where the file says nothing.
    pub latency: Delay,
    /// The path's MTU; the link's where the file says nothing.
    pub mtu: Setting<Mtu>,
}

/// One direction of a tunnel's ESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sa {
    /// The SPI; of this SA alone.
    pub spi: Spi,
    /// The key's file as the configuration names it.
    pub key_file: PathBuf,
    /// The key; no other SA has it.
    #[serde(skip)]
    pub key: KeyMaterial,
}

/// The fields of a tunnel that are about its keying, as they stand in a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Manual {
        endpoints: Endpoints,
        ivcs: &'a [Ivc],
        security: Section<'a>,
    },
    Negotiated {
        peer: &'a Peer,
        security: Section<'a>,
    },
}

/// The section `security`.
#[derive(Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
enum Section<'a> {
    Manual {
        suite: Suite,
        outbound: &'a Sa,
        inbound: &'a Sa,
        replay_window: u32,
    },
    Negotiated {
        suites: &'a [Suite],
        rekey: Rekey,
        replay_window: u32,
    },
}

impl Serialize for Keying {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = match self {
            Self::Manual(manual) => Fields::Manual {
                endpoints: manual.endpoints,
                ivcs: &manual.ivcs,
                security: Section::Manual {
                    suite: manual.suite,
                    outbound: &manual.outbound,
                    inbound: &manual.inbound,
                    replay_window: manual.replay_window,
                },
            },
            Self::Negotiated(negotiated) => Fields::Negotiated {
                peer: &negotiated.peer,
                security: Section::Negotiated {
                    suites: &negotiated.suites,
                    rekey: negotiated.rekey,
                    replay_window: negotiated.replay_window,
                },
            },
        };
        fields.serialize(serializer)
    }
}
