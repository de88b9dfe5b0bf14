//! The key files that a draft names.

use std::path::Path;

use super::{
    draft::{ConfigDraft, SaDraft},
    key::{self, KeyMaterial},
    sink::Sink,
};
use crate::suite::Suite;

/// Reads the key files of all SAs, relative to `base`.
pub(super) fn read_all(draft: &mut ConfigDraft, base: &Path, sink: &mut Sink) {
    for security in draft
        .tunnels
        .iter_mut()
        .filter_map(|tunnel| tunnel.security.as_mut())
    {
        let suite = security.suite.as_ref().map(|suite| suite.value);
        for sa in [&mut security.outbound, &mut security.inbound]
            .into_iter()
            .flatten()
        {
            sa.key = read(sa, suite, base, sink);
        }
    }
}

/// Reads a key file also where it fits no suite: it may be wrong by itself.
fn read(sa: &SaDraft, suite: Option<Suite>, base: &Path, sink: &mut Sink) -> Option<KeyMaterial> {
    let file = sa.key_file.as_ref()?;
    let key = key::read(&base.join(&file.value)).and_then(|bytes| {
        suite
            .map(|suite| KeyMaterial::new(suite, bytes))
            .transpose()
    });
    match key {
        Ok(key) => key,
        Err(error) => {
            sink.error(&file.at, error.to_string(), error.help());
            None
        }
    }
}
