//! The eBPF programs in the kernel at hand, packet by packet: `BPF_PROG_TEST_RUN` tables.
//!
//! Needs root. Each test has a directory of pins of its own, removed when it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bpffs;
mod clones;
mod inbound;
mod lan;
mod outbound;
mod pacing;
mod packets;
mod policies;
mod reassembly;
mod rig;
mod verifier;
