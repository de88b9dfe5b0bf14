//! The SAs of all tunnels, and which packet is whose.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    ops::Range,
    sync::Arc,
};

use ipnet::Ipv4Net;

use super::{
    Opener, Refusals, Refused, Sealer, Traffic, Unusable,
    inner::{Inner, ipv4_addresses},
    layout::HEADROOM,
};
use crate::{
    config::{Endpoints, Subnets, TunnelName},
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
    refusals: Refusals,
}

/// One tunnel, seen from the private network.
#[derive(Debug)]
struct Egress {
    local: Vec<Ipv4Net>,
    remote: Ipv4Addr,
    /// Those that are there, by SPI, the one in use last.
    sas: Vec<(u32, Known<Sealer>)>,
}

impl Outbound {
    /// Takes the tunnels as they run now. SAs that stay go on with their sequence numbers.
    pub fn set(&mut self, running: &RunningTunnels) -> Failed {
        let mut failed = Failed::new();
        let old = std::mem::take(&mut self.tunnels);
        let mut old: HashMap<_, _> = old.into_iter().flat_map(|tunnel| tunnel.sas).collect();
        self.by_remote.clear();
        for (name, tunnel) in running {
            for subnet in &tunnel.subnets.remote {
                let place = (subnet.broadcast(), self.tunnels.len());
                self.by_remote.insert(subnet.network(), place);
            }
            let mut sas = Vec::new();
            for sa in &tunnel.outbound {
                let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
                let make = || Sealer::new(local, remote, sa.spi, &sa.key);
                match keep(old.remove(&sa.spi.get()), tunnel, sa, make) {
                    Ok(known) => sas.push((sa.spi.get(), known)),
                    Err(unusable) => failed.push((name.clone(), unusable)),
                }
            }
            self.tunnels.push(Egress {
                local: tunnel.subnets.local.clone(),
                remote: tunnel.endpoints.remote,
                sas,
            });
        }
        failed
    }

    /// Seals the packet of `length` bytes that lies [`HEADROOM`] bytes behind the buffer's beginning, with the SA in use of the tunnel to
    /// its destination. Returns the ESP packet's length, and the endpoint that it goes to.
    ///
    /// # Errors
    ///
    /// It must not leave; that is counted.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize) -> Result<(usize, Ipv4Addr), Refused> {
        let sealed = self.try_seal(buffer, length);
        sealed.inspect_err(|reason| self.refusals.add(*reason))
    }

    fn try_seal(&mut self, buffer: &mut [u8], length: usize) -> Result<(usize, Ipv4Addr), Refused> {
        let packet = buffer.get(HEADROOM..HEADROOM + length);
        let (source, destination) = selectors(packet.ok_or(Refused::Oversized)?)?;
        let (_, (last, tunnel)) = self
            .by_remote
            .range(..=destination)
            .next_back()
            .ok_or(Refused::NoTunnel)?;
        if destination > *last {
            return Err(Refused::NoTunnel);
        }
        let tunnel = &mut self.tunnels[*tunnel];
        if !tunnel.local.iter().any(|net| net.contains(&source)) {
            return Err(Refused::Selector);
        }
        let (_, known) = tunnel.sas.last_mut().ok_or(Refused::NoSa)?;
        Ok((known.sa.seal(buffer, length)?, tunnel.remote))
    }

    /// Counts a packet that got stuck behind it.
    pub fn count(&mut self, reason: Refused) {
        self.refusals.add(reason);
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What went through each SA, by SPI.
    pub fn traffic(&self) -> impl Iterator<Item = (u32, Traffic)> + '_ {
        let sas = self.tunnels.iter().flat_map(|tunnel| &tunnel.sas);
        sas.map(|(spi, known)| (*spi, known.sa.traffic()))
    }
}

/// The inbound SAs, by SPI.
#[derive(Debug, Default)]
pub struct Inbound {
    sas: HashMap<u32, Ingress>,
    refusals: Refusals,
}

/// One inbound SA, and what may be inside its packets.
#[derive(Debug)]
struct Ingress {
    known: Known<Opener>,
    subnets: Arc<Subnets>,
}

impl Inbound {
    /// Takes the tunnels as they run now. SAs that stay keep their anti-replay windows.
    pub fn set(&mut self, running: &RunningTunnels) -> Failed {
        let mut failed = Failed::new();
        let mut old = std::mem::take(&mut self.sas);
        for (name, tunnel) in running {
            let subnets = Arc::new(tunnel.subnets.clone());
            for sa in &tunnel.inbound {
                let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
                let make = || Opener::new(remote, local, sa.spi, &sa.key, tunnel.replay_window);
                let old = old.remove(&sa.spi.get()).map(|ingress| ingress.known);
                match keep(old, tunnel, sa, make) {
                    Ok(known) => {
                        let subnets = Arc::clone(&subnets);
                        self.sas.insert(sa.spi.get(), Ingress { known, subnets });
                    }
                    Err(unusable) => failed.push((name.clone(), unusable)),
                }
            }
        }
        failed
    }

    /// Opens an ESP packet in place; returns where the packet lies that was inside.
    ///
    /// # Errors
    ///
    /// It is not believed, or its content is none of its tunnel's; that is counted.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Range<usize>, Refused> {
        let opened = self.try_open(packet);
        opened.inspect_err(|reason| self.refusals.add(*reason))
    }

    fn try_open(&mut self, packet: &mut [u8]) -> Result<Range<usize>, Refused> {
        let spi = Opener::spi_of(packet).ok_or(Refused::Length)?;
        let ingress = self.sas.get_mut(&spi).ok_or(Refused::UnknownSpi)?;
        let inner = ingress.known.sa.open(packet)?;
        let (source, destination) = selectors(&packet[inner.clone()])?;
        let within = |subnets: &[Ipv4Net], address| subnets.iter().any(|net| net.contains(address));
        let subnets = &ingress.subnets;
        if !within(&subnets.remote, &source) || !within(&subnets.local, &destination) {
            return Err(Refused::Selector);
        }
        Ok(inner)
    }

    /// Counts a packet that got stuck behind it.
    pub fn count(&mut self, reason: Refused) {
        self.refusals.add(reason);
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What went through each SA, by SPI.
    pub fn traffic(&self) -> impl Iterator<Item = (u32, Traffic)> + '_ {
        let sas = self.sas.iter();
        sas.map(|(spi, ingress)| (*spi, ingress.known.sa.traffic()))
    }
}

/// The addresses by which a packet belongs to a tunnel or not.
fn selectors(packet: &[u8]) -> Result<(Ipv4Addr, Ipv4Addr), Refused> {
    Inner::read(packet)?;
    ipv4_addresses(packet).ok_or(Refused::NoTunnel)
}

/// The SA that is there already, if it is the same, or a new one.
fn keep<T>(
    old: Option<Known<T>>,
    tunnel: &Running,
    sa: &RunningSa,
    make: impl FnOnce() -> Result<T, Unusable>,
) -> Result<Known<T>, Unusable> {
    let identity = Identity {
        endpoints: tunnel.endpoints,
        key: sa.key.clone(),
    };
    match old.filter(|known| known.identity == identity) {
        Some(known) => Ok(known),
        None => Ok(Known {
            sa: make()?,
            identity,
        }),
    }
}

#[cfg(test)]
mod tests;
