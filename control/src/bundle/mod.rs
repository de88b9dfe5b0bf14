//! The bundle manager: what the data plane's maps should hold.

mod slots;
mod steering;
mod tables;

pub use slots::{IvcId, Slots};
pub use steering::{Steering, keep_shares};
pub use tables::{Contents, Known, contents};
pub(crate) use tables::{cap, ident};
