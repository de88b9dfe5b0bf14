//! What the parts of a configuration must be to each other.
//!
//! Each check reports all it finds at the later of the two places in the file, and skips what
//! decoding has refused already.

mod addresses;
mod classes;
mod engine;
mod links;
mod metrics;
mod negotiation;
mod overlap;
mod security;
mod tunnels;

use super::{draft::ConfigDraft, sink::Sink};

/// Checks a whole draft whose keys have been read.
pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    links::check(draft, sink);
    tunnels::check(draft, sink);
    classes::check(draft, sink);
    overlap::check(draft, sink);
    addresses::check(draft, sink);
    security::check(draft, sink);
    engine::check(draft, sink);
    negotiation::check(draft, sink);
    metrics::check(draft, sink);
}
