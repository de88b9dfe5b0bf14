//! Adding links to an SVC, and what is said over the IVCs that it has.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{Initiator, PAUSE, Phase, Purpose, setup::jittered};
use crate::{
    config::{LinkName, Tunnel},
    session::{ConnectionId, Context, OwnLink, SETUP_LIMIT},
    wire::{Echo, LinkAddReply, LinkAddRequest, LinkState, Message, Reason},
};

/// The requests for addresses.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<u32, Pending>,
    last: u32,
    pauses: BTreeMap<LinkName, Pause>,
    /// The responder has no link left that no IVC uses.
    exhausted: bool,
}

#[derive(Debug)]
struct Pending {
    connection: ConnectionId,
    link: LinkName,
    again: Option<Ipv4Addr>,
    sent: Duration,
}

#[derive(Debug)]
struct Pause {
    failures: u32,
    until: Duration,
}

impl Requests {
    /// Ends all pauses: something has changed.
    pub(super) fn again(&mut self, now: Duration) {
        self.exhausted = false;
        for pause in self.pauses.values_mut() {
            pause.until = now;
        }
    }

    /// Forgets what was asked over a connection that is no more.
    pub(super) fn forget(&mut self, connection: ConnectionId, now: Duration) {
        self.pending.retain(|_, pending| {
            pending.connection != connection && now < pending.sent + SETUP_LIMIT
        });
    }

    /// Makes a pause before a link is tried again.
    pub(super) fn failed(&mut self, link: &LinkName, context: &mut Context<'_>) {
        let failures = self
            .pauses
            .get(link)
            .map_or(1, |pause| pause.failures.saturating_add(1));
        let length = (PAUSE.0 * 2_u32.saturating_pow(failures.min(16) - 1)).min(PAUSE.1);
        let until = context.now + jittered(length, context);
        self.pauses.insert(link.clone(), Pause { failures, until });
    }

    pub(super) fn succeeded(&mut self, link: &LinkName) {
        self.pauses.remove(link);
    }

    fn may(&self, link: &LinkName, now: Duration) -> bool {
        let asked = self.pending.values().any(|pending| pending.link == *link);
        !asked && self.pauses.get(link).is_none_or(|pause| now >= pause.until)
    }
}

impl Initiator {
    /// Asks for addresses for links that could carry more.
    pub(super) fn add_links(&mut self, context: &mut Context<'_>) {
        self.requests.forget(0, context.now);
        for (link, again) in self.wishes(context.now) {
            self.ask(&link, again, context);
        }
    }

    /// Drops an IVC that is one too many, once nothing else is about to change.
    pub(super) fn trim(&mut self, context: &mut Context<'_>) {
        let settled = self.requests.pending.is_empty()
            && self.links.iter().all(|link| !self.is_joining(&link.name));
        let Some(svc) = self.svc.as_mut().filter(|_| settled) else {
            return;
        };
        if let Some(number) = svc.surplus().map(|ivc| ivc.number) {
            svc.retire(|ivc| ivc.number == number, context);
        }
    }

    /// The links to connect, with the remote address where an IVC is to be connected again.
    fn wishes(&self, now: Duration) -> Vec<(OwnLink, Option<Ipv4Addr>)> {
        let Some(svc) = &self.svc else {
            return Vec::new();
        };
        if !svc.is_connected() {
            return Vec::new();
        }
        let idle =
            |link: &&OwnLink| self.requests.may(&link.name, now) && !self.is_joining(&link.name);
        let mut wishes = Vec::new();
        for link in self.links.iter().filter(idle) {
            let mut ivcs = svc
                .ivcs
                .iter()
                .filter(|ivc| ivc.link == link.name)
                .peekable();
            if ivcs.peek().is_none() {
                wishes.push((link.clone(), None));
            } else if let Some(lost) = ivcs.find(|ivc| ivc.connection.is_none()) {
                wishes.push((link.clone(), Some(lost.remote)));
            }
        }
        let quiet = wishes.is_empty()
            && self.requests.pending.is_empty()
            && !self.requests.exhausted
            && svc.ivcs.len() < Tunnel::MAX_IVCS;
        if quiet {
            // The other side may have more links than this one: the least used carry more than one IVC.
            let uses = |link: &OwnLink| svc.ivcs.iter().filter(|ivc| ivc.link == link.name).count();
            let least = self.links.iter().filter(idle).min_by_key(|link| uses(link));
            wishes.extend(least.map(|link| (link.clone(), None)));
        }
        wishes
    }

    fn is_joining(&self, link: &LinkName) -> bool {
        self.connections.values().any(|connection| {
            connection.link == *link
                && connection.phase != Phase::Established
                && matches!(connection.purpose, Purpose::Join { .. })
        })
    }

    fn ask(&mut self, link: &OwnLink, again: Option<Ipv4Addr>, context: &mut Context<'_>) {
        let Some(svc) = &self.svc else { return };
        // Better over another link than the one that has trouble.
        let carriers = || {
            svc.ivcs
                .iter()
                .filter(|ivc| ivc.connection.is_some() && !ivc.impaired)
        };
        let carrier = carriers()
            .find(|ivc| ivc.link != link.name)
            .or_else(|| carriers().next())
            .or_else(|| svc.ivcs.iter().find(|ivc| ivc.connection.is_some()));
        let Some(connection) = carrier.and_then(|ivc| ivc.connection) else {
            return;
        };
        self.requests.last = self.requests.last.wrapping_add(1);
        let id = self.requests.last;
        let pending = Pending {
            connection,
            link: link.name.clone(),
            again,
            sent: context.now,
        };
        self.requests.pending.insert(id, pending);
        let request = LinkAddRequest {
            svc: svc.id,
            source: link.address,
            link: link.facts.clone(),
            again,
        };
        context.send(connection, id, Message::LinkAddRequest(request));
    }

    /// Takes in a message on a connection that carries an IVC's.
    pub(super) fn message(
        &mut self,
        id: ConnectionId,
        request: u32,
        message: Message,
        context: &mut Context<'_>,
    ) {
        let svc = self.svc.as_ref().map(|svc| svc.id);
        match message {
            Message::LinkAddReply(reply) => self.answered(request, reply, context),
            Message::LinkAvailable(news) if Some(news.svc) == svc => {
                self.requests.again(context.now);
            }
            Message::KeyRenew(wish) if Some(wish.svc) == svc => self.renew(context),
            Message::LinkDrop(drop) if Some(drop.svc) == svc => match drop.ivc {
                Some(number) => self.drop_ivc(
                    number,
                    &format!("the other side says: {}", drop.reason),
                    context,
                ),
                None => self.end_svc(&drop.reason, context),
            },
            Message::LinkState(state) => self.hear(state, context),
            Message::Echo(_) => context.send(id, request, Message::EchoReply(Echo {})),
            // Late answers, and what only a responder is asked.
            _ => {}
        }
    }

    fn answered(&mut self, request: u32, reply: LinkAddReply, context: &mut Context<'_>) {
        let Some(pending) = self.requests.pending.remove(&request) else {
            return;
        };
        let target = match (reply.verdict.reason(), reply.target) {
            (None, Some(target)) => target,
            (Some(Reason::NoLink), _) => {
                let has = self
                    .svc
                    .iter()
                    .flat_map(|svc| &svc.ivcs)
                    .any(|ivc| ivc.link == pending.link);
                if let Some(remote) = pending.again {
                    // The link at the other end is gone: this one may have another.
                    self.requests.failed(&pending.link, context);
                    self.drop_lost(&pending.link, remote, context);
                } else if has {
                    self.requests.exhausted = true;
                } else {
                    self.requests.failed(&pending.link, context);
                }
                return;
            }
            _ => {
                self.refused(
                    pending.connection,
                    &format!("link {}", pending.link),
                    &reply.verdict,
                    context,
                );
                self.requests.failed(&pending.link, context);
                return;
            }
        };
        let Some(link) = self.links.iter().position(|link| link.name == pending.link) else {
            return;
        };
        let Some(svc) = self.svc.as_ref().map(|svc| svc.id) else {
            return;
        };
        let purpose = Purpose::Join {
            join: (svc, target.ivc),
            facts: target.link,
        };
        self.connect(
            link,
            SocketAddrV4::new(target.address, target.port),
            purpose,
            context,
        );
    }

    /// Drops an IVC that has no connection.
    fn drop_lost(&mut self, link: &LinkName, remote: Ipv4Addr, context: &mut Context<'_>) {
        let ivcs = self.svc.iter().flat_map(|svc| &svc.ivcs);
        let mut lost = ivcs.filter(|ivc| ivc.link == *link && ivc.remote == remote);
        if let Some(number) = lost
            .find(|ivc| ivc.connection.is_none())
            .map(|ivc| ivc.number)
        {
            self.drop_ivc(number, "the link at the other end is gone", context);
        }
    }

    /// The other side has ended the SVC: another is made.
    fn end_svc(&mut self, reason: &str, context: &mut Context<'_>) {
        let tunnel = &self.profile.tunnel;
        context.warn(format!("tunnel {tunnel}: the other side ends it: {reason}"));
        self.clear(context);
        self.making.failures = 1;
        self.making.next = context.now + jittered(PAUSE.0, context);
    }

    /// The other end of an IVC works, or does not.
    fn hear(&mut self, state: LinkState, context: &mut Context<'_>) {
        let svc = self.svc.as_mut().filter(|svc| svc.id == state.svc);
        if svc.is_some_and(|svc| svc.hear(state)) {
            context.install();
        }
    }
}
