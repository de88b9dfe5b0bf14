//! All tunnels of a gateway that are negotiated.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{
    Action, Agreed, Claim, Claims, ConnectionId, ConnectionSecret, Context, Initiator, OwnLink,
    Profile, Random, Responder, SaKeys, Saved,
};
use crate::{
    config::{LinkName, TunnelName},
    identity::PublicKey,
    wire::{Message, Reason},
};

/// A gateway's side of a tunnel.
#[derive(Debug)]
pub enum Role {
    /// It opens the tunnel.
    Initiator(Box<Initiator>),
    /// It waits for the other gateway.
    Responder(Box<Responder>),
}

/// The negotiated tunnels of a gateway.
pub struct Sessions {
    tunnels: BTreeMap<TunnelName, Role>,
    shared: Shared,
}

/// What the machines of all tunnels have in common.
struct Shared {
    owners: BTreeMap<ConnectionId, TunnelName>,
    random: Box<dyn Random + Send>,
    actions: VecDeque<Action>,
    next_connection: ConnectionId,
    revision: u64,
    claims: Claims,
    refusals: BTreeMap<&'static str, u64>,
}

impl Sessions {
    /// Holds no tunnel yet.
    #[must_use]
    pub fn new(random: Box<dyn Random + Send>) -> Self {
        Self {
            tunnels: BTreeMap::new(),
            shared: Shared {
                owners: BTreeMap::new(),
                random,
                actions: VecDeque::new(),
                next_connection: 0,
                revision: 0,
                claims: Claims::default(),
                refusals: Reason::labels().map(|label| (label, 0)).collect(),
            },
        }
    }

    /// Adds a tunnel.
    pub fn add(&mut self, role: Role) {
        let name = role.profile().tunnel.clone();
        self.shared.claims.set(&name, claim(&role));
        self.tunnels.insert(name, role);
    }

    /// Ends a tunnel, tells the other side, and forgets it.
    pub fn remove(&mut self, tunnel: &TunnelName, reason: &str, now: Duration) {
        self.leave(tunnel, reason, now);
        self.tunnels.remove(tunnel);
        self.shared.claims.set(tunnel, None);
    }

    /// Ends a tunnel and tells the other side. An initiator makes it anew.
    pub fn leave(&mut self, tunnel: &TunnelName, reason: &str, now: Duration) {
        self.with(tunnel, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.leave(reason, context),
            Role::Responder(responder) => responder.leave(reason, context),
        });
    }

    /// Takes another configuration of a tunnel that goes on: neither the other gateway's key nor who opens the tunnel may
    /// differ. `target` is where an initiator connects to.
    pub fn update(&mut self, profile: Profile, target: Option<SocketAddrV4>, now: Duration) {
        let tunnel = profile.tunnel.clone();
        self.with(&tunnel, now, |role, context| match (role, target) {
            (Role::Initiator(initiator), Some(target)) => {
                initiator.update(profile, target, context);
            }
            (Role::Responder(responder), _) => responder.update(profile, context),
            (Role::Initiator(_), None) => {}
        });
    }

    /// Drops the IVCs of a link in order, which is about to go: those of one tunnel, or of all.
    pub fn retire(&mut self, tunnel: Option<&TunnelName>, link: &LinkName, now: Duration) {
        let retire = |role: &mut Role, context: &mut Context<'_>| match role {
            Role::Initiator(initiator) => initiator.retire(link, context),
            Role::Responder(responder) => responder.retire(link, context),
        };
        match tunnel {
            Some(tunnel) => self.with(tunnel, now, retire),
            None => self.with_all(now, retire),
        }
    }

    /// How many connections were refused after their handshakes, by reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.shared
            .refusals
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect()
    }

    /// Lists the tunnels.
    pub fn tunnels(&self) -> impl Iterator<Item = (&TunnelName, &Role)> {
        self.tunnels.iter()
    }

    /// A tunnel, if it is negotiated.
    #[must_use]
    pub fn role(&self, tunnel: &TunnelName) -> Option<&Role> {
        self.tunnels.get(tunnel)
    }

    /// Whether a connection is still wanted.
    #[must_use]
    pub fn knows(&self, id: ConnectionId) -> bool {
        self.shared.owners.contains_key(&id)
    }

    /// Takes what is to be done next.
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.shared.actions.pop_front()?;
        if let Action::Close { connection } = &action {
            self.shared.owners.remove(connection);
        }
        Some(action)
    }

    /// Learns which links of a tunnel work.
    pub fn set_links(&mut self, tunnel: &TunnelName, links: Vec<OwnLink>, now: Duration) {
        self.with(tunnel, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.set_links(links, context),
            Role::Responder(responder) => responder.set_links(links, context),
        });
    }

    /// A connection that a machine wanted is open.
    pub fn opened(&mut self, id: ConnectionId, secret: ConnectionSecret, now: Duration) {
        self.with_owner(id, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.opened(id, secret, context),
            Role::Responder(_) => context.close(id),
        });
    }

    /// A connection has come in; returns its number, unless nobody waits for this peer.
    pub fn accepted(
        &mut self,
        peer: PublicKey,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        secret: ConnectionSecret,
        now: Duration,
    ) -> Option<ConnectionId> {
        let waits =
            |role: &&Role| matches!(role, Role::Responder(_)) && role.profile().peer == peer;
        let tunnel = self.tunnels.values().find(waits)?.profile().tunnel.clone();
        self.shared.next_connection += 1;
        let id = self.shared.next_connection;
        self.shared.owners.insert(id, tunnel);
        self.with_owner(id, now, |role, context| match role {
            Role::Initiator(_) => context.close(id),
            Role::Responder(responder) => {
                responder.accepted(id, (*local.ip(), *remote.ip()), secret, context);
            }
        });
        Some(id)
    }

    /// A connection has ended, or could not be made.
    pub fn closed(&mut self, id: ConnectionId, reason: &str, now: Duration) {
        self.with_owner(id, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.closed(id, reason, context),
            Role::Responder(responder) => responder.closed(id, reason, context),
        });
        self.shared.owners.remove(&id);
    }

    /// Takes in a message.
    pub fn received(&mut self, id: ConnectionId, request: u32, message: Message, now: Duration) {
        self.with_owner(id, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.received(id, request, message, context),
            Role::Responder(responder) => responder.received(id, request, message, context),
        });
    }

    /// The kernel has what was agreed at a revision.
    pub fn installed(&mut self, revision: u64, now: Duration) {
        self.with_all(now, |role, context| match role {
            Role::Initiator(initiator) => initiator.installed(revision, context),
            Role::Responder(responder) => responder.installed(revision, context),
        });
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Duration) {
        self.with_all(now, |role, context| match role {
            Role::Initiator(initiator) => initiator.tick(context),
            Role::Responder(responder) => responder.tick(context),
        });
    }

    /// Asks for new keys of a tunnel at once; returns whether there is anyone to make them with.
    pub fn renew(&mut self, tunnel: &TunnelName, now: Duration) -> bool {
        let mut asked = false;
        self.with(tunnel, now, |role, context| {
            asked = match role {
                Role::Initiator(initiator) => {
                    initiator.renew(context);
                    true
                }
                Role::Responder(responder) => responder.renew(context),
            };
        });
        asked
    }

    /// Learns how many bytes a tunnel has carried by now in the direction that has more.
    pub fn traffic(&mut self, tunnel: &TunnelName, bytes: u64) {
        if let Some(Role::Initiator(initiator)) = self.tunnels.get_mut(tunnel) {
            initiator.traffic(bytes);
        }
    }

    /// Tells a tunnel's other side that the end of an IVC here works, or does not.
    pub fn link_state(
        &mut self,
        tunnel: &TunnelName,
        (link, remote): (&LinkName, Ipv4Addr),
        up: bool,
        now: Duration,
    ) {
        self.with(tunnel, now, |role, context| match role {
            Role::Initiator(initiator) => initiator.link_state(link, remote, up, context),
            Role::Responder(responder) => responder.link_state(link, remote, up, context),
        });
    }

    fn with_owner(
        &mut self,
        id: ConnectionId,
        now: Duration,
        act: impl FnOnce(&mut Role, &mut Context<'_>),
    ) {
        if let Some(tunnel) = self.shared.owners.get(&id).cloned() {
            self.with(&tunnel, now, act);
        }
    }

    fn with_all(&mut self, now: Duration, mut act: impl FnMut(&mut Role, &mut Context<'_>)) {
        for (name, role) in &mut self.tunnels {
            self.shared.run(name, role, now, &mut act);
        }
    }

    fn with(
        &mut self,
        tunnel: &TunnelName,
        now: Duration,
        act: impl FnOnce(&mut Role, &mut Context<'_>),
    ) {
        if let Some(role) = self.tunnels.get_mut(tunnel) {
            self.shared.run(tunnel, role, now, act);
        }
    }
}

impl Shared {
    /// Lets a machine act.
    fn run(
        &mut self,
        tunnel: &TunnelName,
        role: &mut Role,
        now: Duration,
        act: impl FnOnce(&mut Role, &mut Context<'_>),
    ) {
        let mut actions = Vec::new();
        let mut context = Context {
            now,
            random: &mut *self.random,
            actions: &mut actions,
            next_connection: &mut self.next_connection,
            revision: &mut self.revision,
            claims: &self.claims,
            refusals: &mut self.refusals,
        };
        act(role, &mut context);
        for action in &actions {
            match action {
                Action::Connect { connection, .. } => {
                    self.owners.insert(*connection, tunnel.clone());
                }
                Action::Install { .. } => self.claims.set(tunnel, claim(role)),
                _ => {}
            }
        }
        self.actions.extend(actions);
    }
}

/// What the other gateway of a tunnel has.
fn claim(role: &Role) -> Option<Claim> {
    let svc = match role {
        Role::Initiator(initiator) => initiator.svc(),
        Role::Responder(responder) => responder.svc(),
    };
    svc.map(|svc| Claim {
        endpoint: svc.endpoints.1,
        subnets: svc.granted.remote.clone(),
    })
}

impl Role {
    /// Why the tunnel could not be made last, until it can.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Initiator(initiator) => initiator.trouble(),
            Self::Responder(responder) => responder.trouble(),
        }
    }

    /// The tunnel's configuration.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        match self {
            Self::Initiator(initiator) => initiator.profile(),
            Self::Responder(responder) => responder.profile(),
        }
    }

    /// Goes on with what an earlier run left, by the keys of both directions that the kernel has, inbound first.
    pub fn resume(&mut self, saved: &Saved, keys: (SaKeys, SaKeys), now: Duration) {
        match self {
            Self::Initiator(initiator) => initiator.resume(saved, keys, now),
            Self::Responder(responder) => responder.resume(saved, keys, now),
        }
    }

    /// What another run needs in order to go on.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        match self {
            Self::Initiator(initiator) => initiator.save(),
            Self::Responder(responder) => responder.save(),
        }
    }

    /// What is agreed, if anything is.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        match self {
            Self::Initiator(initiator) => initiator.agreed(),
            Self::Responder(responder) => responder.agreed(),
        }
    }
}
