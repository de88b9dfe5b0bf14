//! The Withy controller: configuration, kernel programming, command line.

pub mod api;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod esp;
pub mod estimate;
pub mod identity;
pub mod kernel;
pub mod link;
pub mod liveness;
mod load;
mod metrics;
pub mod offload;
pub mod reconcile;
pub mod reorder;
pub mod resend;
pub mod session;
pub mod splitting;
mod subnets;
pub mod suite;
mod terminal;
pub mod transport;
pub mod vpn;
pub mod wire;
