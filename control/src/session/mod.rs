//! The negotiation of tunnels: SVCs, their IVCs and their keys, by the flow charts of the protocol.
//!
//! Nothing in here does I/O or knows the time: the machines take events with the time at which they happen, and leave
//! actions. The initiator's side of a tunnel is [`Initiator`], the responder's [`Responder`]; [`Sessions`] holds those of a
//! gateway and tells connections apart.
//!
//! ```text
//!  initiator                                        responder
//!    connect, TLS ──────────────────────────────────► accept
//!    Hello ─────────────────────────────────────────►
//!    ◄──────────────────── Hello_Reply, Link_Auth_Challenge
//!    Link_Auth_Response ────────────────────────────►
//!    ◄──────────────────────────────── Link_Auth_Result
//!    SVC_Create_Request ────────────────────────────► keys, inbound SA
//!    ◄──────────────────────────────── SVC_Create_Reply
//!    both SAs
//!    Key_Switch ────────────────────────────────────► outbound SA
//!    ◄───────────────────────────────────── Key_Switched
//!
//!    Link_Add_Request ──────────────────────────────►       over any IVC
//!    ◄────────────────────────────────── Link_Add_Reply
//!    connect, TLS, Hello … Link_Auth_Result as above        over the new IVC
//! ```
//!
//! Keys are renewed by the first half again, over a new connection: each side can receive by the new keys before the
//! other sends by them, and by the old ones for a while after.

mod agreed;
mod auth;
mod claims;
mod initiator;
mod keys;
mod responder;
mod saved;
mod sessions;
#[cfg(test)]
mod simulation;
mod svc;
mod terms;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

pub use agreed::{Agreed, AgreedIvc, SaKeys};
pub use initiator::Initiator;
pub use keys::ConnectionSecret;
pub use responder::Responder;
pub use saved::{Saved, SavedIvc};
pub use sessions::{Role, Sessions};
pub use terms::{OwnLink, Profile};

use self::claims::{Claim, Claims};
use crate::{
    config::LinkName,
    identity::PublicKey,
    wire::{Message, Reason},
};

/// A connection's number, of this daemon's run alone.
pub type ConnectionId = u64;

/// How long a connection may take from its beginning to its use.
pub const SETUP_LIMIT: Duration = Duration::from_secs(5);
/// How often the initiator asks for a sign of life on each connection in use.
pub const ECHO: Duration = Duration::from_secs(5);
/// How long a connection in use may be without one. The kernel tells only the side that sends something.
pub const SILENCE: Duration = Duration::from_secs(16);
/// How long packets protected by old keys may be under way.
pub const OLD_KEYS: Duration = Duration::from_secs(5);

/// What a machine wants done.
#[derive(Debug)]
pub enum Action {
    /// Connect from a link's address.
    Connect {
        /// The new connection.
        connection: ConnectionId,
        /// The link that it leaves by.
        link: LinkName,
        /// The link's address.
        local: Ipv4Addr,
        /// Where to.
        remote: SocketAddrV4,
        /// Who must answer.
        expect: PublicKey,
    },
    /// Send a message.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The id in the message's header.
        id: u32,
        /// The message.
        message: Message,
    },
    /// End a connection; nothing more comes from it.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Bring the kernel to what is agreed now, and then tell [`Sessions::installed`] this revision.
    Install {
        /// Grows with each change.
        revision: u64,
    },
    /// Something happened that people want to know.
    Note(Note),
}

/// Something that happened, for logs and monitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is bad news.
    pub warning: bool,
    /// What happened.
    pub text: String,
}

/// Random numbers: the system's, or in simulations those of a seed.
pub trait Random {
    /// Fills bytes.
    fn fill(&mut self, bytes: &mut [u8]);

    /// Draws a number.
    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// What a machine works with while it handles an event.
pub struct Context<'a> {
    /// The time since any fixed moment.
    pub now: Duration,
    /// Where random numbers come from.
    pub random: &'a mut dyn Random,
    /// What is to be done.
    pub actions: &'a mut Vec<Action>,
    /// The next connection's number.
    pub next_connection: &'a mut ConnectionId,
    /// The last revision of what is agreed.
    pub revision: &'a mut u64,
    /// Who has which private subnet.
    claims: &'a Claims,
    /// How many connections were refused, by reason.
    refusals: &'a mut BTreeMap<&'static str, u64>,
}

impl Context<'_> {
    fn send(&mut self, connection: ConnectionId, id: u32, message: Message) {
        self.actions.push(Action::Send {
            connection,
            id,
            message,
        });
    }

    fn close(&mut self, connection: ConnectionId) {
        self.actions.push(Action::Close { connection });
    }

    fn note(&mut self, text: String) {
        self.actions.push(Action::Note(Note {
            warning: false,
            text,
        }));
    }

    /// Counts a refusal.
    fn count(&mut self, reason: Reason) {
        *self.refusals.entry(reason.label()).or_default() += 1;
    }

    fn warn(&mut self, text: String) {
        self.actions.push(Action::Note(Note {
            warning: true,
            text,
        }));
    }

    /// Asks for what is agreed to be installed; returns the revision that will be told when it is.
    fn install(&mut self) -> u64 {
        *self.revision += 1;
        self.actions.push(Action::Install {
            revision: *self.revision,
        });
        *self.revision
    }

    /// Draws an SPI by which to receive: not one of those that RFC 4303 reserves.
    fn spi(&mut self, taken: impl Fn(u32) -> bool) -> u32 {
        loop {
            // The cast keeps half of the random bits.
            #[allow(clippy::cast_possible_truncation)]
            let spi = self.random.number() as u32;
            if spi >= 0x1_0000 && !taken(spi) {
                return spi;
            }
        }
    }
}
