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
    Agreed, AgreedIvc, ConnectionId, ConnectionSecret, Context, ECHO, OwnLink, Profile, SaKeys,
    Saved, SavedIvc, agreed::Keyring, terms::Granted,
};
use crate::{
    api::event::{self, What},
    config::{LinkName, TunnelName},
    wire::{Echo, LinkFacts, Message, Verdict},
};

/// How long after one attempt at the SVC the next link is tried.
const STAGGER: Duration = Duration::from_millis(250);
/// The shortest and the longest pause after everything has failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
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
    /// Addresses that other tunnels have as remote endpoints.
    taken: Vec<Ipv4Addr>,
    making: Making,
}

/// The attempts to make the SVC, or to renew its keys.
#[derive(Debug, Default)]
struct Making {
    /// Whether the keys are to be renewed although they work.
    renew: bool,
    /// Since the last success.
    failures: u32,
    /// When the next connection may be opened.
    next: Duration,
    /// Which pair of link and remote address comes next.
    turn: usize,
}

/// The SVC as this side knows it.
#[derive(Debug)]
struct Svc {
    id: u64,
    endpoints: (Ipv4Addr, Ipv4Addr),
    granted: Granted,
    secret: zeroize::Zeroizing<[u8; 32]>,
    keys: Keyring,
    ivcs: Vec<Ivc>,
    /// When the keys in use are to be renewed.
    renew_at: Duration,
    /// The bytes that had gone when the keys were taken into use.
    bytes: Option<u64>,
}

/// An IVC as this side knows it.
#[derive(Clone, Debug)]
struct Ivc {
    number: u32,
    link: LinkName,
    /// The link's address when the IVC was made.
    source: Ipv4Addr,
    remote: SocketAddrV4,
    facts: LinkFacts,
    connection: Option<ConnectionId>,
    /// Since when there is no connection.
    lost: Option<Duration>,
    impaired: bool,
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
            taken: Vec::new(),
            making: Making::default(),
        }
    }

    /// The tunnel's configuration.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Learns which endpoint addresses others have.
    pub fn set_taken(&mut self, taken: Vec<Ipv4Addr>) {
        self.taken = taken;
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
        // An address that another link's place took is gone for good; a link that is merely down keeps its IVCs.
        let moved: Vec<_> = self
            .svc
            .iter()
            .flat_map(|svc| &svc.ivcs)
            .filter(|ivc| {
                links
                    .iter()
                    .any(|link| link.name == ivc.link && link.address != ivc.source)
            })
            .map(|ivc| ivc.number)
            .collect();
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
        let Some(svc) = &mut self.svc else { return };
        let since = bytes.saturating_sub(*svc.bytes.get_or_insert(bytes));
        if since >= self.profile.rekey_bytes {
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
        let Some(svc) = &self.svc else { return };
        let Some(ivc) = svc
            .ivcs
            .iter()
            .find(|ivc| ivc.link == *link && *ivc.remote.ip() == remote)
        else {
            return;
        };
        let mut others = svc.ivcs.iter().filter(|other| other.number != ivc.number);
        if let Some(connection) = others.find_map(|other| other.connection) {
            context.send(
                connection,
                0,
                Message::LinkState(crate::wire::LinkState {
                    svc: svc.id,
                    ivc: ivc.number,
                    up,
                }),
            );
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, context: &mut Context<'_>) {
        self.expire(context);
        self.make(context);
        self.add_links(context);
    }

    /// What is agreed, if anything is.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        let svc = self.svc.as_ref()?;
        Some(Agreed {
            svc: svc.id,
            local: svc.endpoints.0,
            remote: svc.endpoints.1,
            local_subnets: svc.granted.local.clone(),
            remote_subnets: svc.granted.remote.clone(),
            suite: svc.granted.suite,
            ivcs: svc.ivcs.iter().map(Ivc::agreed).collect(),
            outbound: svc.keys.outbound(),
            inbound: svc.keys.inbound(),
        })
    }

    /// Goes on with what an earlier run left; new keys are made at once, because only the kernel knows the old ones' secret.
    pub fn resume(&mut self, saved: &Saved, (inbound, outbound): (SaKeys, SaKeys), now: Duration) {
        let Ok(suite) = saved.suite.parse() else {
            return;
        };
        let ivc = |ivc: &SavedIvc| Ivc {
            number: ivc.number,
            link: ivc.link.clone(),
            source: ivc.local,
            remote: SocketAddrV4::new(ivc.remote, ivc.port),
            facts: ivc.facts.clone(),
            connection: None,
            lost: Some(now),
            impaired: false,
        };
        self.svc = Some(Svc {
            id: saved.svc,
            endpoints: (saved.local, saved.remote),
            granted: Granted {
                suite,
                local: saved.local_subnets.clone(),
                remote: saved.remote_subnets.clone(),
            },
            secret: zeroize::Zeroizing::default(),
            keys: Keyring::adopt(inbound, outbound, now),
            ivcs: saved.ivcs.iter().map(ivc).collect(),
            renew_at: now,
            bytes: None,
        });
    }

    /// What another run needs in order to go on.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        let svc = self.svc.as_ref()?;
        let keys = svc.keys.current.as_ref()?;
        let ivc = |ivc: &Ivc| SavedIvc {
            number: ivc.number,
            link: ivc.link.clone(),
            local: ivc.source,
            remote: *ivc.remote.ip(),
            port: ivc.remote.port(),
            facts: ivc.facts.clone(),
        };
        Some(Saved {
            svc: svc.id,
            local: svc.endpoints.0,
            remote: svc.endpoints.1,
            local_subnets: svc.granted.local.clone(),
            remote_subnets: svc.granted.remote.clone(),
            suite: svc.granted.suite.to_string(),
            inbound: keys.inbound.spi,
            outbound: keys.outbound.spi,
            ivcs: svc.ivcs.iter().map(ivc).collect(),
        })
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
        let before = svc.ivcs.len();
        svc.ivcs
            .retain(|ivc| ivc.lost.is_none_or(|since| now < since + PATIENCE));
        if svc.keys.expire(now) || svc.ivcs.len() != before {
            context.install();
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
        let tunnel = self.profile.tunnel.clone();
        let (link, remote) = (&connection.link, connection.remote);
        if connection.phase != Phase::Established {
            context.note(What::ConnectionFailed {
                ivc: shown(&tunnel, link, remote),
                reason: reason.to_owned(),
            });
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
        let Some(svc) = &mut self.svc else { return };
        for ivc in &mut svc.ivcs {
            if ivc.connection == Some(id) {
                ivc.connection = None;
                ivc.lost = Some(context.now);
                context.note(What::ConnectionLost {
                    ivc: shown(&tunnel, link, remote),
                    reason: reason.to_owned(),
                });
                self.requests.again(context.now);
            }
        }
    }

    /// Removes an IVC, and tells the other side over another.
    fn drop_ivc(&mut self, number: u32, reason: &str, context: &mut Context<'_>) {
        let Some(svc) = &mut self.svc else { return };
        let Some(index) = svc.ivcs.iter().position(|ivc| ivc.number == number) else {
            return;
        };
        let gone = svc.ivcs.remove(index);
        let message = Message::LinkDrop(crate::wire::LinkDrop::new(svc.id, Some(number), reason));
        if let Some(connection) = svc.ivcs.iter().find_map(|ivc| ivc.connection) {
            context.send(connection, 0, message);
        }
        if let Some(id) = gone.connection {
            self.connections.remove(&id);
            context.close(id);
        }
        let tunnel = &self.profile.tunnel;
        context.note(What::IvcDropped {
            ivc: shown(tunnel, &gone.link, gone.remote),
            reason: reason.to_owned(),
        });
        context.install();
    }

    /// Notes a refusal where people see it.
    fn refused(&self, id: ConnectionId, what: &str, verdict: &Verdict, context: &mut Context<'_>) {
        let remote = self
            .connections
            .get(&id)
            .map_or(self.target, |connection| connection.remote);
        context.note(What::RefusedByPeer {
            tunnel: self.profile.tunnel.to_string(),
            remote: *remote.ip(),
            request: what.to_owned(),
            reason: verdict.to_string(),
        });
    }
}

fn shown(tunnel: &TunnelName, link: &LinkName, remote: SocketAddrV4) -> event::Ivc {
    event::Ivc {
        tunnel: tunnel.to_string(),
        link: link.to_string(),
        remote: *remote.ip(),
    }
}

impl Ivc {
    fn agreed(&self) -> AgreedIvc {
        AgreedIvc {
            number: self.number,
            link: self.link.clone(),
            remote: *self.remote.ip(),
            facts: self.facts.clone(),
            connected: self.connection.is_some(),
            impaired: self.impaired,
        }
    }
}
