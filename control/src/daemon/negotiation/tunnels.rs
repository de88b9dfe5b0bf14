//! From the configuration to the machines of `session`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use ipnet::Ipv4Net;

use crate::{
    config::{Config, Keying, Negotiated, Tunnel, TunnelName},
    identity::PublicKey,
    session::{Initiator, Profile, Responder, Role},
};

/// The tunnel endpoints that gateways which this one waits for have, by tunnel.
pub(super) type Assigned = BTreeMap<TunnelName, Ipv4Addr>;

/// The machines of all negotiated tunnels.
pub(super) fn roles(config: &Config, assigned: &Assigned) -> Vec<Role> {
    let mut pool = Pool::new(config, assigned);
    negotiated(config)
        .filter_map(|(name, tunnel, keying)| {
            let profile = profile(config, name, tunnel, keying);
            if let Some(there) = keying.peer.address {
                let target = SocketAddrV4::new(there.address, there.port);
                return Some(Role::Initiator(Box::new(Initiator::new(profile, target))));
            }
            let endpoints = pool.take(name, &keying.peer.key)?;
            let responder = Responder::new(profile, config.gateway.listen, endpoints);
            Some(Role::Responder(Box::new(responder)))
        })
        .collect()
}

/// The keys of the gateways that this one waits for.
pub(super) fn initiators(config: &Config) -> BTreeSet<PublicKey> {
    negotiated(config)
        .filter(|(.., keying)| keying.peer.address.is_none())
        .map(|(.., keying)| keying.peer.key)
        .collect()
}

fn negotiated(config: &Config) -> impl Iterator<Item = (&TunnelName, &Tunnel, &Negotiated)> {
    config
        .tunnels
        .iter()
        .filter_map(|(name, tunnel)| match &tunnel.keying {
            Keying::Negotiated(keying) => Some((name, tunnel, keying)),
            Keying::Manual(_) => None,
        })
}

fn profile(config: &Config, name: &TunnelName, tunnel: &Tunnel, keying: &Negotiated) -> Profile {
    Profile {
        gateway: config.gateway.name.to_string(),
        tunnel: name.clone(),
        peer: keying.peer.key,
        local: tunnel.subnets.local.clone(),
        remote: tunnel.subnets.remote.clone(),
        suites: keying.suites.clone(),
        split: tunnel.split,
        rekey_after: keying.rekey.after.duration(),
        rekey_bytes: keying.rekey.bytes.bytes(),
    }
}

/// The endpoint addresses that this gateway hands out. A peer gets the same one whenever that is possible.
struct Pool {
    net: Option<Ipv4Net>,
    taken: BTreeMap<Ipv4Addr, Option<TunnelName>>,
}

impl Pool {
    fn new(config: &Config, assigned: &Assigned) -> Self {
        let waits = |name: &TunnelName| {
            negotiated(config)
                .any(|(other, _, keying)| other == name && keying.peer.address.is_none())
        };
        Self {
            net: config.gateway.pool,
            taken: assigned
                .iter()
                .filter(|(name, _)| waits(name))
                .map(|(name, endpoint)| (*endpoint, Some(name.clone())))
                .collect(),
        }
    }

    /// This gateway's endpoint and the peer's.
    fn take(&mut self, name: &TunnelName, peer: &PublicKey) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let net = self.net?;
        let local = net.hosts().next()?;
        let first = u32::from(local) + 1;
        let count = u32::from(net.broadcast())
            .checked_sub(first)
            .filter(|count| *count > 0)?;
        let mine = self
            .taken
            .iter()
            .find(|(_, owner)| owner.as_ref() == Some(name));
        if let Some((address, _)) =
            mine.filter(|(address, _)| net.contains(*address) && **address != local)
        {
            return Some((local, *address));
        }
        let [a, b, c, d, ..] = *peer.as_bytes();
        let begin = u32::from_be_bytes([a, b, c, d]) % count;
        let free = (0..count)
            .map(|step| Ipv4Addr::from(first + (begin + step) % count))
            .find(|address| !self.taken.contains_key(address))?;
        self.taken.insert(free, None);
        Some((local, free))
    }
}
