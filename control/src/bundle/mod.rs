//! The bundle manager: what the data plane's maps should hold.

mod slots;
mod tables;

pub use slots::{IvcId, Slots};
pub(crate) use tables::ident;
pub use tables::{Contents, contents};
