//! The control protocol's messages, as bytes. Nothing here does I/O.

mod bounds;
mod codec;
mod header;
mod message;
#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;
mod verdict;

pub use bounds::{Excess, MAX_DETAIL, MAX_PREFIX, MAX_SUBNETS, MAX_SUITES, MAX_TAKEN, MAX_TEXT};
pub use codec::{Decoder, Frame, WireError, encode};
pub use header::{HEADER_LEN, MARK, MAX_LENGTH};
pub use message::{
    Echo, Hello, HelloReply, Join, KeyRenew, KeySwitch, KeySwitched, LinkAddReply, LinkAddRequest,
    LinkAuthChallenge, LinkAuthResponse, LinkAuthResult, LinkAvailable, LinkDrop, LinkFacts,
    LinkState, LinkTarget, Message, NEWEST_VERSION, OLDEST_VERSION, Subnet, SvcCreateReply,
    SvcCreateRequest, SvcTerms,
};
pub use verdict::{Reason, Verdict};
