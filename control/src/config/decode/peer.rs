//! What a tunnel says of the gateway at its other end, and of the negotiation with it.

use super::{
    field::{Field, Map},
    security,
};
use crate::{
    config::{
        draft::{NegotiatedDraft, PeerDraft},
        sink::{Located, Sink},
        value::PeerKey,
    },
    suite::Suite,
};

/// Why a field of manual tunnels stands in the way.
const SETTLED: &str = "settled by the gateways where keys are negotiated";

/// Reads the fields of a negotiated tunnel that manual ones do not have.
pub(super) fn negotiated(map: &mut Map<'_>, sink: &mut Sink) -> NegotiatedDraft {
    for name in ["endpoints", "ivcs"] {
        let help = "leave it out; or leave peer out and write security: {mode: manual, …}";
        map.refused(name, SETTLED, help, sink);
    }
    let form = "{key: PUBLIC-KEY, address: ADDRESS}";
    let peer = map.required("peer", form, sink, |field, sink| Some(peer(field, sink)));
    let section = map.optional("security", sink, |field, sink| Some(section(field, sink)));
    NegotiatedDraft {
        peer,
        ..section.unwrap_or_default()
    }
}

fn peer(field: &Field<'_>, sink: &mut Sink) -> PeerDraft {
    let mut map = field.map(sink);
    let draft = PeerDraft {
        key: map.required("key", "the other gateway's public key", sink, key),
        address: map.optional("address", sink, Field::parse),
        opens: field.has("address"),
    };
    map.close(sink);
    draft
}

fn key(field: &Field<'_>, sink: &mut Sink) -> Option<Located<crate::identity::PublicKey>> {
    let key: Located<PeerKey> = field.parse(sink)?;
    Some(key.map(PeerKey::get))
}

fn section(field: &Field<'_>, sink: &mut Sink) -> NegotiatedDraft {
    let mut map = field.map(sink);
    map.optional("mode", sink, security::mode);
    let suites = map.optional("suites", sink, |field, sink| {
        field.list(Suite::ALL.len(), sink, Field::parse)
    });
    let (after, bytes) = map
        .optional("rekey", sink, |field, sink| {
            let mut map = field.map(sink);
            let after = map.optional("after", sink, Field::parse);
            let bytes = map.optional("bytes", sink, Field::parse);
            map.close(sink);
            Some((after, bytes))
        })
        .unwrap_or_default();
    let replay_window = map.optional("replay_window", sink, security::replay_window);
    for name in ["outbound", "inbound"] {
        map.refused(name, SETTLED, "leave it out", sink);
    }
    map.close(sink);
    NegotiatedDraft {
        peer: None,
        suites: suites.unwrap_or_default(),
        after,
        bytes,
        replay_window,
    }
}
