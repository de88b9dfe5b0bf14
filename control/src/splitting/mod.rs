//! What comes of splitting packets: whether it is worth it by choice (`split: auto`), and how fast that uses up what tells pieces apart.
//!
//! In pieces over several links a packet arrives sooner than whole over one. That matters where it takes milliseconds to send, and
//! costs a header for each piece, work at both ends, and reassembly, in which a packet is lost with any of its pieces. `choice` weighs this
//! by what is known of the IVCs.
//!
//! Pieces are told apart by the IPv4 identification, 16 bits (RFC 6864). Where it comes again while pieces of an earlier
//! packet still wait for one that was lost, pieces of two packets can be put together (RFC 4963): ESP's integrity check drops what comes of it. By choice no
//! packet is split where that could happen; `pace` tells where it can.
//!
//! All this is sans-IO: times come with what is noted.

mod choice;
mod pace;

pub use choice::{Choice, Chooser, Lane, Why};
pub use pace::{MOST, Pace};

/// For how long the kernel keeps pieces that wait for others, in seconds: what the setting `ipfrag_time` is set to.
pub const REASSEMBLY_SECONDS: u16 = 2;

/// What is known of the splitting of a tunnel's packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Splitting {
    /// Whether packets are split by choice, where that is to be chosen, and why.
    pub choice: Choice,
    /// How many packets have been split, whether by choice or because they had to.
    pub count: u64,
    /// How many are each second.
    pub per_second: f64,
}

impl Splitting {
    /// Whether so many packets are split that identifications come again while pieces may still wait.
    #[must_use]
    pub fn is_reusing(&self) -> bool {
        self.per_second > MOST
    }
}
