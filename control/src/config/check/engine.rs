//! What the engine that the file names can do.

use crate::{
    config::{
        EngineChoice,
        draft::{ConfigDraft, TunnelDraft},
        sink::{Located, Sink},
    },
    suite::Suite,
};

/// Withy's own engine has AEADs only. Whether `auto` takes it is known on the machine alone.
pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let engine = draft
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.engine.as_ref());
    if engine.is_none_or(|engine| engine.value != EngineChoice::Userspace) {
        return;
    }
    for suite in draft.tunnels.iter().flat_map(suites) {
        if !suite.value.is_aead() {
            let message = format!("engine userspace does not have {}", suite.value);
            let help = "take aes-gcm-256, aes-gcm-128 or chacha20-poly1305";
            sink.error(&suite.at, message, help);
        }
    }
}

fn suites(tunnel: &TunnelDraft) -> impl Iterator<Item = &Located<Suite>> {
    let manual = tunnel.manual().and_then(|security| security.suite.as_ref());
    let negotiated = tunnel.negotiated().map(|negotiated| &negotiated.suites);
    manual.into_iter().chain(negotiated.into_iter().flatten())
}
