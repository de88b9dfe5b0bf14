//! Map layouts, packet arithmetic, splitting and scheduling of Withy's data path.
//!
//! Pure functions and plain data: the same code runs in the eBPF programs and in the host's tests.
//! Addresses and header words keep the byte order of the wire ("wire order") unless said otherwise,
//! because the programs only compare and copy them.
#![allow(
    clippy::inline_always,
    reason = "one eBPF program is one function: calls cost, and older verifiers lose track across them"
)]
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod checksum;
pub mod choose;
pub mod classes;
pub mod drops;
pub mod header;
pub mod inbound;
pub mod keepalive;
pub mod label;
pub mod maps;
pub mod mss;
pub mod outbound;
pub mod schedule;
pub mod scratch;
pub mod split;
pub mod terms;
