//! Addresses for additional IVCs, and what is said over the IVCs that there are.

use std::net::Ipv4Addr;

use super::{OwnLink, Responder};
use crate::{
    config::Tunnel,
    session::{ConnectionId, Context, svc::Ivc},
    wire::{
        Echo, LinkAddReply, LinkAddRequest, LinkAvailable, LinkState, LinkTarget, Message, Reason,
        Verdict,
    },
};

impl Responder {
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
            Message::LinkAddRequest(wish) => {
                let reply = match self.assign(&wish, context) {
                    Ok(target) => LinkAddReply {
                        verdict: Verdict::success(),
                        target: Some(target),
                    },
                    Err(verdict) => LinkAddReply {
                        verdict,
                        target: None,
                    },
                };
                context.send(id, request, Message::LinkAddReply(reply));
            }
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
            // Late answers, and what only an initiator is told.
            _ => {}
        }
    }

    /// Picks an address for an initiator's link. Links of this side that no IVC uses come first; a link that has an
    /// IVC already gets only those.
    fn assign(
        &mut self,
        wish: &LinkAddRequest,
        context: &mut Context<'_>,
    ) -> Result<LinkTarget, Verdict> {
        let now = context.now;
        let port = self.port;
        let svc = self
            .svc
            .as_mut()
            .filter(|svc| svc.id == wish.svc)
            .ok_or_else(|| Verdict::refused(Reason::Unknown, "make the SVC anew"))?;
        let uses = |ivcs: &[Ivc], address: Ipv4Addr| {
            ivcs.iter().filter(|ivc| ivc.local == address).count()
        };
        let chosen: Option<&OwnLink> = if let Some(address) = wish.again {
            self.links.iter().find(|link| link.address == address)
        } else {
            // What this link has asked for before and not connected is asked for anew.
            svc.ivcs
                .retain(|ivc| ivc.joined || ivc.remote != wish.source);
            let has = |address| {
                svc.ivcs
                    .iter()
                    .any(|ivc| ivc.remote == wish.source && ivc.local == address)
            };
            // One that lost its connection before the initiator knew of it goes on.
            let lost = |address| {
                svc.ivcs.iter().any(|ivc| {
                    ivc.remote == wish.source && ivc.local == address && ivc.connection.is_none()
                })
            };
            let first = svc.ivcs.iter().all(|ivc| ivc.remote != wish.source);
            let fresh = |link: &&OwnLink| {
                !has(link.address) && (first || uses(&svc.ivcs, link.address) == 0)
            };
            self.links
                .iter()
                .find(|link| lost(link.address))
                .or_else(|| {
                    let fresh = self.links.iter().filter(fresh);
                    fresh.min_by_key(|link| uses(&svc.ivcs, link.address))
                })
        };
        let link =
            chosen.ok_or_else(|| Verdict::refused(Reason::NoLink, "every link is in use"))?;
        let known = svc
            .ivcs
            .iter()
            .any(|ivc| ivc.remote == wish.source && ivc.local == link.address);
        if !known && svc.ivcs.len() >= Tunnel::MAX_IVCS {
            let detail = format!("a tunnel has at most {} IVCs", Tunnel::MAX_IVCS);
            return Err(Verdict::refused(Reason::NoLink, detail));
        }
        let link = link.clone();
        let Some(ivc) = self.ivc_for(wish.source, &link, &wish.link) else {
            return Err(Verdict::refused(Reason::Unknown, "make the SVC anew"));
        };
        // An address that is not used in time is free again.
        let ivcs = self.svc.iter_mut().flat_map(|svc| &mut svc.ivcs);
        for waiting in ivcs.filter(|other| other.number == ivc && !other.joined) {
            waiting.lost = Some(now);
        }
        Ok(LinkTarget {
            ivc,
            address: link.address,
            port,
            link: link.facts,
        })
    }

    /// Tells the initiator that it is worthwhile to ask for addresses.
    pub(super) fn offer(&mut self, context: &mut Context<'_>) {
        let Some(svc) = &self.svc else { return };
        if let Some(connection) = svc.carrier() {
            context.send(
                connection,
                0,
                Message::LinkAvailable(LinkAvailable { svc: svc.id }),
            );
        }
    }

    /// The initiator has ended the SVC.
    fn end_svc(&mut self, reason: &str, context: &mut Context<'_>) {
        let tunnel = &self.profile.tunnel;
        context.note(format!("tunnel {tunnel}: the other side ends it: {reason}"));
        self.clear(context);
    }

    /// The other end of an IVC works, or does not.
    fn hear(&mut self, state: LinkState, context: &mut Context<'_>) {
        let svc = self.svc.as_mut().filter(|svc| svc.id == state.svc);
        if svc.is_some_and(|svc| svc.hear(state)) {
            context.install();
        }
    }
}
