//! The SAs of all tunnels, and which packet is whose.
//!
//! A table does not change: where tunnels change a new one is made, which shares the SAs that stay with the old one. So a thread may use
//! the one that it has for as long as it likes.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::Arc,
};

use ipnet::Ipv4Net;
use withy_common::label::Label;

use super::{
    Contained, Content, Opener, Refused, Sealer, Traffic, Unusable,
    inner::{Inner, ipv4_addresses},
    traits::Telling,
};
use crate::{
    config::{Endpoints, Resequence, Subnets, TunnelName},
    reconcile::objects::EspKey,
    vpn::{Running, RunningSa, RunningTunnels},
};

/// The SAs that could not be made.
pub type Failed = Vec<(TunnelName, Unusable)>;

/// What makes an SA the same as one that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    endpoints: Endpoints,
    key: EspKey,
}

/// An SA by its identity.
#[derive(Debug)]
struct Known<T> {
    identity: Identity,
    sa: T,
}

/// The outbound SAs.
#[derive(Debug, Default)]
pub struct Outbound {
    /// The tunnels by the first address of each of their remote subnets, with the last.
    by_remote: BTreeMap<Ipv4Addr, (Ipv4Addr, usize)>,
    tunnels: Vec<Egress>,
    /// The SAs in use by remote endpoint.
    by_endpoint: HashMap<Ipv4Addr, Arc<Known<Sealer>>>,
    sas: HashMap<u32, Arc<Known<Sealer>>>,
}

/// One tunnel, seen from the private network.
#[derive(Debug)]
struct Egress {
    local: Vec<Ipv4Net>,
    /// The one in use.
    sa: Option<Arc<Known<Sealer>>>,
    telling: Telling,
}

impl Outbound {
    /// Makes the table of the tunnels as they run now. SAs that stay go on with their sequence numbers.
    #[must_use]
    pub fn follow(&self, running: &RunningTunnels) -> (Self, Failed) {
        let (mut new, mut failed) = (Self::default(), Failed::new());
        for (name, tunnel) in running {
            for subnet in &tunnel.subnets.remote {
                let place = (subnet.broadcast(), new.tunnels.len());
                new.by_remote.insert(subnet.network(), place);
            }
            let mut in_use = None;
            for sa in &tunnel.outbound {
                let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
                let make = || Sealer::new(local, remote, sa.spi, &sa.key);
                match keep(self.sas.get(&sa.spi.get()), tunnel, sa, make) {
                    Ok(known) => {
                        new.sas.insert(sa.spi.get(), Arc::clone(&known));
                        in_use = Some(known);
                    }
                    Err(unusable) => failed.push((name.clone(), unusable)),
                }
            }
            if let Some(known) = &in_use {
                let known = Arc::clone(known);
                new.by_endpoint.insert(tunnel.endpoints.remote, known);
            }
            new.tunnels.push(Egress {
                local: tunnel.subnets.local.clone(),
                sa: in_use,
                telling: Telling::of(tunnel),
            });
        }
        (new, failed)
    }

    /// Finds the SA in use of the tunnel to a packet's destination, and what the packet is taken for. It may be a super-packet; those that
    /// it stands for have `longest` bytes at the most.
    ///
    /// # Errors
    ///
    /// It must not leave.
    pub fn find(&self, packet: &[u8], longest: usize) -> Result<(&Sealer, Label), Refused> {
        Inner::read(packet)?;
        let (source, destination) = ipv4_addresses(packet).ok_or(Refused::NoTunnel)?;
        let (_, (last, tunnel)) = self
            .by_remote
            .range(..=destination)
            .next_back()
            .ok_or(Refused::NoTunnel)?;
        if destination > *last {
            return Err(Refused::NoTunnel);
        }
        let tunnel = &self.tunnels[*tunnel];
        if !tunnel.local.iter().any(|net| net.contains(&source)) {
            return Err(Refused::Selector);
        }
        let known = tunnel.sa.as_ref().ok_or(Refused::NoSa)?;
        Ok((&known.sa, tunnel.telling.label(packet, longest)))
    }

    /// The SA in use of the tunnel to a remote endpoint.
    #[must_use]
    pub fn towards(&self, remote: Ipv4Addr) -> Option<&Sealer> {
        self.by_endpoint.get(&remote).map(|known| &known.sa)
    }

    /// Whether there is an SA with this SPI.
    #[must_use]
    pub fn has(&self, spi: u32) -> bool {
        self.sas.contains_key(&spi)
    }

    /// What went through an SA.
    #[must_use]
    pub fn traffic(&self, spi: u32) -> Option<Traffic> {
        self.sas.get(&spi).map(|known| known.sa.traffic())
    }
}

/// The inbound SAs, by SPI.
#[derive(Debug, Default)]
pub struct Inbound {
    sas: HashMap<u32, Ingress>,
}

/// One inbound SA, and what may be inside its packets.
#[derive(Debug)]
struct Ingress {
    tunnel: TunnelName,
    known: Arc<Known<Opener>>,
    subnets: Arc<Subnets>,
    resequence: Resequence,
    ivcs: usize,
    telling: Arc<Telling>,
}

impl Ingress {
    /// A packet that comes again is a copy where there are any. A replay is the same in every bit, and no harm is done by either.
    fn refused(&self, refused: Refused) -> Refused {
        match refused {
            Refused::Replayed if self.telling.expects_copies() => Refused::Copied,
            _ => refused,
        }
    }
}

/// What was inside an ESP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it is, and where it lies.
    pub content: Content,
    /// The sequence number of the ESP packet, in full.
    pub number: u64,
    /// The SA's SPI.
    pub spi: u32,
    /// The tunnel's remote endpoint.
    pub remote: Ipv4Addr,
    /// Whether its tunnel's packets are put back in order.
    pub resequence: Resequence,
    /// How many IVCs its tunnel has.
    pub ivcs: usize,
    /// Whether it waits for those before it.
    pub waits: bool,
}

impl Inbound {
    /// Makes the table of the tunnels as they run now. SAs that stay keep their anti-replay windows.
    #[must_use]
    pub fn follow(&self, running: &RunningTunnels) -> (Self, Failed) {
        let (mut new, mut failed) = (Self::default(), Failed::new());
        for (name, tunnel) in running {
            let subnets = Arc::new(tunnel.subnets.clone());
            let telling = Arc::new(Telling::of(tunnel));
            for sa in &tunnel.inbound {
                let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
                let make = || Opener::new(remote, local, sa.spi, &sa.key, tunnel.replay_window);
                let old = self.sas.get(&sa.spi.get()).map(|ingress| &ingress.known);
                match keep(old, tunnel, sa, make) {
                    Ok(known) => {
                        let subnets = Arc::clone(&subnets);
                        let ingress = Ingress {
                            tunnel: name.clone(),
                            known,
                            subnets,
                            resequence: tunnel.resequence,
                            ivcs: tunnel.ivcs.len(),
                            telling: Arc::clone(&telling),
                        };
                        new.sas.insert(sa.spi.get(), ingress);
                    }
                    Err(unusable) => failed.push((name.clone(), unusable)),
                }
            }
        }
        (new, failed)
    }

    /// Opens an ESP packet in place.
    ///
    /// # Errors
    ///
    /// It is not believed, or its content is none of its tunnel's.
    pub fn open(&self, packet: &mut [u8]) -> Result<Opened, Refused> {
        let spi = Opener::spi_of(packet).ok_or(Refused::Length)?;
        let ingress = self.sas.get(&spi).ok_or(Refused::UnknownSpi)?;
        let opened = ingress.known.sa.open_any(packet);
        let Contained { number, content } = opened.map_err(|refused| ingress.refused(refused))?;
        let mut waits = true;
        if let Content::Packet(inner) = &content {
            let inner = &packet[inner.clone()];
            ingress.select(inner)?;
            waits = ingress.telling.waits(inner);
        }
        Ok(Opened {
            content,
            number,
            spi,
            remote: ingress.known.identity.endpoints.remote,
            resequence: ingress.resequence,
            ivcs: ingress.ivcs,
            waits,
        })
    }

    /// The tunnel of the SA with this SPI, if there is one.
    #[must_use]
    pub fn tunnel(&self, spi: u32) -> Option<&TunnelName> {
        self.sas.get(&spi).map(|ingress| &ingress.tunnel)
    }

    /// The tunnels that have SAs, once for each.
    pub fn tunnels(&self) -> impl Iterator<Item = &TunnelName> {
        self.sas.values().map(|ingress| &ingress.tunnel)
    }

    /// The remote endpoint of the tunnel whose SA has this SPI.
    #[must_use]
    pub fn remote(&self, spi: u32) -> Option<Ipv4Addr> {
        let ingress = self.sas.get(&spi)?;
        Some(ingress.known.identity.endpoints.remote)
    }

    /// What went through an SA.
    #[must_use]
    pub fn traffic(&self, spi: u32) -> Option<Traffic> {
        self.sas.get(&spi).map(|ingress| ingress.known.sa.traffic())
    }
}

impl Ingress {
    /// Checks that a packet is one of the tunnel's.
    fn select(&self, packet: &[u8]) -> Result<(), Refused> {
        let (source, destination) = ipv4_addresses(packet).ok_or(Refused::NoTunnel)?;
        let within = |subnets: &[Ipv4Net], address| subnets.iter().any(|net| net.contains(address));
        let Subnets { local, remote } = &*self.subnets;
        if !within(remote, &source) || !within(local, &destination) {
            return Err(Refused::Selector);
        }
        Ok(())
    }
}

/// The SA that is there already, if it is the same, or a new one.
fn keep<T>(
    old: Option<&Arc<Known<T>>>,
    tunnel: &Running,
    sa: &RunningSa,
    make: impl FnOnce() -> Result<T, Unusable>,
) -> Result<Arc<Known<T>>, Unusable> {
    let identity = Identity {
        endpoints: tunnel.endpoints,
        key: sa.key.clone(),
    };
    match old.filter(|known| known.identity == identity) {
        Some(known) => Ok(Arc::clone(known)),
        None => Ok(Arc::new(Known {
            sa: make()?,
            identity,
        })),
    }
}

#[cfg(test)]
pub(crate) mod tests;
