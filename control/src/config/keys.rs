//! The key files that a draft names.

use std::path::Path;

use super::{
    draft::{ConfigDraft, GatewayDraft, SaDraft, TunnelDraft},
    key::KeyMaterial,
    key_file,
    sink::Sink,
};
use crate::{identity::PrivateKey, suite::Suite};

/// Reads the key files of the gateway and of all SAs, relative to `base`.
pub(super) fn read_all(draft: &mut ConfigDraft, base: &Path, sink: &mut Sink) {
    if let Some(gateway) = &mut draft.gateway {
        gateway.key = read_identity(gateway, base, sink);
    }
    for security in draft.tunnels.iter_mut().filter_map(TunnelDraft::manual_mut) {
        let suite = security.suite.as_ref().map(|suite| suite.value);
        for sa in [&mut security.outbound, &mut security.inbound]
            .into_iter()
            .flatten()
        {
            sa.key = read(sa, suite, base, sink);
        }
    }
}

fn read_identity(gateway: &GatewayDraft, base: &Path, sink: &mut Sink) -> Option<PrivateKey> {
    let file = gateway.key_file.as_ref()?;
    match key_file::read_identity(&base.join(&file.value)) {
        Ok(key) => Some(key),
        Err(error) => {
            sink.error(&file.at, error.to_string(), error.help());
            None
        }
    }
}

/// Reads a key file also where it fits no suite: it may be wrong by itself.
fn read(sa: &SaDraft, suite: Option<Suite>, base: &Path, sink: &mut Sink) -> Option<KeyMaterial> {
    let file = sa.key_file.as_ref()?;
    let key = key_file::read_hex(&base.join(&file.value)).and_then(|bytes| {
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
