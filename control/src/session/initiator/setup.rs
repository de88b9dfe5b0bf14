//! From a new connection to an SVC, or to an IVC that has joined it.

use std::{net::SocketAddrV4, time::Duration};

use super::{Connection, Initiator, PAUSE, Phase, Purpose, REFUSED, STAGGER};
use crate::{
    session::{
        ConnectionId, ConnectionSecret, Context,
        agreed::{Generation, Keyring},
        auth::Claim,
        keys::Way,
        svc::{Ivc, Svc},
        terms::Granted,
    },
    wire::{
        Hello, Join, KeySwitch, LinkAuthChallenge, LinkAuthResponse, Message, NEWEST_VERSION,
        OLDEST_VERSION, Reason, SvcCreateReply, SvcTerms,
    },
};

impl Initiator {
    /// Opens another connection for making the SVC if one is due.
    pub(super) fn make(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        self.making.renew |= self.svc.is_some() && now >= self.making.due;
        let alive = self.svc.as_ref().is_some_and(Svc::is_connected);
        let busy = self
            .connections
            .values()
            .any(|connection| connection.phase.is_making());
        if (alive && !self.making.renew) || busy || now < self.making.next {
            return;
        }
        let pairs = self.pairs();
        let tried: Vec<_> = self
            .connections
            .values()
            .filter(|connection| {
                matches!(connection.purpose, Purpose::Make)
                    && connection.phase != Phase::Established
            })
            .map(|connection| (connection.local, connection.remote))
            .collect();
        let fresh =
            |pair: &&(usize, SocketAddrV4)| !tried.contains(&(self.links[pair.0].address, pair.1));
        let turn = self.making.turn % pairs.len().max(1);
        let next = pairs
            .iter()
            .cycle()
            .skip(turn)
            .take(pairs.len())
            .position(|pair| fresh(&pair));
        let Some(offset) = next else { return };
        let (link, remote) = pairs[(turn + offset) % pairs.len()];
        self.making.turn = turn + offset + 1;
        self.making.next = now + STAGGER;
        self.connect(link, remote, Purpose::Make, context);
    }

    /// The pairs over which the SVC can be made: over IVCs that it has, and to the configured address.
    fn pairs(&self) -> Vec<(usize, SocketAddrV4)> {
        let mut pairs: Vec<(usize, SocketAddrV4)> = Vec::new();
        let ivcs = self.svc.iter().flat_map(|svc| &svc.ivcs);
        for ivc in ivcs {
            let link = self.links.iter().position(|link| link.name == ivc.link);
            let remote = SocketAddrV4::new(ivc.remote, ivc.port);
            pairs.extend(link.map(|link| (link, remote)));
        }
        for link in 0..self.links.len() {
            if !pairs.contains(&(link, self.target)) {
                pairs.push((link, self.target));
            }
        }
        pairs
    }

    pub(super) fn connect(
        &mut self,
        link: usize,
        remote: SocketAddrV4,
        purpose: Purpose,
        context: &mut Context<'_>,
    ) -> ConnectionId {
        let link = &self.links[link];
        *context.next_connection += 1;
        let id = *context.next_connection;
        context.actions.push(crate::session::Action::Connect {
            connection: id,
            link: link.name.clone(),
            local: link.address,
            remote,
            expect: self.profile.peer,
        });
        let connection = Connection {
            purpose,
            link: link.name.clone(),
            local: link.address,
            remote,
            phase: Phase::Connecting,
            begun: context.now,
            heard: context.now,
            asked: context.now,
            secret: None,
            terms: None,
        };
        self.connections.insert(id, connection);
        id
    }

    pub(super) fn greet(
        &mut self,
        id: ConnectionId,
        secret: ConnectionSecret,
        context: &mut Context<'_>,
    ) {
        let gateway = self.profile.gateway.clone();
        let Some(connection) = self.connections.get_mut(&id) else {
            context.close(id);
            return;
        };
        connection.secret = Some(secret);
        connection.phase = Phase::Greeting;
        let join = match connection.purpose {
            Purpose::Make => None,
            Purpose::Join {
                join: (svc, ivc), ..
            } => Some(Join { svc, ivc }),
        };
        let hello = Hello {
            oldest: OLDEST_VERSION,
            newest: NEWEST_VERSION,
            gateway,
            join,
        };
        context.send(id, 0, Message::Hello(hello));
    }

    /// Takes in a message on a connection that is not in use yet.
    pub(super) fn set_up(
        &mut self,
        id: ConnectionId,
        phase: Phase,
        message: Message,
        context: &mut Context<'_>,
    ) {
        match (phase, message) {
            (Phase::Greeting, Message::HelloReply(reply)) => {
                if reply.verdict.reason().is_some() {
                    return self.end(id, "the connection", &reply.verdict, context);
                }
                self.enter(id, Phase::Welcome);
            }
            (Phase::Welcome, Message::LinkAuthChallenge(challenge)) => {
                self.prove(id, challenge, context);
            }
            (Phase::Proving, Message::LinkAuthResult(result)) => {
                if result.verdict.reason().is_some() {
                    return self.end(id, "the authentication", &result.verdict, context);
                }
                self.authenticated(id, context);
            }
            (Phase::Creating(spi), Message::SvcCreateReply(reply)) => {
                self.granted(id, spi, reply, context);
            }
            (Phase::Switching, Message::KeySwitched(_)) => self.switched(id, context),
            (_, message) => {
                let name = message.name();
                context.count(Reason::Unexpected);
                context.close(id);
                self.lost(id, &format!("an unexpected {name}"), context);
            }
        }
    }

    fn enter(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = phase;
        }
    }

    /// Ends a connection because of a refusal.
    fn end(
        &mut self,
        id: ConnectionId,
        what: &str,
        verdict: &crate::wire::Verdict,
        context: &mut Context<'_>,
    ) {
        self.refused(id, what, verdict, context);
        if matches!(
            self.connections.get(&id).map(|c| &c.purpose),
            Some(Purpose::Join { .. })
        ) && verdict.reason() == Some(Reason::Unknown)
        {
            // The responder knows nothing of the SVC any more.
            self.making.renew = true;
        }
        context.close(id);
        self.lost(id, REFUSED, context);
    }

    fn prove(&mut self, id: ConnectionId, challenge: LinkAuthChallenge, context: &mut Context<'_>) {
        let svc = self.svc.as_ref().and_then(|svc| svc.secret.as_deref());
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(secret) = &connection.secret else {
            return;
        };
        let (join, key) = match connection.purpose {
            Purpose::Make => ((0, 0), None),
            Purpose::Join { join, .. } => (join, svc),
        };
        let claim = Claim {
            connection: secret,
            join,
            nonce: challenge.nonce,
            source: connection.local,
            destination: *connection.remote.ip(),
        };
        let response = LinkAuthResponse {
            mac: claim.prove(key),
            source: claim.source,
            destination: claim.destination,
        };
        connection.phase = Phase::Proving;
        context.send(id, 0, Message::LinkAuthResponse(response));
    }

    fn authenticated(&mut self, id: ConnectionId, context: &mut Context<'_>) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if let Purpose::Join { join, facts } = connection.purpose.clone() {
            self.joined(id, join, facts, context);
        } else if self
            .connections
            .values()
            .any(|other| other.phase.is_making())
        {
            self.enter(id, Phase::Waiting);
        } else {
            self.create(id, context);
        }
    }

    fn create(&mut self, id: ConnectionId, context: &mut Context<'_>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(link) = self.links.iter().find(|link| link.name == connection.link) else {
            return;
        };
        let svc = self.svc.as_ref();
        let spi = context.spi(|spi| svc.is_some_and(|svc| svc.keys.receives(spi)));
        connection.phase = Phase::Creating(spi);
        let request = self.profile.request(
            svc.map(|svc| svc.id),
            spi,
            context.claims.endpoints(&self.profile.tunnel).collect(),
            link.facts.clone(),
        );
        context.send(id, 0, Message::SvcCreateRequest(request));
    }

    fn granted(
        &mut self,
        id: ConnectionId,
        spi: u32,
        reply: SvcCreateReply,
        context: &mut Context<'_>,
    ) {
        let (None, Some(terms)) = (reply.verdict.reason(), reply.svc) else {
            return self.end(id, "the tunnel", &reply.verdict, context);
        };
        let Some(granted) = self.accept(&terms, context) else {
            context.count(Reason::Unexpected);
            context.close(id);
            return self.lost(id, "it grants what was not asked for", context);
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(secret) = connection.secret.clone() else {
            return;
        };
        let keys = Generation::derive(
            &secret,
            granted.suite,
            Way::ToResponder,
            (spi, terms.spi),
            context.now,
        );
        let endpoints = (terms.initiator, terms.responder);
        let again = self
            .svc
            .take()
            .filter(|svc| svc.id == terms.svc && svc.endpoints == endpoints);
        let mut svc = again.unwrap_or_else(|| Svc {
            id: terms.svc,
            endpoints,
            granted: granted.clone(),
            secret: None,
            keys: Keyring::default(),
            ivcs: Vec::new(),
        });
        svc.granted = granted;
        svc.secret = Some(secret.svc());
        svc.keys.switch(keys, context.now);
        self.making.due = context.now + jittered(self.profile.rekey_after, context);
        self.making.bytes = None;
        self.svc = Some(svc);
        let revision = context.install();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.terms = Some(terms);
            connection.phase = Phase::Installing(revision);
        }
    }

    fn accept(&self, terms: &SvcTerms, context: &Context<'_>) -> Option<Granted> {
        let suite = terms.suite.parse().ok()?;
        let fine = self.profile.suites.contains(&suite)
            && terms.spi >= 256
            && terms.initiator != terms.responder
            && context
                .claims
                .endpoints(&self.profile.tunnel)
                .all(|taken| taken != terms.responder)
            && [terms.initiator, terms.responder].iter().all(|endpoint| {
                let subnets = self.profile.local.iter().chain(&self.profile.remote);
                !endpoint.is_loopback()
                    && !endpoint.is_multicast()
                    && subnets.into_iter().all(|subnet| !subnet.contains(endpoint))
            });
        fine.then(|| Granted {
            suite,
            split: self.profile.split,
            local: self.profile.local.clone(),
            remote: self.profile.remote.clone(),
        })
    }

    /// The kernel has the new keys: the responder may use them.
    pub(super) fn switch_keys(&mut self, revision: u64, context: &mut Context<'_>) {
        for (id, connection) in &mut self.connections {
            let Some(terms) = &connection.terms else {
                continue;
            };
            if matches!(connection.phase, Phase::Installing(wanted) if wanted <= revision) {
                connection.phase = Phase::Switching;
                let switch = KeySwitch {
                    svc: terms.svc,
                    spi: terms.spi,
                };
                context.send(*id, 0, Message::KeySwitch(switch));
            }
        }
    }

    fn switched(&mut self, id: ConnectionId, context: &mut Context<'_>) {
        let Some(terms) = self
            .connections
            .get_mut(&id)
            .and_then(|connection| connection.terms.take())
        else {
            return;
        };
        let tunnel = &self.profile.tunnel;
        context.note(format!("tunnel {tunnel}: new keys are in use"));
        self.joined(id, (terms.svc, terms.ivc), terms.link, context);
        self.made(true, context);
    }

    /// An IVC's connection is ready.
    fn joined(
        &mut self,
        id: ConnectionId,
        (svc_id, number): (u64, u32),
        facts: crate::wire::LinkFacts,
        context: &mut Context<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(svc) = self.svc.as_mut().filter(|svc| svc.id == svc_id) else {
            context.close(id);
            self.connections.remove(&id);
            return;
        };
        connection.phase = Phase::Established;
        let ivc = Ivc {
            number,
            link: connection.link.clone(),
            local: connection.local,
            remote: *connection.remote.ip(),
            port: connection.remote.port(),
            facts,
            connection: Some(id),
            lost: None,
            joined: true,
            impaired: false,
            leaves: None,
        };
        let tunnel = &self.profile.tunnel;
        let same = |other: &Ivc| {
            other.number == number || (other.link == ivc.link && other.remote == ivc.remote)
        };
        let before: Vec<_> = svc
            .ivcs
            .iter()
            .filter(|other| same(other))
            .filter_map(|other| other.connection)
            .collect();
        let was_there = svc.ivcs.iter().any(same);
        svc.ivcs.retain(|other| !same(other));
        if !was_there {
            context.note(format!(
                "tunnel {tunnel}: IVC of link {} to {} joined",
                ivc.link, ivc.remote
            ));
        }
        self.requests.succeeded(&ivc.link);
        svc.ivcs.push(ivc);
        svc.ivcs.sort_by_key(|ivc| ivc.number);
        for old in before {
            self.connections.remove(&old);
            context.close(old);
        }
        context.install();
    }

    /// An attempt at the SVC has ended.
    pub(super) fn made(&mut self, success: bool, context: &mut Context<'_>) {
        let others: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, other)| {
                matches!(other.purpose, Purpose::Make) && other.phase != Phase::Established
            })
            .map(|(id, other)| (*id, other.phase))
            .collect();
        if success {
            self.making.failures = 0;
            self.trouble = None;
            self.making.renew = false;
            self.making.turn = 0;
            for (id, _) in others {
                self.connections.remove(&id);
                context.close(id);
            }
            self.requests.again(context.now);
        } else if let Some((id, _)) = others.iter().find(|(_, phase)| *phase == Phase::Waiting) {
            self.create(*id, context);
        } else if others.is_empty() {
            self.making.failures = self.making.failures.saturating_add(1);
            let pause =
                (PAUSE.0 * 2_u32.saturating_pow(self.making.failures.min(16) - 1)).min(PAUSE.1);
            self.making.next = self.making.next.max(context.now + jittered(pause, context));
        }
    }
}

/// Draws 75% to 100% of a time, so that many gateways do not act at once.
pub(super) fn jittered(time: Duration, context: &mut Context<'_>) -> Duration {
    let part = u32::try_from(context.random.number() % 256).unwrap_or(0);
    time.saturating_sub(time / 1024 * part)
}
