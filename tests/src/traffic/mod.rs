//! Traffic between namespaces, and what became of it.

pub mod bulk;
pub mod bursts;
mod content;
pub mod flood;
pub mod icmp;
mod meter;
pub mod pings;
pub mod stream;
pub mod tcp;
pub mod udp;

pub use meter::{Sample, Timeline};
