//! Control connections between gateways: TCP, TLS 1.3 with raw public keys (RFC 7250) on both sides, and no other key exchange
//! than the hybrid of X25519 and ML-KEM-768.
//!
//! Each side knows the other by its key alone. There is no resumption and no early data: every connection has a handshake, and
//! so fresh secrets, of its own.

mod connect;
mod connection;
mod driver;
mod error;
mod gate;
mod identity;
mod listen;
mod refusals;
mod tls;
mod verify;

#[cfg(test)]
mod tests;

pub use connect::Connector;
pub use connection::{Connection, FrameReader, FrameWriter, SECRET_LEN};
pub use driver::{Event, Handle, QUEUE};
pub use error::TransportError;
pub use gate::Limits;
pub use identity::Identity;
pub use listen::Listener;
pub use refusals::Refusals;
pub use verify::KnownKeys;
