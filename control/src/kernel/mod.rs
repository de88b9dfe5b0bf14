//! The only modules that speak to the kernel.

pub mod esp;
pub mod facts;
pub mod monitor;
pub mod namespace;
pub mod netlink;
pub mod raw;
mod socket;
pub mod sysctl;
pub mod tun;
