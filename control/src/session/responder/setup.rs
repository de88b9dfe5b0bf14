//! From a new connection to an SVC, or to an IVC that has joined it.

use std::net::Ipv4Addr;

use super::{Phase, Responder};
use crate::{
    api::event::What,
    session::{
        ConnectionId, Context, OwnLink,
        agreed::{Generation, Keyring},
        auth::Claim,
        keys::Way,
        svc::{Ivc, Svc},
    },
    wire::{
        Hello, HelloReply, KeySwitch, KeySwitched, LinkAuthChallenge, LinkAuthResponse,
        LinkAuthResult, LinkFacts, Message, NEWEST_VERSION, OLDEST_VERSION, Reason, SvcCreateReply,
        SvcCreateRequest, SvcTerms, Verdict,
    },
};

impl Responder {
    /// Takes in a message on a connection that is not in use yet.
    pub(super) fn set_up(
        &mut self,
        id: ConnectionId,
        phase: Phase,
        message: Message,
        context: &mut Context<'_>,
    ) {
        match (phase, message) {
            (Phase::Accepted, Message::Hello(hello)) => self.welcome(id, &hello, context),
            (Phase::Challenged(nonce), Message::LinkAuthResponse(response)) => {
                self.judge(id, nonce, &response, context);
            }
            (Phase::Authenticated, Message::SvcCreateRequest(request)) => {
                self.consider(id, request, context);
            }
            (Phase::Granted, Message::KeySwitch(switch)) => self.switch(id, switch, context),
            (_, message) => {
                let text = format!("an unexpected {}", message.name());
                self.end(id, Reason::Unexpected, &text, context);
            }
        }
    }

    /// Ends a connection that is not in use, the initiator having been told.
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        verdict: &Verdict,
        context: &mut Context<'_>,
    ) {
        if let Some(reason) = verdict.reason() {
            self.end(id, reason, &verdict.to_string(), context);
        }
    }

    /// Ends a connection that is not in use.
    fn end(&mut self, id: ConnectionId, reason: Reason, text: &str, context: &mut Context<'_>) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        context.count(reason);
        context.close(id);
        let refused = What::Refused {
            tunnel: self.profile.tunnel.to_string(),
            remote: connection.remote,
            reason: text.to_owned(),
        };
        let text = refused.words();
        if self.trouble.as_ref() != Some(&text) {
            context.note(refused);
            self.trouble = Some(text);
        }
    }

    fn welcome(&mut self, id: ConnectionId, hello: &Hello, context: &mut Context<'_>) {
        let reply = |verdict, version| {
            Message::HelloReply(HelloReply {
                verdict,
                version,
                gateway: self.profile.gateway.clone(),
            })
        };
        let version = hello.newest.min(NEWEST_VERSION);
        if version < hello.oldest || version < OLDEST_VERSION {
            let detail = format!("this gateway speaks {OLDEST_VERSION} to {NEWEST_VERSION}");
            context.send(
                id,
                0,
                reply(Verdict::refused(Reason::Version, detail), version),
            );
            return self.end(id, Reason::Version, "no common version", context);
        }
        if let Some(join) = hello.join
            && !self.expects(join)
        {
            let detail = "make the SVC anew";
            context.send(
                id,
                0,
                reply(Verdict::refused(Reason::Unknown, detail), version),
            );
            let text = "it joins an unknown SVC or IVC";
            return self.end(id, Reason::Unknown, text, context);
        }
        context.send(id, 0, reply(Verdict::success(), version));
        let mut nonce = [0; 32];
        context.random.fill(&mut nonce);
        context.send(
            id,
            0,
            Message::LinkAuthChallenge(LinkAuthChallenge { nonce }),
        );
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.join = hello.join;
            connection.phase = Phase::Challenged(nonce);
        }
    }

    fn expects(&self, join: crate::wire::Join) -> bool {
        self.svc.as_ref().is_some_and(|svc| {
            svc.id == join.svc
                && svc.secret.is_some()
                && svc.ivcs.iter().any(|ivc| ivc.number == join.ivc)
        })
    }

    fn judge(
        &mut self,
        id: ConnectionId,
        nonce: [u8; 32],
        response: &LinkAuthResponse,
        context: &mut Context<'_>,
    ) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let claim = Claim {
            connection: &connection.secret,
            join: connection.join.map_or((0, 0), |join| (join.svc, join.ivc)),
            nonce,
            source: response.source,
            destination: response.destination,
        };
        let svc = self.svc.as_ref().and_then(|svc| svc.secret.as_deref());
        let refusal = if !claim.verify(connection.join.and(svc), &response.mac) {
            Some(Verdict::refused(
                Reason::Authentication,
                "is it another SVC's?",
            ))
        } else if (response.source, response.destination) != (connection.remote, connection.local) {
            let detail = format!(
                "{} to {} arrives as {} to {}",
                response.source, response.destination, connection.remote, connection.local
            );
            Some(Verdict::refused(Reason::Translated, detail))
        } else {
            None
        };
        if let Some(verdict) = refusal {
            let result = LinkAuthResult {
                verdict: verdict.clone(),
            };
            context.send(id, 0, Message::LinkAuthResult(result));
            return self.refuse(id, &verdict, context);
        }
        let result = LinkAuthResult {
            verdict: Verdict::success(),
        };
        context.send(id, 0, Message::LinkAuthResult(result));
        match connection.join {
            Some(join) => self.joined(id, join.ivc, context),
            None => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.phase = Phase::Authenticated;
                }
            }
        }
    }

    pub(super) fn grant(
        &mut self,
        id: ConnectionId,
        request: &SvcCreateRequest,
        context: &mut Context<'_>,
    ) {
        if let Err(verdict) = self.try_grant(id, request, context) {
            self.refuse_svc(id, verdict, context);
        }
    }

    fn try_grant(
        &mut self,
        id: ConnectionId,
        request: &SvcCreateRequest,
        context: &mut Context<'_>,
    ) -> Result<(), Verdict> {
        let granted = self.profile.grant(request)?;
        let tunnel = &self.profile.tunnel;
        if let Some((subnet, other)) = context.claims.conflict(tunnel, &granted.remote) {
            // Whose it is, is no business of the other side's.
            let detail = format!("{subnet} is, at least in part, another site's");
            context.note(What::SubnetTaken {
                tunnel: tunnel.to_string(),
                subnet,
                owner: other.to_string(),
            });
            return Err(Verdict::refused(Reason::SubnetTaken, detail));
        }
        if request.taken.contains(&self.endpoints.0) {
            let detail = format!(
                "another responder has {}: change gateway.pool",
                self.endpoints.0
            );
            return Err(Verdict::refused(Reason::NoEndpoint, detail));
        }
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let (local, source, secret) = (
            connection.local,
            connection.remote,
            connection.secret.clone(),
        );
        let Some(link) = self
            .links
            .iter()
            .find(|link| link.address == local)
            .cloned()
        else {
            let detail = format!("{local} is no link of this tunnel's bundle");
            return Err(Verdict::refused(Reason::NoLink, detail));
        };
        let known = self.svc.take().filter(|svc| request.svc == Some(svc.id));
        let mut svc = known.unwrap_or_else(|| Svc {
            id: context.random.number(),
            granted: granted.clone(),
            secret: None,
            endpoints: self.endpoints,
            keys: Keyring::default(),
            ivcs: Vec::new(),
        });
        let spi = context.spi(|spi| svc.keys.receives(spi));
        let keys = Generation::derive(
            &secret,
            granted.suite,
            Way::ToInitiator,
            (spi, request.spi),
            context.now,
        );
        svc.granted = granted;
        svc.secret = Some(secret.svc());
        svc.keys.next = Some(keys.clone());
        let (svc_id, suite) = (svc.id, svc.granted.suite);
        self.svc = Some(svc);
        let Some(ivc) = self.ivc_for(source, &link, &request.link) else {
            return Ok(());
        };
        let terms = SvcTerms {
            svc: svc_id,
            spi,
            suite: suite.to_string(),
            initiator: self.endpoints.1,
            responder: self.endpoints.0,
            ivc,
            link: link.facts,
        };
        let revision = context.install();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.offer = Some((keys, terms));
            connection.phase = Phase::Granting(revision);
        }
        Ok(())
    }

    fn switch(&mut self, id: ConnectionId, switch: KeySwitch, context: &mut Context<'_>) {
        let offer = self
            .connections
            .get(&id)
            .and_then(|connection| connection.offer.as_ref());
        let Some((keys, _)) = offer
            .filter(|(_, terms)| (terms.svc, terms.spi) == (switch.svc, switch.spi))
            .cloned()
        else {
            let text = "it switches to keys that were not offered";
            return self.end(id, Reason::Unexpected, text, context);
        };
        let Some(svc) = &mut self.svc else { return };
        svc.keys.switch(keys, context.now);
        let revision = context.install();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = Phase::Switching(revision);
        }
    }

    /// The kernel has what waited for it.
    pub(super) fn proceed(&mut self, revision: u64, context: &mut Context<'_>) {
        let mut ready = Vec::new();
        for (id, connection) in &mut self.connections {
            let Some((_, terms)) = &connection.offer else {
                continue;
            };
            match connection.phase {
                Phase::Granting(wanted) if wanted <= revision => {
                    connection.phase = Phase::Granted;
                    let reply = SvcCreateReply {
                        verdict: Verdict::success(),
                        svc: Some(terms.clone()),
                    };
                    context.send(*id, 0, Message::SvcCreateReply(reply));
                }
                Phase::Switching(wanted) if wanted <= revision => {
                    let switched = KeySwitched {
                        svc: terms.svc,
                        spi: terms.spi,
                    };
                    context.send(*id, 0, Message::KeySwitched(switched));
                    ready.push((*id, terms.ivc));
                }
                _ => {}
            }
        }
        for (id, ivc) in ready {
            self.trouble = None;
            let tunnel = self.profile.tunnel.to_string();
            context.note(What::NewKeys { tunnel });
            self.joined(id, ivc, context);
        }
    }

    /// An IVC's connection is ready.
    fn joined(&mut self, id: ConnectionId, number: u32, context: &mut Context<'_>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.phase = Phase::Established;
        connection.offer = None;
        let mut ivcs = self.svc.iter().flat_map(|svc| &svc.ivcs);
        let first = !ivcs.any(|ivc| ivc.joined);
        let Some(ivc) = self
            .svc
            .iter_mut()
            .flat_map(|svc| &mut svc.ivcs)
            .find(|ivc| ivc.number == number)
        else {
            return self.end(id, Reason::Unknown, "its IVC is gone", context);
        };
        if !ivc.joined {
            let tunnel = &self.profile.tunnel;
            if first {
                context.note(What::TunnelNegotiated {
                    tunnel: tunnel.to_string(),
                });
            }
            context.note(What::IvcJoined(ivc.shown(tunnel)));
        }
        let before = ivc.connection.replace(id).filter(|before| *before != id);
        ivc.joined = true;
        ivc.lost = None;
        ivc.impaired = false;
        if let Some(before) = before.and_then(|before| self.connections.get_mut(&before)) {
            before.phase = Phase::Replaced(context.now);
        }
        context.install();
    }

    /// The number of the IVC between an initiator's address and a link, a new one if there is none.
    pub(super) fn ivc_for(
        &mut self,
        remote: Ipv4Addr,
        link: &OwnLink,
        facts: &LinkFacts,
    ) -> Option<u32> {
        let svc = self.svc.as_mut()?;
        let known = svc
            .ivcs
            .iter_mut()
            .find(|ivc| ivc.remote == remote && ivc.local == link.address);
        if let Some(ivc) = known {
            ivc.facts = facts.clone();
            return Some(ivc.number);
        }
        self.last_ivc += 1;
        svc.ivcs.push(Ivc {
            number: self.last_ivc,
            link: link.name.clone(),
            local: link.address,
            remote,
            port: self.port,
            facts: facts.clone(),
            connection: None,
            lost: None,
            joined: false,
            impaired: false,
            leaves: None,
        });
        Some(self.last_ivc)
    }
}
