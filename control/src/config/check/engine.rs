//! What the engine that the file names can do.

use crate::{
    config::{
        EngineChoice, Resequence, Tunnel,
        draft::{ConfigDraft, TunnelDraft},
        sink::{At, Located, Sink},
    },
    suite::Suite,
};

/// Which engine `auto` takes is known on the machine alone.
pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let engine = draft
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.engine.as_ref());
    match engine.map_or(EngineChoice::Auto, |engine| engine.value) {
        EngineChoice::Userspace => aeads(draft, sink),
        EngineChoice::Kernel => {
            windows(draft, |at, message, help| sink.error(at, message, help));
            order(draft, |at, message, help| sink.error(at, message, help));
        }
        EngineChoice::Auto => {
            windows(draft, |at, message, _| {
                let help =
                    "it takes that many where `auto` chooses it; write engine: userspace for more";
                sink.warning(at, message, help);
            });
            order(draft, |at, message, _| {
                let help = "write engine: userspace, or leave it out";
                sink.warning(at, message, help);
            });
        }
    }
}

/// The kernel's engine takes packets as they come.
fn order(draft: &ConfigDraft, mut tell: impl FnMut(&At, String, String)) {
    let on = |setting: &&Located<Resequence>| setting.value == Resequence::On;
    let settings = draft.tunnels.iter();
    let settings = settings.filter_map(|tunnel| tunnel.resequence.as_ref());
    for setting in settings.filter(on) {
        let message = "the kernel's engine does not put packets back in order".to_owned();
        let help = "write auto or off, or engine: userspace".to_owned();
        tell(&setting.at, message, help);
    }
}

/// Replay windows that the kernel does not have.
fn windows(draft: &ConfigDraft, mut tell: impl FnMut(&At, String, String)) {
    const MAX: u32 = Tunnel::KERNEL_REPLAY_WINDOW;
    for window in draft.tunnels.iter().filter_map(replay_window) {
        if window.value > MAX {
            let message =
                format!("the kernel's engine has replay windows of {MAX} packets at most");
            let help = format!("write {MAX} or less, or engine: userspace");
            tell(&window.at, message, help);
        }
    }
}

fn replay_window(tunnel: &TunnelDraft) -> Option<&Located<u32>> {
    let manual = tunnel
        .manual()
        .and_then(|security| security.replay_window.as_ref());
    manual.or_else(|| tunnel.negotiated()?.replay_window.as_ref())
}

/// Withy's own engine has AEADs only.
fn aeads(draft: &ConfigDraft, sink: &mut Sink) {
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
