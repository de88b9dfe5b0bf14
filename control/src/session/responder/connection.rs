//! One of the responder's connections.

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    session::{ConnectionSecret, SETUP_LIMIT, SILENCE, agreed::Generation},
    wire::{Join, SvcTerms},
};

/// How long the initiator has for ending a connection in whose place there is another.
const LINGER: Duration = Duration::from_secs(1);

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// This side's address.
    pub(super) local: Ipv4Addr,
    /// The initiator's address.
    pub(super) remote: Ipv4Addr,
    pub(super) secret: ConnectionSecret,
    pub(super) phase: Phase,
    pub(super) begun: Duration,
    /// When something came last.
    pub(super) heard: Duration,
    /// The IVC that it is for; none where it makes or renews an SVC.
    pub(super) join: Option<Join>,
    /// Keys that come from it, until the initiator uses them, and what is granted with them.
    pub(super) offer: Option<(Generation, SvcTerms)>,
}

/// How far a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come.
    Accepted,
    /// `Link_Auth_Challenge` is sent, with this nonce.
    Challenged([u8; 32]),
    /// Authenticated; `SVC_Create_Request` is awaited.
    Authenticated,
    /// `SVC_Create_Request` has come, and whether it can be granted depends on who has the SVC.
    Contending,
    /// The kernel is to get the keys to receive by, by this revision.
    Granting(u64),
    /// `SVC_Create_Reply` is sent.
    Granted,
    /// The kernel is to get the keys to send by, by this revision.
    Switching(u64),
    /// It carries an IVC's control messages.
    Established,
    /// Another does so since then. The initiator ends it: it may not have heard of that yet, and would take it for lost.
    Replaced(Duration),
}

impl Connection {
    pub(super) fn new(
        local: Ipv4Addr,
        remote: Ipv4Addr,
        secret: ConnectionSecret,
        now: Duration,
    ) -> Self {
        Self {
            local,
            remote,
            secret,
            phase: Phase::Accepted,
            begun: now,
            heard: now,
            join: None,
            offer: None,
        }
    }

    /// Whether it should be in use by now, or is no more.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Established => now >= self.heard + SILENCE,
            Phase::Replaced(since) => now >= since + LINGER,
            _ => now >= self.begun + SETUP_LIMIT,
        }
    }
}
