//! IPsec without the kernel's: ESP in tunnel mode (RFC 4303) with extended sequence numbers, for kernels that have none.
//!
//! Packets are sealed and opened where they lie, in buffers of the caller's, and nothing is allocated for any of them. Several threads
//! may use the same SA. The ciphers are those of `aws-lc-rs`.

mod cipher;
mod ecn;
mod inner;
mod layout;
mod opener;
mod refused;
mod sealer;
mod tables;
#[cfg(test)]
mod tests;
mod traits;
mod window;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use cipher::Unusable;
pub use layout::{HEADROOM, TAILROOM};
pub use opener::{Contained, Content, Opener};
pub use refused::{Refusals, Refused};
pub use sealer::Sealer;
#[cfg(test)]
pub(crate) use tables::tests::tunnel as tunnel_for_tests;
pub use tables::{Failed, Inbound, Opened, Outbound};
pub use window::{MAX_WINDOW, Window};

/// What went through an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes of the packets inside, as the kernel counts an SA's.
    pub bytes: u64,
}

/// [`Traffic`] that several threads count.
#[derive(Debug, Default)]
struct Tally {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add(&self, bytes: usize) {
        self.packets.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn read(&self) -> Traffic {
        Traffic {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}
