//! Another configuration for negotiated tunnels that run: only what differs is touched.

use std::{net::SocketAddrV4, sync::Arc};

use tracing::info;

use super::{Negotiation, tunnels};
use crate::{
    config::{Config, LinkName, TunnelName},
    daemon::DaemonError,
    session::Role,
    transport::{Connector, Identity, Limits, Listener},
};

/// What has to be had before another configuration can be taken.
pub(in crate::daemon) struct Prepared {
    connector: Option<Connector>,
    listener: Option<Listener>,
}

impl Negotiation {
    /// Gets what a configuration needs and this run has not: after this, taking it cannot fail.
    pub(in crate::daemon) fn prepare(&self, new: &Config) -> Result<Prepared, DaemonError> {
        let Some(own) = &new.gateway.identity else {
            return Ok(Prepared {
                connector: None,
                listener: None,
            });
        };
        let identity = Identity::new(&own.key)?;
        let waits = !tunnels::initiators(new).is_empty();
        let port = new.gateway.listen;
        let counted = || Arc::clone(&self.refusals);
        let bind = || {
            let known = self.known.clone();
            Listener::bind(port, &identity, known, Limits::default(), counted())
        };
        let listener = (waits && self.listens != Some(port)).then(bind);
        Ok(Prepared {
            connector: Some(Connector::new(&identity, counted())),
            listener: listener.transpose()?,
        })
    }

    /// Takes another configuration. Tunnels to the same gateways go on.
    pub(in crate::daemon) fn apply(&mut self, prepared: Prepared, old: &Config, new: &Config) {
        let now = self.now();
        self.connector = prepared.connector;
        let known = tunnels::initiators(new);
        if known.is_empty() {
            self.accepted = None;
            self.listens = None;
        }
        self.known.replace(known);
        if let Some(listener) = prepared.listener {
            self.serve(listener, new.gateway.listen);
        }
        let assigned = self.assigned();
        let roles = tunnels::roles(new, &assigned);
        let stay = |name: &TunnelName| roles.iter().any(|role| role.profile().tunnel == *name);
        for name in self.names().into_iter().filter(|name| !stay(name)) {
            info!(tunnel = %name, "is no longer configured");
            self.forget(&name, "the tunnel is taken out of the configuration");
        }
        for role in roles {
            let name = role.profile().tunnel.clone();
            let before = self.sessions.role(&name);
            if before.is_some_and(|before| goes_on(before, &role)) {
                for link in links_lost(old, new, &name) {
                    self.sessions.retire(Some(&name), &link, now);
                }
                self.sessions
                    .update(role.profile().clone(), target(&role), now);
            } else {
                self.forget(&name, "the tunnel is another in the new configuration");
                self.sessions.add(role);
            }
        }
        self.act();
    }

    fn forget(&mut self, tunnel: &TunnelName, reason: &str) {
        let now = self.now();
        self.sessions.remove(tunnel, reason, now);
        self.links.remove(tunnel);
    }
}

/// Whether a tunnel that runs can take the profile of another.
fn goes_on(old: &Role, new: &Role) -> bool {
    let alike = match (old, new) {
        (Role::Initiator(_), Role::Initiator(_)) => true,
        (Role::Responder(old), Role::Responder(new)) => {
            old.endpoints() == new.endpoints() && old.port() == new.port()
        }
        _ => false,
    };
    alike && old.profile().peer == new.profile().peer
}

fn target(role: &Role) -> Option<SocketAddrV4> {
    match role {
        Role::Initiator(initiator) => Some(initiator.target()),
        Role::Responder(_) => None,
    }
}

/// The links that a tunnel may no longer use.
fn links_lost(old: &Config, new: &Config, tunnel: &TunnelName) -> Vec<LinkName> {
    let links = |config: &Config| {
        let tunnel = config.tunnels.get(tunnel)?;
        Some(config.bundles.get(&tunnel.bundle)?.links.clone())
    };
    let left = links(new).unwrap_or_default();
    let mut lost = links(old).unwrap_or_default();
    lost.retain(|link| !left.contains(link));
    lost
}
