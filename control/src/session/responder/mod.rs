//! The responder's side of a tunnel: it is asked for an SVC, for keys and for addresses, and tells of its links.

mod connection;
mod contest;
mod links;
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use self::{
    connection::{Connection, Phase},
    contest::Contest,
};
use super::{
    Agreed, ConnectionId, ConnectionSecret, Context, OwnLink, Profile, SETUP_LIMIT, SaKeys, Saved,
    svc::Svc,
};
use crate::{
    api::event::What,
    config::LinkName,
    wire::{KeyRenew, Message},
};

/// The most connections of one initiator: one for each IVC, and as many that are being made.
pub(super) const MAX_CONNECTIONS: usize = 32;
/// How long an initiator has to ask for what another configuration allows.
const GRACE: Duration = Duration::from_secs(10);
/// How long an IVC stays without a connection: the initiator may come back.
const PATIENCE: Duration = Duration::from_mins(2);

/// The responder's side of one tunnel.
#[derive(Debug)]
pub struct Responder {
    profile: Profile,
    port: u16,
    /// The tunnel endpoints of both sides, this one's first, as the gateway's pool has them.
    endpoints: (Ipv4Addr, Ipv4Addr),
    links: Vec<OwnLink>,
    svc: Option<Svc>,
    /// The number of the newest IVC.
    last_ivc: u32,
    connections: BTreeMap<ConnectionId, Connection>,
    contest: Option<Contest>,
    /// Until when an SVC may stay that the configuration no longer allows.
    misfit: Option<Duration>,
    /// Why the tunnel could not be made last, until it can.
    trouble: Option<String>,
}

impl Responder {
    /// Begins; `port` is where this gateway listens.
    #[must_use]
    pub fn new(profile: Profile, port: u16, endpoints: (Ipv4Addr, Ipv4Addr)) -> Self {
        Self {
            profile,
            port,
            endpoints,
            links: Vec::new(),
            svc: None,
            last_ivc: 0,
            connections: BTreeMap::new(),
            contest: None,
            misfit: None,
            trouble: None,
        }
    }

    /// The tunnel's configuration.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Learns which links work, with which addresses.
    pub fn set_links(&mut self, links: Vec<OwnLink>, context: &mut Context<'_>) {
        let known: BTreeSet<_> = self
            .links
            .iter()
            .map(|link| (link.name.clone(), link.address))
            .collect();
        let fresh = links
            .iter()
            .any(|link| !known.contains(&(link.name.clone(), link.address)));
        let moved = self
            .svc
            .as_ref()
            .map_or(Vec::new(), |svc| svc.moved(&links));
        self.links = links;
        for number in moved {
            self.drop_ivc(number, "the link has another address", context);
        }
        if fresh {
            self.offer(context);
        }
    }

    /// A connection of the tunnel's initiator has come in.
    pub fn accepted(
        &mut self,
        id: ConnectionId,
        (local, remote): (Ipv4Addr, Ipv4Addr),
        secret: ConnectionSecret,
        context: &mut Context<'_>,
    ) {
        if self.connections.len() >= MAX_CONNECTIONS {
            context.note(What::Refused {
                tunnel: self.profile.tunnel.to_string(),
                remote,
                reason: "it has too many connections".to_owned(),
            });
            context.close(id);
            return;
        }
        self.connections
            .insert(id, Connection::new(local, remote, secret, context.now));
    }

    /// A connection has ended.
    pub fn closed(&mut self, id: ConnectionId, reason: &str, context: &mut Context<'_>) {
        if self.connections.remove(&id).is_none() {
            return;
        }
        self.abandon(id);
        let now = context.now;
        if let Some(ivc) = self.svc.as_mut().and_then(|svc| svc.disconnect(id, now)) {
            context.note(What::ConnectionLost {
                ivc: ivc.shown(&self.profile.tunnel),
                reason: reason.to_owned(),
            });
        }
        self.decide(context);
    }

    /// Takes in a message.
    pub fn received(
        &mut self,
        id: ConnectionId,
        request: u32,
        message: Message,
        context: &mut Context<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.heard = context.now;
        let phase = connection.phase.clone();
        match phase {
            Phase::Established => {
                self.defend(context);
                self.message(id, request, message, context);
            }
            Phase::Replaced(_) => self.message(id, request, message, context),
            phase => self.set_up(id, phase, message, context),
        }
    }

    /// The kernel has what was agreed at a revision.
    pub fn installed(&mut self, revision: u64, context: &mut Context<'_>) {
        self.proceed(revision, context);
    }

    /// Tells the other side that an IVC's end here works, or does not.
    pub fn link_state(
        &mut self,
        link: &LinkName,
        remote: Ipv4Addr,
        up: bool,
        context: &mut Context<'_>,
    ) {
        if let Some(svc) = &self.svc {
            svc.tell(link, remote, up, context);
        }
    }

    /// Drops the IVCs of a link in order, which is about to go.
    pub fn retire(&mut self, link: &LinkName, context: &mut Context<'_>) {
        if let Some(svc) = &mut self.svc {
            svc.retire(|ivc| ivc.link == *link, context);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let late: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_late(now))
            .map(|(id, connection)| {
                (
                    *id,
                    connection.remote,
                    matches!(connection.phase, Phase::Established | Phase::Replaced(_)),
                )
            })
            .collect();
        for (id, remote, established) in late {
            let reason = "nothing came for too long";
            // Of those in use, `closed` tells.
            if !established {
                context.note(What::Refused {
                    tunnel: self.profile.tunnel.to_string(),
                    remote,
                    reason: reason.to_owned(),
                });
            }
            context.close(id);
            self.closed(id, reason, context);
        }
        self.decide(context);
        if self.misfit.take_if(|until| now >= *until).is_some() && !self.fits() {
            self.leave("the configuration no longer allows it", context);
        }
        let Some(svc) = &mut self.svc else { return };
        let freed = svc.forget(now, |ivc| {
            if ivc.joined {
                PATIENCE
            } else {
                2 * SETUP_LIMIT
            }
        });
        if svc.keys.expire(now) || freed {
            context.install();
        }
        for number in svc.leaving(now) {
            self.drop_ivc(number, "it is taken out of use", context);
        }
        if freed {
            self.offer(context);
        }
    }

    /// Takes another configuration of the same tunnel to the same gateway. What was granted stays if it still may be; if not,
    /// the initiator has a moment to ask for something else.
    pub fn update(&mut self, profile: Profile, context: &mut Context<'_>) {
        self.profile = profile;
        self.misfit = None;
        if !self.fits() {
            self.misfit = Some(context.now + GRACE);
            self.renew(context);
        }
    }

    /// Whether the configuration allows what is granted.
    fn fits(&self) -> bool {
        let fits = |svc: &Svc| self.profile.allows(&svc.granted);
        self.svc.as_ref().is_none_or(fits)
    }

    /// Asks the initiator to make new keys; returns whether it is there to be asked.
    pub fn renew(&mut self, context: &mut Context<'_>) -> bool {
        let Some(svc) = &self.svc else { return false };
        let Some(connection) = svc.carrier() else {
            return false;
        };
        let renew = KeyRenew { svc: svc.id };
        context.send(connection, 0, Message::KeyRenew(renew));
        true
    }

    /// Ends the SVC, and tells the initiator.
    pub fn leave(&mut self, reason: &str, context: &mut Context<'_>) {
        if let Some(svc) = &self.svc {
            svc.leave(reason, context);
        }
        self.clear(context);
    }

    /// Forgets the SVC and ends all connections.
    fn clear(&mut self, context: &mut Context<'_>) {
        self.svc = None;
        self.contest = None;
        for id in std::mem::take(&mut self.connections).into_keys() {
            context.close(id);
        }
        context.install();
    }

    /// Why the tunnel could not be made last, until it can.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Where this gateway listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The tunnel endpoints of both sides, this one's first.
    #[must_use]
    pub fn endpoints(&self) -> (Ipv4Addr, Ipv4Addr) {
        self.endpoints
    }

    /// What is agreed, if anything is.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        self.svc.as_ref().map(Svc::agreed)
    }

    /// Goes on with what an earlier run left, until the initiator renews the keys.
    pub fn resume(&mut self, saved: &Saved, keys: (SaKeys, SaKeys), now: Duration) {
        self.endpoints = (saved.local, saved.remote);
        self.svc = Svc::resume(saved, keys, self.profile.split, now);
        self.last_ivc = saved.ivcs.iter().map(|ivc| ivc.number).max().unwrap_or(0);
    }

    pub(super) fn svc(&self) -> Option<&Svc> {
        self.svc.as_ref()
    }

    /// What another run needs in order to go on.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        self.svc.as_ref()?.save()
    }

    /// Removes an IVC, and tells the other side.
    fn drop_ivc(&mut self, number: u32, reason: &str, context: &mut Context<'_>) {
        let gone = self
            .svc
            .as_mut()
            .and_then(|svc| svc.drop_ivc(number, reason, context));
        let Some(gone) = gone else { return };
        if let Some(id) = gone.connection {
            self.connections.remove(&id);
        }
        context.note(What::IvcDropped {
            ivc: gone.shown(&self.profile.tunnel),
            reason: reason.to_owned(),
        });
        self.offer(context);
    }
}
