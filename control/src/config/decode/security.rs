//! The security parameters of a tunnel with manual keys.

use super::field::Field;
use crate::{
    config::{
        draft::{SaDraft, SecurityDraft},
        model::Tunnel,
        sink::{Located, Sink},
        value::suggest,
    },
    suite::Suite,
};

/// The ways in which keys can come about.
const MODES: [&str; 2] = [MANUAL, NEGOTIATED];
/// The operator distributes keys.
pub(super) const MANUAL: &str = "manual";
/// The gateways make keys between them.
pub(super) const NEGOTIATED: &str = "negotiated";

pub(super) fn decode(field: &Field<'_>, sink: &mut Sink) -> SecurityDraft {
    let mut map = field.map(sink);
    map.required("mode", "manual", sink, mode);
    let suite = map.required("suite", Suite::AesGcm128.name(), sink, Field::parse);
    let form = "{spi: 0x1001, key_file: FILE}";
    let outbound = map.required("outbound", form, sink, |field, sink| Some(sa(field, sink)));
    let inbound = map.required("inbound", form, sink, |field, sink| Some(sa(field, sink)));
    let replay_window = map.optional("replay_window", sink, replay_window);
    map.close(sink);
    SecurityDraft {
        suite,
        outbound,
        inbound,
        replay_window,
    }
}

pub(super) fn mode(field: &Field<'_>, sink: &mut Sink) -> Option<()> {
    let mode = field.reference(sink)?;
    if !MODES.contains(&mode.value.as_str()) {
        let message = format!("{} is not a mode", crate::config::value::quote(&mode.value));
        sink.error(&mode.at, message, suggest(&mode.value, &MODES));
    }
    Some(())
}

pub(super) fn replay_window(field: &Field<'_>, sink: &mut Sink) -> Option<Located<u32>> {
    let range = Tunnel::MIN_REPLAY_WINDOW..=Tunnel::MAX_REPLAY_WINDOW;
    field.number(&range, " packets", sink)
}

fn sa(field: &Field<'_>, sink: &mut Sink) -> SaDraft {
    let mut map = field.map(sink);
    let spi = map.required("spi", "0x1001", sink, Field::parse);
    let key_file = map.required("key_file", "FILE", sink, Field::reference);
    map.close(sink);
    SaDraft {
        spi,
        key_file,
        key: None,
    }
}
