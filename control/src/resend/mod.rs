//! Packets that links have lost, sent again.
//!
//! The side that sends keeps what it has sent lately ([`Ring`]), while something is or may be lost by chance ([`Gate`]), and says so in its keepalives.
//! The side that receives asks for what it misses ([`Word`]), and gets the same ESP packets once more, byte for byte: what has not come its
//! anti-replay window takes. Numbers whose packets never left, or are not there any more, it is told, so that it does not wait for them.
//! [`crate::reorder`] knows what is missing, and when. All this is sans-IO.

mod gate;
mod ring;
mod word;

pub use gate::Gate;
pub use ring::{Again, Ring};
pub use word::{Kind, LANES, MOST_NUMBERS, MOST_RUNS, Malformed, Run, Word};
