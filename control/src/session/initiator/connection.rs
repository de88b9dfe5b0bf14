//! One of the initiator's connections.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use crate::{
    config::LinkName,
    session::{ConnectionSecret, SETUP_LIMIT, SILENCE},
    wire::{LinkFacts, SvcTerms},
};

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) purpose: Purpose,
    pub(super) link: LinkName,
    pub(super) local: Ipv4Addr,
    pub(super) remote: SocketAddrV4,
    pub(super) phase: Phase,
    pub(super) begun: Duration,
    /// When something came last.
    pub(super) heard: Duration,
    /// When a sign of life was asked for last.
    pub(super) asked: Duration,
    pub(super) secret: Option<ConnectionSecret>,
    /// What the responder has granted, until it is in use.
    pub(super) terms: Option<SvcTerms>,
}

/// What a connection is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// To make the SVC or to renew its keys.
    Make,
    /// To join it.
    Join {
        /// The SVC and the IVC.
        join: (u64, u32),
        /// The responder's link.
        facts: LinkFacts,
    },
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// TCP and TLS.
    Connecting,
    /// `Hello` is sent.
    Greeting,
    /// `Hello_Reply` has come.
    Welcome,
    /// `Link_Auth_Response` is sent.
    Proving,
    /// Authenticated, and another connection is about to make the SVC.
    Waiting,
    /// `SVC_Create_Request` is sent, with this SPI.
    Creating(u32),
    /// The kernel is to get the keys, by this revision.
    Installing(u64),
    /// `Key_Switch` is sent.
    Switching,
    /// It carries an IVC's control messages.
    Established,
}

impl Phase {
    /// Whether the SVC is about to be made over the connection.
    pub(super) fn is_making(self) -> bool {
        matches!(
            self,
            Self::Creating(_) | Self::Installing(_) | Self::Switching
        )
    }
}

impl Connection {
    /// Whether it should be in use by now, or is no more.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Established => now >= self.heard + SILENCE,
            _ => now >= self.begun + SETUP_LIMIT,
        }
    }
}
