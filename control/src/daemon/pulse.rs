//! Keepalives, sent and heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::debug;
use withy_common::keepalive::Keepalive;

use super::events::Events;
use crate::{
    api::event::{self, What},
    bundle::{IvcId, Slots, ident},
    config::LinkName,
    kernel::raw::LinkSocket,
    link::{Interface, Links},
    liveness::{Liveness, Message, Rejected, TunnelKeys},
    vpn::{Running, RunningTunnels},
};

/// The keepalives of a gateway.
pub(super) struct Pulse {
    events: Events,
    begun: Instant,
    liveness: Liveness,
    sockets: BTreeMap<LinkName, (Interface, Ipv4Addr, LinkSocket)>,
    keys: BTreeMap<Ipv4Addr, TunnelKeys>,
    silent: BTreeSet<IvcId>,
    /// The time in the last message sent.
    time: u64,
    /// How many keepalives were not believed.
    pub(super) rejected: u64,
}

impl Pulse {
    /// Begins with no tunnel.
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            begun: Instant::now(),
            liveness: Liveness::default(),
            sockets: BTreeMap::new(),
            keys: BTreeMap::new(),
            silent: BTreeSet::new(),
            time: 0,
            rejected: 0,
        }
    }

    /// Learns which tunnels run: their keys and IVCs. What is known of IVCs that stay is kept.
    pub(super) fn set(&mut self, running: &RunningTunnels) {
        self.keys = running
            .values()
            .map(|tunnel| (tunnel.endpoints.remote, keys(tunnel)))
            .collect();
        let ids = running
            .values()
            .flat_map(|tunnel| tunnel.ivcs.iter().map(|ivc| ident(tunnel, ivc)))
            .collect();
        self.silent = self.silent.intersection(&ids).cloned().collect();
        self.liveness.set(&ids, self.begun.elapsed());
    }

    /// The IVCs that are silent.
    pub(super) fn silent(&self) -> &BTreeSet<IvcId> {
        &self.silent
    }

    /// Takes in what came, judges, and sends; returns whether another set of IVCs is silent now.
    pub(super) fn beat(
        &mut self,
        running: &RunningTunnels,
        links: &Links,
        slots: &Slots,
        came: Vec<Keepalive>,
    ) -> bool {
        let now = self.begun.elapsed();
        for keepalive in came {
            if let Err(rejected) = self.hear(links, slots, &keepalive, now) {
                self.rejected += 1;
                debug!(%rejected, "a keepalive is not believed");
            }
        }
        let silent = self.liveness.silent(now);
        for id in silent.difference(&self.silent) {
            self.events.tell(What::IvcSilent(shown(running, id)));
        }
        for id in self.silent.difference(&silent) {
            self.events.tell(What::IvcBack(shown(running, id)));
        }
        self.send(running, links, now);
        std::mem::replace(&mut self.silent, silent) != self.silent
    }

    fn hear(
        &mut self,
        links: &Links,
        slots: &Slots,
        keepalive: &Keepalive,
        now: Duration,
    ) -> Result<(), Rejected> {
        let id = slots.owner(keepalive.counters).ok_or(Rejected::Unknown)?;
        let local = links
            .get(&id.1)
            .and_then(|link| link.address)
            .ok_or(Rejected::Unknown)?;
        let keys = self.keys.get(&id.0).ok_or(Rejected::Unknown)?;
        let message = keys.open(&keepalive.bytes, id.2, local)?;
        self.liveness.heard(id, message, now)
    }

    fn send(&mut self, running: &RunningTunnels, links: &Links, now: Duration) {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.time = u64::try_from(clock.as_nanos())
            .unwrap_or(u64::MAX)
            .max(self.time + 1);
        self.open_sockets(links);
        for tunnel in running.values() {
            for ivc in &tunnel.ivcs {
                let id = ident(tunnel, ivc);
                let (Some((_, local, socket)), Some(keys)) =
                    (self.sockets.get(&ivc.link), self.keys.get(&id.0))
                else {
                    continue;
                };
                let message = Message {
                    hears: self.liveness.hears(&id, now),
                    time: self.time,
                };
                let Some(bytes) = keys.seal(message, *local, ivc.remote) else {
                    continue;
                };
                // A keepalive that cannot leave is as good as lost, and the other side will notice.
                if let Err(error) = socket.send_esp(ivc.remote, &bytes) {
                    debug!(%error, link = %ivc.link, remote = %ivc.remote, "no keepalive");
                }
            }
        }
    }

    /// Opens a socket on each link that has none, or whose interface or address is another now.
    fn open_sockets(&mut self, links: &Links) {
        self.sockets.retain(|name, (interface, address, _)| {
            links.get(name).is_some_and(|link| {
                link.interface.as_ref() == Some(interface) && link.address == Some(*address)
            })
        });
        for (name, link) in links {
            let (Some(interface), Some(address)) = (&link.interface, link.address) else {
                continue;
            };
            if self.sockets.contains_key(name) {
                continue;
            }
            match LinkSocket::open(&interface.name, address) {
                Ok(socket) => {
                    self.sockets
                        .insert(name.clone(), (interface.clone(), address, socket));
                }
                Err(error) => debug!(%error, link = %name, "no socket for keepalives"),
            }
        }
    }
}

fn shown(running: &RunningTunnels, (endpoint, link, remote): &IvcId) -> event::Ivc {
    let mut tunnels = running.iter();
    let tunnel = tunnels.find(|(_, tunnel)| tunnel.endpoints.remote == *endpoint);
    event::Ivc {
        tunnel: tunnel.map_or_else(String::new, |(name, _)| name.to_string()),
        link: link.to_string(),
        remote: *remote,
    }
}

fn keys(tunnel: &Running) -> TunnelKeys {
    let outbound = tunnel.outbound.iter().map(|sa| sa.key.material());
    let inbound = tunnel.inbound.iter().map(|sa| sa.key.material());
    TunnelKeys::derive(outbound, inbound)
}
