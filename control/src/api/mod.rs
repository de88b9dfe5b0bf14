//! The control socket: what is asked of the daemon, and what it tells of itself.

pub mod client;
pub mod event;
pub mod keys;
pub mod ping;
pub mod protocol;
pub(crate) mod report;
pub(crate) mod server;
pub mod speed;
pub mod status;
mod stream;
