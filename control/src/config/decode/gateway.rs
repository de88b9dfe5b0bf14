//! The section `gateway`.

use super::{MAX_LIST, field::Field};
use crate::config::{
    draft::GatewayDraft,
    model::Limits,
    sink::{Located, Sink},
    value::Subnet,
};

pub(super) fn decode(field: &Field<'_>, sink: &mut Sink) -> GatewayDraft {
    let mut map = field.map(sink);
    let name = map.required("name", "NAME", sink, Field::parse);
    let lan = map.required("lan", "[INTERFACE]", sink, |field, sink| {
        field.list(MAX_LIST, sink, Field::parse)
    });
    let key_file = map.optional("key_file", sink, Field::reference);
    let listen = map.optional("listen", sink, |field, sink| {
        let port = field.number(&(1..=u32::from(u16::MAX)), "", sink)?;
        u16::try_from(port.value).ok()
    });
    let pool = map.optional("pool", sink, |field, sink| {
        let pool: Located<Subnet> = field.parse(sink)?;
        Some(pool.map(Subnet::get))
    });
    let engine = map.optional("engine", sink, Field::parse);
    let (svcs, ivcs) = map
        .optional("limits", sink, |field, sink| Some(limits(field, sink)))
        .unwrap_or_default();
    let metrics = map.optional("metrics", sink, |field, sink| {
        let mut map = field.map(sink);
        let listen = map.optional("listen", sink, Field::parse);
        map.close(sink);
        listen
    });
    map.close(sink);
    GatewayDraft {
        at: field.at.clone(),
        name,
        lan: lan.unwrap_or_default(),
        key_file,
        key: None,
        listen,
        pool,
        has_pool: field.has("pool"),
        engine,
        svcs,
        ivcs,
        metrics,
    }
}

type LimitsDraft = (Option<Located<u32>>, Option<Located<u32>>);

fn limits(field: &Field<'_>, sink: &mut Sink) -> LimitsDraft {
    let mut map = field.map(sink);
    let limit = |field: &Field<'_>, sink: &mut Sink| field.number(&(1..=Limits::MAX), "", sink);
    let svcs = map.optional("svcs", sink, limit);
    let ivcs = map.optional("ivcs", sink, limit);
    map.close(sink);
    (svcs, ivcs)
}
