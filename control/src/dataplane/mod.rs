//! The eBPF programs and their maps: loaded, pinned, attached, adopted after a restart.

mod attach;
mod begun;
mod bpffs;
mod clsact;
mod error;
mod flows;
mod keepalives;
mod layout;
mod load;
mod meters;
mod pins;
mod remove;
mod svcs;
mod tables;

pub use attach::{Attached, Attachment, Hook, Receive};
pub use error::DataplaneError;
pub use keepalives::Keepalives;
pub use load::{Dataplane, Limits};
pub use meters::Meters;
pub use remove::remove;
pub use svcs::{FILLER_ENDPOINT, Svcs};
pub use tables::{Drops, Tables, wire};

/// The compiled programs (`withy-ebpf`).
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WITHY_BPF_OBJECT"));
