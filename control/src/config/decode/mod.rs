//! From a tree to a draft: which fields there are, and of which types.

mod class;
mod field;
mod gateway;
mod link;
mod peer;
mod security;
mod tunnel;

use std::str::FromStr;

use super::{
    draft::{BundleDraft, ConfigDraft},
    sink::{Located, Sink},
    tree::Node,
    value::ValueError,
};
use field::Field;

/// The most links that a bundle can name, and interfaces that a LAN can have.
const MAX_LIST: usize = 64;

/// Reads a whole file.
pub(super) fn decode(root: &Node, sink: &mut Sink) -> ConfigDraft {
    let mut map = Field::root(root).map(sink);
    let gateway = map.required(
        "gateway",
        "{name: NAME, lan: [INTERFACE]}",
        sink,
        |field, sink| Some(gateway::decode(field, sink)),
    );
    let links = map.required(
        "links",
        "{NAME: {interface: …}, …}",
        sink,
        |field, sink| named(field, sink, link::decode),
    );
    let bundles = map.required(
        "bundles",
        "{NAME: {links: [LINK, …]}}",
        sink,
        |field, sink| named(field, sink, bundle),
    );
    let tunnels = map.required(
        "tunnels",
        "{NAME: {bundle: …}, …}",
        sink,
        |field, sink| named(field, sink, tunnel::decode),
    );
    map.close(sink);
    ConfigDraft {
        gateway,
        links: links.unwrap_or_default(),
        bundles: bundles.unwrap_or_default(),
        tunnels: tunnels.unwrap_or_default(),
    }
}

/// Reads a mapping from names of the operator's to things of one kind.
fn named<T>(
    field: &Field<'_>,
    sink: &mut Sink,
    mut read: impl FnMut(Located<String>, &Field<'_>, &mut Sink) -> T,
) -> Option<Vec<T>> {
    let entries = field.entries(sink)?;
    Some(
        entries
            .into_iter()
            .map(|(key, field)| read(key, &field, sink))
            .collect(),
    )
}

/// Reads the name of such a thing from its key.
fn name<T: FromStr<Err = ValueError>>(key: &Located<String>, sink: &mut Sink) -> Option<T> {
    match key.value.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            sink.error(&key.at, error.to_string(), error.help());
            None
        }
    }
}

fn bundle(key: Located<String>, field: &Field<'_>, sink: &mut Sink) -> BundleDraft {
    let name = name(&key, sink);
    let mut map = field.map(sink);
    let links = map.required("links", "[LINK, …]", sink, |field, sink| {
        field.list(MAX_LIST, sink, Field::reference)
    });
    map.close(sink);
    BundleDraft {
        key,
        name,
        links: links.unwrap_or_default(),
    }
}
