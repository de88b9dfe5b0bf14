//! Segmentation offload of a device whose packets a program makes and takes: super-packets that the kernel hands over are cut into the
//! packets that they stand for, and packets that follow each other are joined to one that the kernel takes in a single step.
//!
//! TCP and UDP over IPv4. All of it works in place or between buffers of the caller's, and allocates nothing.

mod cut;
mod header;
mod join;
mod segment;
#[cfg(test)]
mod tests;

pub use cut::{Cut, take};
pub use header::{Header, Kind, LEN as HEADER};
pub use join::{Joiner, Unit};
pub use segment::kin;

/// The longest IPv4 packet, in bytes: what 16 bits can say.
pub const LONGEST: usize = 65_535;

/// What the kernel hands over is no super-packet that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no super-packet of TCP or UDP over IPv4")]
pub struct Uncuttable;
