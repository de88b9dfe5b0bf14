//! The initiator's side of a tunnel: it opens connections, makes the SVC, adds links to it, and renews its keys.

mod connection;
mod links;
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use self::{
    connection::{Connection, Phase, Purpose},
    links::Requests,
};
use super::{
    Agreed, ConnectionId, ConnectionSecret, Context, ECHO, OwnLink, Profile, SaKeys, Saved,
    svc::Svc,
};
use crate::{
    api::event::{self, What},
    config::LinkName,
    wire::{Echo, Message, Verdict},
};

/// How long after one attempt at the SVC the next link is tried.
const STAGGER: Duration = Duration::from_millis(250);
/// The shortest and the longest pause after everything has failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Why a connection ends that the responder has refused.
const REFUSED: &str = "refused";
/// How long after its connection is lost an IVC that cannot be connected again is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The initiator's side of one tunnel.
#[derive(Debug)]
pub struct Initiator {
    profile: Profile,
    target: SocketAddrV4,
    links: Vec<OwnLink>,
    svc: Option<Svc>,
    connections: BTreeMap<ConnectionId, Connection>,
    requests: Requests,
    making: Making,
    /// Why the tunnel could not be made last, until it can.
    trouble: Option<String>,
}

/// The attempts to make the SVC, or to renew its keys.
#[derive(Debug, Default)]
struct Making {
    /// Whether the keys are to be renewed although they work.
    renew: bool,
    /// When they are to be renewed.
    due: Duration,
    /// The bytes that had gone when they were taken into use.
    bytes: Option<u64>,
    /// Since the last success.
    failures: u32,
    /// When the next connection may be opened.
    next: Duration,
    /// Which pair of link and remote address comes next.
    turn: usize,
}

impl Initiator {
    /// Begins; nothing happens before [`Self::set_links`] and [`Self::tick`].
    #[must_use]
    pub fn new(profile: Profile, target: SocketAddrV4) -> Self {
        Self {
            profile,
            target,
            links: Vec::new(),
            svc: None,
            connections: BTreeMap::new(),
            requests: Requests::default(),
            making: Making::default(),
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
        let has = |name: &LinkName, address| {
            links
                .iter()
                .any(|link| link.name == *name && link.address == address)
        };
        let stale: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| !has(&connection.link, connection.local))
            .map(|(id, _)| *id)
            .collect();
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
        for id in stale {
            context.close(id);
            self.lost(id, "its link is down or has another address", context);
        }
        for number in moved {
            self.drop_ivc(number, "the link has another address", context);
        }
        if fresh {
            self.making.next = self.making.next.min(context.now);
            self.requests.again(context.now);
        }
        self.tick(context);
    }

    /// A connection is open.
    pub fn opened(
        &mut self,
        id: ConnectionId,
        secret: ConnectionSecret,
        context: &mut Context<'_>,
    ) {
        self.greet(id, secret, context);
    }

    /// A connection has ended, or could not be made.
    pub fn closed(&mut self, id: ConnectionId, reason: &str, context: &mut Context<'_>) {
        if self.connections.contains_key(&id) {
            self.lost(id, reason, context);
            self.tick(context);
        }
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
        let phase = connection.phase;
        if phase == Phase::Established {
            self.message(id, request, message, context);
        } else {
            self.set_up(id, phase, message, context);
        }
        self.tick(context);
    }

    /// The kernel has what was agreed at a revision.
    pub fn installed(&mut self, revision: u64, context: &mut Context<'_>) {
        self.switch_keys(revision, context);
    }

    /// Asks for new keys at once.
    pub fn renew(&mut self, context: &mut Context<'_>) {
        self.making.renew = true;
        self.making.next = context.now;
        self.tick(context);
    }

    /// Learns how many bytes have gone by now in the direction that has more.
    pub fn traffic(&mut self, bytes: u64) {
        let since = bytes.saturating_sub(*self.making.bytes.get_or_insert(bytes));
        if self.svc.is_some() && since >= self.profile.rekey_bytes {
            self.making.renew = true;
        }
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
        self.expire(context);
        self.make(context);
        self.add_links(context);
        self.trim(context);
    }

    /// Takes another configuration of the same tunnel to the same gateway, which now is to be found at `target`. What was
    /// agreed stays until something else is.
    pub fn update(&mut self, profile: Profile, target: SocketAddrV4, context: &mut Context<'_>) {
        let asks_alike = self.profile.asks_like(&profile);
        self.target = target;
        self.profile = profile;
        if !asks_alike && self.svc.is_some() {
            self.renew(context);
        }
    }

    /// Ends the SVC, and tells the responder.
    pub fn leave(&mut self, reason: &str, context: &mut Context<'_>) {
        if let Some(svc) = &self.svc {
            svc.leave(reason, context);
        }
        self.clear(context);
    }

    /// Forgets the SVC and ends all connections.
    fn clear(&mut self, context: &mut Context<'_>) {
        self.svc = None;
        for id in std::mem::take(&mut self.connections).into_keys() {
            context.close(id);
        }
        self.requests = Requests::default();
        context.install();
    }

    /// Where the responder is first looked for.
    #[must_use]
    pub fn target(&self) -> SocketAddrV4 {
        self.target
    }

    /// Why the tunnel could not be made last, until it can.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What is agreed, if anything is.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        self.svc.as_ref().map(Svc::agreed)
    }

    /// Goes on with what an earlier run left; new keys are made at once, because only the kernel knows the old ones' secret.
    pub fn resume(&mut self, saved: &Saved, keys: (SaKeys, SaKeys), now: Duration) {
        self.svc = Svc::resume(saved, keys, self.profile.split, now);
        self.making.due = now;
    }

    pub(super) fn svc(&self) -> Option<&Svc> {
        self.svc.as_ref()
    }

    /// What another run needs in order to go on.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        self.svc.as_ref()?.save()
    }

    /// Ends what takes too long, and what is no longer needed.
    fn expire(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let late: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_late(now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            context.close(id);
            self.lost(id, "nothing came for too long", context);
        }
        self.echo(context);
        let Some(svc) = &mut self.svc else { return };
        let forgotten = svc.forget(now, |_| PATIENCE);
        if svc.keys.expire(now) || forgotten {
            context.install();
        }
        for number in svc.leaving(now) {
            self.drop_ivc(number, "it is taken out of use", context);
        }
    }

    /// Asks for signs of life on the connections in use.
    fn echo(&mut self, context: &mut Context<'_>) {
        for (id, connection) in &mut self.connections {
            if connection.phase == Phase::Established && context.now >= connection.asked + ECHO {
                connection.asked = context.now;
                context.send(*id, 0, Message::Echo(Echo {}));
            }
        }
    }

    /// Forgets a connection.
    fn lost(&mut self, id: ConnectionId, reason: &str, context: &mut Context<'_>) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        // A refusal has been noted, with more words.
        if connection.phase != Phase::Established && reason != REFUSED {
            let failed = What::ConnectionFailed {
                ivc: event::Ivc {
                    tunnel: self.profile.tunnel.to_string(),
                    link: connection.link.to_string(),
                    remote: *connection.remote.ip(),
                },
                reason: reason.to_owned(),
            };
            match connection.purpose {
                Purpose::Make => self.complain(failed, context),
                Purpose::Join { .. } => context.note(failed),
            }
        }
        match connection.purpose {
            Purpose::Make => {
                self.requests.forget(id, context.now);
                if connection.phase != Phase::Established {
                    self.made(false, context);
                }
            }
            Purpose::Join { .. } => {
                self.requests.forget(id, context.now);
                if connection.phase != Phase::Established {
                    self.requests.failed(&connection.link, context);
                }
            }
        }
        let now = context.now;
        if let Some(ivc) = self.svc.as_mut().and_then(|svc| svc.disconnect(id, now)) {
            context.note(What::ConnectionLost {
                ivc: ivc.shown(&self.profile.tunnel),
                reason: reason.to_owned(),
            });
            self.requests.again(now);
        }
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
    }

    /// Notes a refusal where people see it.
    fn refused(
        &mut self,
        id: ConnectionId,
        what: &str,
        verdict: &Verdict,
        context: &mut Context<'_>,
    ) {
        let remote = self
            .connections
            .get(&id)
            .map_or(self.target, |connection| connection.remote);
        let refused = What::RefusedByPeer {
            tunnel: self.profile.tunnel.to_string(),
            remote: *remote.ip(),
            request: what.to_owned(),
            reason: verdict.to_string(),
        };
        self.complain(refused, context);
    }

    /// Notes why the tunnel cannot be made, once for each reason in turn.
    fn complain(&mut self, what: What, context: &mut Context<'_>) {
        let text = what.words();
        if self.trouble.as_ref() != Some(&text) {
            context.note(what);
            self.trouble = Some(text);
        }
    }
}
