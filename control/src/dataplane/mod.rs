//! The eBPF programs and their maps: loaded, pinned, attached, adopted after a restart.

mod arrivals;
mod attach;
mod bpffs;
mod clsact;
mod error;
mod keepalives;
mod layout;
mod load;
mod pins;
mod remove;
mod tables;

pub use arrivals::Arrivals;
pub use attach::{Attached, Attachment, Hook, Receive};
pub use error::DataplaneError;
pub use keepalives::Keepalives;
pub use load::{Dataplane, Limits};
pub use remove::remove;
pub use tables::{Drops, Tables, wire};

/// The compiled programs (`withy-ebpf`).
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WITHY_BPF_OBJECT"));
