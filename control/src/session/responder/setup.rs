//! From a new connection to an SVC, or to an IVC that has joined it.

use super::{Ivc, Phase, Responder, Svc};
use crate::{
    session::{
        ConnectionId, Context,
        agreed::{Generation, Keyring},
        auth::Claim,
        keys::Way,
    },
    wire::{
        Hello, HelloReply, KeySwitch, KeySwitched, LinkAuthChallenge, LinkAuthResponse,
        LinkAuthResult, Message, NEWEST_VERSION, OLDEST_VERSION, Reason, SvcCreateReply,
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
                self.grant(id, &request, context);
            }
            (Phase::Granted, Message::KeySwitch(switch)) => self.switch(id, switch, context),
            (_, message) => self.end(id, &format!("an unexpected {}", message.name()), context),
        }
    }

    /// Ends a connection that is not in use.
    fn end(&mut self, id: ConnectionId, reason: &str, context: &mut Context<'_>) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let (tunnel, remote) = (&self.profile.tunnel, connection.remote);
        context.warn(format!("tunnel {tunnel}: {remote} is refused: {reason}"));
        context.breach();
        context.close(id);
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
            return self.end(id, "no common version", context);
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
            return self.end(id, "it joins an unknown SVC or IVC", context);
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
            svc.id == join.svc && svc.ivcs.iter().any(|ivc| ivc.number == join.ivc)
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
        let svc = self.svc.as_ref().map(|svc| &*svc.secret);
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
            let reason = verdict.to_string();
            context.send(id, 0, Message::LinkAuthResult(LinkAuthResult { verdict }));
            return self.end(id, &reason, context);
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

    fn grant(&mut self, id: ConnectionId, request: &SvcCreateRequest, context: &mut Context<'_>) {
        match self.try_grant(id, request, context) {
            Ok(()) => {}
            Err(verdict) => {
                let reason = verdict.to_string();
                let reply = SvcCreateReply { verdict, svc: None };
                context.send(id, 0, Message::SvcCreateReply(reply));
                self.end(id, &reason, context);
            }
        }
    }

    fn try_grant(
        &mut self,
        id: ConnectionId,
        request: &SvcCreateRequest,
        context: &mut Context<'_>,
    ) -> Result<(), Verdict> {
        let granted = self.profile.grant(request)?;
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
            secret: secret.svc(),
            keys: Keyring::default(),
            ivcs: Vec::new(),
            last_ivc: 0,
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
        svc.secret = secret.svc();
        svc.keys.next = Some(keys.clone());
        let ivc = svc.ivc_for(source, local, &link.name, &request.link);
        let terms = SvcTerms {
            svc: svc.id,
            spi,
            suite: svc.granted.suite.to_string(),
            initiator: self.endpoints.1,
            responder: self.endpoints.0,
            ivc,
            link: link.facts,
        };
        self.svc = Some(svc);
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
            return self.end(id, "it switches to keys that were not offered", context);
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
            let tunnel = &self.profile.tunnel;
            context.note(format!("tunnel {tunnel}: new keys are in use"));
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
        let Some(ivc) = self
            .svc
            .iter_mut()
            .flat_map(|svc| &mut svc.ivcs)
            .find(|ivc| ivc.number == number)
        else {
            return self.end(id, "its IVC is gone", context);
        };
        if !ivc.joined {
            let tunnel = &self.profile.tunnel;
            context.note(format!(
                "tunnel {tunnel}: IVC from {} to link {} joined",
                ivc.source, ivc.link
            ));
        }
        let before = ivc.connection.replace(id).filter(|before| *before != id);
        ivc.joined = true;
        ivc.lost = None;
        ivc.impaired = false;
        if let Some(before) = before {
            self.connections.remove(&before);
            context.close(before);
        }
        context.install();
    }
}

impl Svc {
    /// The IVC of a pair of addresses, a new one if there is none.
    pub(super) fn ivc_for(
        &mut self,
        source: std::net::Ipv4Addr,
        local: std::net::Ipv4Addr,
        link: &crate::config::LinkName,
        facts: &crate::wire::LinkFacts,
    ) -> u32 {
        if let Some(ivc) = self
            .ivcs
            .iter_mut()
            .find(|ivc| ivc.source == source && ivc.local == local)
        {
            ivc.facts = facts.clone();
            return ivc.number;
        }
        self.last_ivc += 1;
        self.ivcs.push(Ivc {
            number: self.last_ivc,
            link: link.clone(),
            local,
            source,
            facts: facts.clone(),
            connection: None,
            lost: None,
            joined: false,
            impaired: false,
        });
        self.last_ivc
    }
}
