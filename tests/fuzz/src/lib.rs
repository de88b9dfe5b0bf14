//! What each fuzz target does with an input. An input that makes one panic is a finding.
//!
//! `cargo xtask fuzz` builds and runs the targets.

pub mod config;
pub mod esp;
pub mod header;
pub mod keepalive;
pub mod wire_decoder;
pub mod wire_messages;
pub mod word;
