//! The responder's side of a tunnel: it is asked for an SVC, for keys and for addresses, and tells of its links.

mod connection;
mod links;
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use zeroize::Zeroizing;

use self::connection::{Connection, Phase};
use super::{
    Agreed, AgreedIvc, ConnectionId, ConnectionSecret, Context, OwnLink, Profile, SETUP_LIMIT,
    SaKeys, Saved, SavedIvc, agreed::Keyring, terms::Granted,
};
use crate::{
    api::event::{self, What},
    config::{LinkName, TunnelName},
    wire::{LinkDrop, LinkFacts, LinkState, Message},
};

/// The most connections of one initiator: one for each IVC, and as many that are being made.
pub(super) const MAX_CONNECTIONS: usize = 32;
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
    connections: BTreeMap<ConnectionId, Connection>,
}

/// The SVC as this side knows it.
#[derive(Debug)]
struct Svc {
    id: u64,
    granted: Granted,
    secret: Zeroizing<[u8; 32]>,
    keys: Keyring,
    ivcs: Vec<Ivc>,
    last_ivc: u32,
}

/// An IVC as this side knows it.
#[derive(Clone, Debug)]
struct Ivc {
    number: u32,
    /// This side's link and its address.
    link: LinkName,
    local: Ipv4Addr,
    /// The initiator's link.
    source: Ipv4Addr,
    facts: LinkFacts,
    connection: Option<ConnectionId>,
    /// Since when there is no connection.
    lost: Option<Duration>,
    /// Whether it was connected ever: only then it carries data.
    joined: bool,
    impaired: bool,
}

impl Ivc {
    fn shown(&self, tunnel: &TunnelName) -> event::Ivc {
        event::Ivc {
            tunnel: tunnel.to_string(),
            link: self.link.to_string(),
            remote: self.source,
        }
    }
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
            connections: BTreeMap::new(),
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
        let moved: Vec<_> = self
            .svc
            .iter()
            .flat_map(|svc| &svc.ivcs)
            .filter(|ivc| {
                links
                    .iter()
                    .any(|link| link.name == ivc.link && link.address != ivc.local)
            })
            .map(|ivc| ivc.number)
            .collect();
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
            let tunnel = &self.profile.tunnel;
            context.note(What::Refused {
                tunnel: tunnel.to_string(),
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
        let tunnel = &self.profile.tunnel;
        for ivc in self.svc.iter_mut().flat_map(|svc| &mut svc.ivcs) {
            if ivc.connection == Some(id) {
                ivc.connection = None;
                ivc.lost = Some(context.now);
                context.note(What::ConnectionLost {
                    ivc: ivc.shown(tunnel),
                    reason: reason.to_owned(),
                });
            }
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
        let phase = connection.phase.clone();
        if phase == Phase::Established {
            self.message(id, request, message, context);
        } else {
            self.set_up(id, phase, message, context);
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
        let Some(svc) = &self.svc else { return };
        let Some(ivc) = svc
            .ivcs
            .iter()
            .find(|ivc| ivc.link == *link && ivc.source == remote)
        else {
            return;
        };
        let mut others = svc.ivcs.iter().filter(|other| other.number != ivc.number);
        if let Some(connection) = others.find_map(|other| other.connection) {
            let state = LinkState {
                svc: svc.id,
                ivc: ivc.number,
                up,
            };
            context.send(connection, 0, Message::LinkState(state));
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
                    connection.phase == Phase::Established,
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
        let Some(svc) = &mut self.svc else { return };
        let before = svc.ivcs.len();
        svc.ivcs.retain(|ivc| {
            let patience = if ivc.joined {
                PATIENCE
            } else {
                2 * SETUP_LIMIT
            };
            ivc.lost.is_none_or(|since| now < since + patience)
        });
        let freed = svc.ivcs.len() != before;
        if svc.keys.expire(now) || freed {
            context.install();
        }
        if freed {
            self.offer(context);
        }
    }

    /// What is agreed, if anything is.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        let svc = self.svc.as_ref()?;
        Some(Agreed {
            svc: svc.id,
            local: self.endpoints.0,
            remote: self.endpoints.1,
            local_subnets: svc.granted.local.clone(),
            remote_subnets: svc.granted.remote.clone(),
            suite: svc.granted.suite,
            ivcs: svc
                .ivcs
                .iter()
                .filter(|ivc| ivc.joined)
                .map(Ivc::agreed)
                .collect(),
            outbound: svc.keys.outbound(),
            inbound: svc.keys.inbound(),
        })
    }

    /// Goes on with what an earlier run left, until the initiator renews the keys.
    pub fn resume(&mut self, saved: &Saved, (inbound, outbound): (SaKeys, SaKeys), now: Duration) {
        let Ok(suite) = saved.suite.parse() else {
            return;
        };
        let ivc = |ivc: &SavedIvc| Ivc {
            number: ivc.number,
            link: ivc.link.clone(),
            local: ivc.local,
            source: ivc.remote,
            facts: ivc.facts.clone(),
            connection: None,
            lost: Some(now),
            joined: true,
            impaired: false,
        };
        self.endpoints = (saved.local, saved.remote);
        self.svc = Some(Svc {
            id: saved.svc,
            granted: Granted {
                suite,
                local: saved.local_subnets.clone(),
                remote: saved.remote_subnets.clone(),
            },
            secret: Zeroizing::default(),
            keys: Keyring::adopt(inbound, outbound, now),
            ivcs: saved.ivcs.iter().map(ivc).collect(),
            last_ivc: saved.ivcs.iter().map(|ivc| ivc.number).max().unwrap_or(0),
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
            local: ivc.local,
            remote: ivc.source,
            port: self.port,
            facts: ivc.facts.clone(),
        };
        Some(Saved {
            svc: svc.id,
            local: self.endpoints.0,
            remote: self.endpoints.1,
            local_subnets: svc.granted.local.clone(),
            remote_subnets: svc.granted.remote.clone(),
            suite: svc.granted.suite.to_string(),
            inbound: keys.inbound.spi,
            outbound: keys.outbound.spi,
            ivcs: svc.ivcs.iter().filter(|ivc| ivc.joined).map(ivc).collect(),
        })
    }

    /// Removes an IVC, and tells the other side over another.
    fn drop_ivc(&mut self, number: u32, reason: &str, context: &mut Context<'_>) {
        let Some(svc) = &mut self.svc else { return };
        let Some(index) = svc.ivcs.iter().position(|ivc| ivc.number == number) else {
            return;
        };
        let gone = svc.ivcs.remove(index);
        let message = Message::LinkDrop(LinkDrop::new(svc.id, Some(number), reason));
        if let Some(connection) = svc.ivcs.iter().find_map(|ivc| ivc.connection) {
            context.send(connection, 0, message);
        }
        if let Some(id) = gone.connection {
            self.connections.remove(&id);
            context.close(id);
        }
        let tunnel = &self.profile.tunnel;
        context.note(What::IvcDropped {
            ivc: gone.shown(tunnel),
            reason: reason.to_owned(),
        });
        context.install();
        self.offer(context);
    }
}

impl Ivc {
    fn agreed(&self) -> AgreedIvc {
        AgreedIvc {
            number: self.number,
            link: self.link.clone(),
            remote: self.source,
            facts: self.facts.clone(),
            connected: self.connection.is_some(),
            impaired: self.impaired,
        }
    }
}
