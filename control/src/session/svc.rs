//! An SVC as either side of it knows it, and what both do alike with its IVCs.

use std::{net::Ipv4Addr, time::Duration};

use zeroize::Zeroizing;

use super::{
    Agreed, AgreedIvc, ConnectionId, Context, OwnLink, SaKeys, Saved, SavedIvc, agreed::Keyring,
    terms::Granted,
};
use crate::{
    api::event,
    config::{LinkName, SplitPolicy, TunnelName},
    wire::{LinkDrop, LinkFacts, LinkState, Message},
};

/// How long packets that left before the other side knew of an IVC's end may be under way.
const FAREWELL: Duration = Duration::from_secs(2);

/// An SVC.
#[derive(Debug)]
pub(super) struct Svc {
    /// The responder's name for it.
    pub(super) id: u64,
    /// The tunnel endpoints, this side's first.
    pub(super) endpoints: (Ipv4Addr, Ipv4Addr),
    pub(super) granted: Granted,
    /// By which a link that joins shows that it is one of the same gateway's. A new daemon has none before new keys are made.
    pub(super) secret: Option<Zeroizing<[u8; 32]>>,
    pub(super) keys: Keyring,
    pub(super) ivcs: Vec<Ivc>,
}

/// An IVC.
#[derive(Clone, Debug)]
pub(super) struct Ivc {
    /// The responder's number for it.
    pub(super) number: u32,
    /// The link at this end.
    pub(super) link: LinkName,
    /// Its address when the IVC was made.
    pub(super) local: Ipv4Addr,
    /// The address at the other end.
    pub(super) remote: Ipv4Addr,
    /// The TCP port at which the responder listens.
    pub(super) port: u16,
    /// The link at the other end.
    pub(super) facts: LinkFacts,
    pub(super) connection: Option<ConnectionId>,
    /// Since when there is no connection.
    pub(super) lost: Option<Duration>,
    /// Whether it was connected ever: only then it carries data.
    pub(super) joined: bool,
    /// Whether the other side says that its end does not work.
    pub(super) impaired: bool,
    /// When it is dropped, its link at this end being about to go.
    pub(super) leaves: Option<Duration>,
}

impl Ivc {
    /// The IVC as events name it.
    pub(super) fn shown(&self, tunnel: &TunnelName) -> event::Ivc {
        event::Ivc {
            tunnel: tunnel.to_string(),
            link: self.link.to_string(),
            remote: self.remote,
        }
    }
}

impl Svc {
    /// Goes on with what an earlier run left, by the keys that the kernel has, inbound first. The secret is gone.
    pub(super) fn resume(
        saved: &Saved,
        (inbound, outbound): (SaKeys, SaKeys),
        split: SplitPolicy,
        now: Duration,
    ) -> Option<Self> {
        let ivc = |ivc: &SavedIvc| Ivc {
            number: ivc.number,
            link: ivc.link.clone(),
            local: ivc.local,
            remote: ivc.remote,
            port: ivc.port,
            facts: ivc.facts.clone(),
            connection: None,
            lost: Some(now),
            joined: true,
            impaired: false,
            leaves: None,
        };
        Some(Self {
            id: saved.svc,
            endpoints: (saved.local, saved.remote),
            granted: Granted {
                suite: saved.suite.parse().ok()?,
                split,
                local: saved.local_subnets.clone(),
                remote: saved.remote_subnets.clone(),
            },
            secret: None,
            keys: Keyring::adopt(inbound, outbound, now),
            ivcs: saved.ivcs.iter().map(ivc).collect(),
        })
    }

    /// What another run needs in order to go on; nothing before keys are in use.
    pub(super) fn save(&self) -> Option<Saved> {
        let keys = self.keys.current.as_ref()?;
        let ivc = |ivc: &Ivc| SavedIvc {
            number: ivc.number,
            link: ivc.link.clone(),
            local: ivc.local,
            remote: ivc.remote,
            port: ivc.port,
            facts: ivc.facts.clone(),
        };
        Some(Saved {
            svc: self.id,
            local: self.endpoints.0,
            remote: self.endpoints.1,
            local_subnets: self.granted.local.clone(),
            remote_subnets: self.granted.remote.clone(),
            suite: self.granted.suite.to_string(),
            inbound: keys.inbound.spi,
            outbound: keys.outbound.spi,
            ivcs: self.joined().map(ivc).collect(),
        })
    }

    /// What is agreed.
    pub(super) fn agreed(&self) -> Agreed {
        let ivc = |ivc: &Ivc| AgreedIvc {
            number: ivc.number,
            link: ivc.link.clone(),
            remote: ivc.remote,
            facts: ivc.facts.clone(),
            connected: ivc.connection.is_some(),
            impaired: ivc.impaired || ivc.leaves.is_some(),
        };
        Agreed {
            svc: self.id,
            local: self.endpoints.0,
            remote: self.endpoints.1,
            local_subnets: self.granted.local.clone(),
            remote_subnets: self.granted.remote.clone(),
            suite: self.granted.suite,
            ivcs: self.joined().map(ivc).collect(),
            outbound: self.keys.outbound(),
            inbound: self.keys.inbound(),
        }
    }

    fn joined(&self) -> impl Iterator<Item = &Ivc> {
        self.ivcs.iter().filter(|ivc| ivc.joined)
    }

    /// A connection over which something can be said to the other side.
    pub(super) fn carrier(&self) -> Option<ConnectionId> {
        self.ivcs.iter().find_map(|ivc| ivc.connection)
    }

    /// Whether the other side is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.carrier().is_some()
    }

    /// Takes in that the other end of an IVC works, or does not; returns whether that is news.
    pub(super) fn hear(&mut self, state: LinkState) -> bool {
        let ivc = self.ivcs.iter_mut().find(|ivc| ivc.number == state.ivc);
        match ivc {
            Some(ivc) if ivc.impaired == state.up => {
                ivc.impaired = !state.up;
                true
            }
            _ => false,
        }
    }

    /// Says that this end of an IVC works, or does not, over the connection of another. One that is about to leave works no more: whatever
    /// came by it then would be lost.
    pub(super) fn tell(
        &self,
        link: &LinkName,
        remote: Ipv4Addr,
        up: bool,
        context: &mut Context<'_>,
    ) {
        let mut ivcs = self.ivcs.iter();
        let Some(ivc) = ivcs.find(|ivc| ivc.link == *link && ivc.remote == remote) else {
            return;
        };
        let mut others = self.ivcs.iter().filter(|other| other.number != ivc.number);
        if let Some(connection) = others.find_map(|other| other.connection) {
            let state = LinkState {
                svc: self.id,
                ivc: ivc.number,
                up: up && ivc.leaves.is_none(),
            };
            context.send(connection, 0, Message::LinkState(state));
        }
    }

    /// The IVCs whose link has another address now. A link that is merely down keeps its IVCs.
    pub(super) fn moved(&self, links: &[OwnLink]) -> Vec<u32> {
        let moved = |ivc: &&Ivc| {
            links
                .iter()
                .any(|link| link.name == ivc.link && link.address != ivc.local)
        };
        self.ivcs
            .iter()
            .filter(moved)
            .map(|ivc| ivc.number)
            .collect()
    }

    /// Notes that a connection is no more; returns the IVC that had it.
    pub(super) fn disconnect(&mut self, id: ConnectionId, now: Duration) -> Option<&Ivc> {
        let ivc = self
            .ivcs
            .iter_mut()
            .find(|ivc| ivc.connection == Some(id))?;
        ivc.connection = None;
        ivc.lost = Some(now);
        Some(ivc)
    }

    /// Removes an IVC, tells the other side, and ends its connection.
    pub(super) fn drop_ivc(
        &mut self,
        number: u32,
        reason: &str,
        context: &mut Context<'_>,
    ) -> Option<Ivc> {
        let index = self.ivcs.iter().position(|ivc| ivc.number == number)?;
        let ivc = self.ivcs.remove(index);
        let drop = Message::LinkDrop(LinkDrop::new(self.id, Some(number), reason));
        // Over all connections, its own included, which sends what waits before it closes: the other side may be about to
        // close any of them.
        let connections = self.ivcs.iter().filter_map(|ivc| ivc.connection);
        for connection in connections.chain(ivc.connection) {
            context.send(connection, 0, drop.clone());
        }
        if let Some(connection) = ivc.connection {
            context.close(connection);
        }
        context.install();
        Some(ivc)
    }

    /// Says that the SVC is over.
    pub(super) fn leave(&self, reason: &str, context: &mut Context<'_>) {
        if let Some(connection) = self.carrier() {
            let drop = LinkDrop::new(self.id, None, reason);
            context.send(connection, 0, Message::LinkDrop(drop));
        }
    }

    /// Stops the use of IVCs, tells the other side to do so, and drops them when what is under way has arrived.
    pub(super) fn retire(&mut self, meant: impl Fn(&Ivc) -> bool, context: &mut Context<'_>) {
        let until = context.now + FAREWELL;
        for index in 0..self.ivcs.len() {
            let ivc = &mut self.ivcs[index];
            if !meant(ivc) || ivc.leaves.is_some() {
                continue;
            }
            ivc.leaves = Some(until);
            let (link, remote) = (ivc.link.clone(), ivc.remote);
            self.tell(&link, remote, false, context);
            context.install();
        }
    }

    /// An IVC without which each of its two links still has one. Such are left where links went and came back, and cost: a link's
    /// rate is shared among its IVCs.
    pub(super) fn surplus(&self) -> Option<&Ivc> {
        let works = |ivc: &&Ivc| ivc.connection.is_some() && !ivc.impaired;
        if !self
            .ivcs
            .iter()
            .all(|ivc| works(&ivc) && ivc.leaves.is_none())
        {
            return None;
        }
        let shared = |by: &dyn Fn(&Ivc) -> bool| self.ivcs.iter().filter(|ivc| by(ivc)).count() > 1;
        self.ivcs.iter().find(|ivc| {
            shared(&|other| other.link == ivc.link) && shared(&|other| other.remote == ivc.remote)
        })
    }

    /// The IVCs whose time has come.
    pub(super) fn leaving(&self, now: Duration) -> Vec<u32> {
        let due = |ivc: &&Ivc| ivc.leaves.is_some_and(|when| when <= now);
        self.ivcs.iter().filter(due).map(|ivc| ivc.number).collect()
    }

    /// Forgets IVCs that have been without a connection for too long; returns whether there were any.
    pub(super) fn forget(&mut self, now: Duration, patience: impl Fn(&Ivc) -> Duration) -> bool {
        let before = self.ivcs.len();
        self.ivcs
            .retain(|ivc| ivc.lost.is_none_or(|since| now < since + patience(ivc)));
        self.ivcs.len() != before
    }
}
