//! Two gateways with one key: the one that has the SVC keeps it while it gives signs of life.
//!
//! A gateway that has lost all it knew asks for an SVC although this side still has one; so does a copy of a gateway. Which
//! of the two it is, the connections of the SVC tell: over those of a gateway that began anew nothing comes any more.

use std::time::Duration;

use super::{Phase, Responder};
use crate::{
    session::{ConnectionId, Context, svc::Svc},
    wire::{Echo, Message, Reason, SvcCreateReply, SvcCreateRequest, Verdict},
};

/// How long the gateway that has the SVC may take to answer.
const TRIAL: Duration = Duration::from_secs(1);

/// A request that waits for a sign of life of the gateway that has the SVC.
#[derive(Debug)]
pub(super) struct Contest {
    connection: ConnectionId,
    request: SvcCreateRequest,
    until: Duration,
}

impl Responder {
    /// Grants an SVC at once, or after the gateway that has one has had its chance to show that it lives.
    pub(super) fn consider(
        &mut self,
        id: ConnectionId,
        request: SvcCreateRequest,
        context: &mut Context<'_>,
    ) {
        let contested = self
            .svc
            .as_ref()
            .is_some_and(|svc| request.svc != Some(svc.id) && svc.is_connected());
        if !contested {
            return self.grant(id, &request, context);
        }
        if self.contest.is_some() {
            let verdict = Verdict::refused(Reason::Busy, "another connection asks for the same");
            return self.refuse_svc(id, verdict, context);
        }
        for (other, connection) in &self.connections {
            if connection.phase == Phase::Established {
                context.send(*other, 0, Message::Echo(Echo {}));
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = Phase::Contending;
        }
        self.contest = Some(Contest {
            connection: id,
            request,
            until: context.now + TRIAL,
        });
    }

    /// Something has come over a connection in use: the gateway that has the SVC lives.
    pub(super) fn defend(&mut self, context: &mut Context<'_>) {
        let Some(rival) = self.contest.take() else {
            return;
        };
        let detail = "another gateway with the same key has the tunnel: give each its own key";
        let verdict = Verdict::refused(Reason::Occupied, detail);
        self.refuse_svc(rival.connection, verdict, context);
    }

    /// Grants what waits if nobody defends the SVC: it is no longer connected, or its time is over.
    pub(super) fn decide(&mut self, context: &mut Context<'_>) {
        let connected = self.svc.as_ref().is_some_and(Svc::is_connected);
        let over = |contest: &mut Contest| !connected || context.now >= contest.until;
        let Some(rival) = self.contest.take_if(over) else {
            return;
        };
        self.grant(rival.connection, &rival.request, context);
    }

    /// Forgets what a connection waits for that is no more.
    pub(super) fn abandon(&mut self, id: ConnectionId) {
        self.contest.take_if(|contest| contest.connection == id);
    }

    pub(super) fn refuse_svc(
        &mut self,
        id: ConnectionId,
        verdict: Verdict,
        context: &mut Context<'_>,
    ) {
        let refusal = verdict.clone();
        let reply = SvcCreateReply { verdict, svc: None };
        context.send(id, 0, Message::SvcCreateReply(reply));
        self.refuse(id, &refusal, context);
    }
}
