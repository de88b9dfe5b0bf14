//! IPsec without the kernel's: ESP in tunnel mode (RFC 4303) with extended sequence numbers, for kernels that have none.
//!
//! Packets are sealed and opened where they lie, in buffers of the caller's, and nothing is allocated for any of them. The ciphers are
//! those of `aws-lc-rs`.

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
mod window;

pub use cipher::Unusable;
pub use layout::{HEADROOM, TAILROOM};
pub use opener::Opener;
pub use refused::{Refusals, Refused};
pub use sealer::Sealer;
pub use tables::{Failed, Inbound, Outbound};
pub use window::{MAX_WINDOW, Window};

/// What went through an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes of the packets inside, as the kernel counts an SA's.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}
