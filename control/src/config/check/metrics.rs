//! Who could read the metrics.

use crate::config::{draft::ConfigDraft, sink::Sink};

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let metrics = draft.gateway.as_ref().and_then(|it| it.metrics.as_ref());
    if let Some(listen) = metrics.filter(|listen| listen.value.is_exposed()) {
        sink.warning(
            &listen.at,
            "other machines can read the metrics, which nothing encrypts or asks a password for",
            "listen on 127.0.0.1, or let a packet filter admit Prometheus alone",
        );
    }
}
