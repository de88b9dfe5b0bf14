//! Typed access to the nodes of a tree, reporting what does not fit.

use std::{ops::RangeInclusive, str::FromStr};

use crate::config::{
    report::Position,
    sink::{At, Located, Sink},
    tree::{Entry, Node, Value, entry_path, item_path},
    value::{ValueError, quote, suggest},
};

/// A field: its node, and where to report what is wrong with it.
#[derive(Debug, Clone)]
pub(super) struct Field<'t> {
    pub(super) at: At,
    node: &'t Node,
}

impl<'t> Field<'t> {
    /// Returns the field that the whole file is.
    pub(super) fn root(node: &'t Node) -> Self {
        Self::new(String::new(), node, node.position)
    }

    fn new(field: String, node: &'t Node, key: Position) -> Self {
        let scalar = matches!(node.value, Value::Scalar { .. });
        let position = if scalar { node.position } else { key };
        Self {
            at: At { field, position },
            node,
        }
    }

    /// Reads a scalar value of any type that reads itself.
    pub(super) fn parse<T>(&self, sink: &mut Sink) -> Option<Located<T>>
    where
        T: FromStr<Err = ValueError>,
    {
        let text = self.scalar("a single value", sink)?;
        match text.parse() {
            Ok(value) => Some(Located {
                value,
                at: self.at.clone(),
            }),
            Err(error) => {
                sink.error(&self.at, error.to_string(), error.help());
                None
            }
        }
    }

    /// Reads a text that refers to something by its name.
    pub(super) fn reference(&self, sink: &mut Sink) -> Option<Located<String>> {
        let text = self.scalar("a name", sink)?;
        Some(Located {
            value: text.to_owned(),
            at: self.at.clone(),
        })
    }

    /// Reads a whole number in a range.
    pub(super) fn number(
        &self,
        range: &RangeInclusive<u32>,
        unit: &'static str,
        sink: &mut Sink,
    ) -> Option<Located<u32>> {
        let text = self.scalar("a number", sink)?;
        let help = format!("write {} to {}{unit}", range.start(), range.end());
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            sink.error(
                &self.at,
                format!("{} is not a whole number", quote(text)),
                help,
            );
            return None;
        }
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            sink.error(&self.at, format!("{} is out of range", quote(text)), help);
        }
        Some(Located {
            value: number?,
            at: self.at.clone(),
        })
    }

    /// Reads a list of 1 to `max` items.
    pub(super) fn list<T>(
        &self,
        max: usize,
        sink: &mut Sink,
        mut item: impl FnMut(&Field<'t>, &mut Sink) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(nodes) = &self.node.value else {
            self.wrong_type("a list", sink);
            return None;
        };
        if nodes.is_empty() {
            sink.error(&self.at, "an empty list", "name at least one");
        }
        if nodes.len() > max {
            sink.error(
                &self.at,
                format!("{} items", nodes.len()),
                format!("give at most {max}"),
            );
            return None;
        }
        let fields = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Field::new(item_path(&self.at.field, index), node, node.position));
        Some(fields.filter_map(|field| item(&field, sink)).collect())
    }

    /// Reads one item, or a list of 1 to `max` of them.
    pub(super) fn one_or_more<T>(
        &self,
        max: usize,
        sink: &mut Sink,
        mut item: impl FnMut(&Field<'t>, &mut Sink) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &self.node.value {
            Value::List(_) => self.list(max, sink, item),
            _ => item(self, sink).map(|item| vec![item]),
        }
    }

    /// Reads a mapping whose keys are the operator's: the key, with the place of the entry.
    pub(super) fn entries(&self, sink: &mut Sink) -> Option<Vec<(Located<String>, Field<'t>)>> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_type("a mapping of names", sink);
            return None;
        };
        let entry = |entry: &'t Entry| {
            let path = entry_path(&self.at.field, &entry.key);
            let at = At {
                field: path.clone(),
                position: entry.position,
            };
            let field = Field::new(path, &entry.node, entry.position);
            (
                Located {
                    value: entry.key.clone(),
                    at,
                },
                field,
            )
        };
        Some(entries.iter().map(entry).collect())
    }

    /// Opens a mapping whose keys are the format's. What is no mapping has no fields and misses
    /// none: it has been reported as a whole.
    pub(super) fn map(&self, sink: &mut Sink) -> Map<'t> {
        let entries = match &self.node.value {
            Value::Map(entries) => Some(entries.as_slice()),
            _ => None,
        };
        if entries.is_none() {
            self.wrong_type("a mapping", sink);
        }
        Map {
            at: self.at.clone(),
            entries,
            known: Vec::new(),
        }
    }

    /// Returns whether a mapping has a field, without reading it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.child(name).is_some()
    }

    /// Returns the text of a scalar in nested mappings, without reading it.
    pub(super) fn glance(&self, [outer, inner]: [&str; 2]) -> Option<&'t str> {
        match &entry(self.child(outer)?, inner)?.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn child(&self, name: &str) -> Option<&'t Node> {
        entry(self.node, name)
    }

    /// Returns whether the field is a mapping.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Returns whether the field is a mapping without entries.
    pub(super) fn is_empty_map(&self) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.is_empty())
    }

    fn scalar(&self, wanted: &str, sink: &mut Sink) -> Option<&'t str> {
        if let Value::Scalar { text, .. } = &self.node.value {
            return Some(text);
        }
        self.wrong_type(wanted, sink);
        None
    }

    fn wrong_type(&self, wanted: &str, sink: &mut Sink) {
        let found = match &self.node.value {
            Value::Invalid => return,
            Value::Null => "nothing",
            Value::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => "a number",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        let help = match wanted {
            "a list" => "write [VALUE, VALUE], or each VALUE in a line of its own after a hyphen",
            "a mapping" => "write FIELD: VALUE lines, indented",
            "a mapping of names" => "write NAME: … for each, indented, or {} where there is none",
            _ => "write a value after the colon, or leave the field out if it is optional",
        };
        sink.error(&self.at, format!("{found} where {wanted} is needed"), help);
    }
}

fn entry<'t>(node: &'t Node, name: &str) -> Option<&'t Node> {
    match &node.value {
        Value::Map(entries) => {
            let found = entries.iter().find(|entry| entry.key == name)?;
            Some(&found.node)
        }
        _ => None,
    }
}

/// A mapping whose keys are the format's. The fields asked for are the fields that there are.
#[derive(Debug)]
pub(super) struct Map<'t> {
    pub(super) at: At,
    entries: Option<&'t [Entry]>,
    known: Vec<&'static str>,
}

impl<'t> Map<'t> {
    /// Reads a field that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        sink: &mut Sink,
        read: impl FnOnce(&Field<'t>, &mut Sink) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let entry = self.entries?.iter().find(|entry| entry.key == name)?;
        let path = entry_path(&self.at.field, name);
        read(&Field::new(path, &entry.node, entry.position), sink)
    }

    /// Reads a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        form: &str,
        sink: &mut Sink,
        read: impl FnOnce(&Field<'t>, &mut Sink) -> Option<T>,
    ) -> Option<T> {
        if self
            .entries
            .is_some_and(|entries| entries.iter().all(|entry| entry.key != name))
        {
            let field = entry_path(&self.at.field, name);
            let at = At {
                field,
                position: self.at.position,
            };
            sink.error(&at, "missing", format!("add {name}: {form}"));
        }
        self.optional(name, sink, read)
    }

    /// Reports a field that must not be there.
    pub(super) fn refused(&mut self, name: &'static str, why: &str, help: &str, sink: &mut Sink) {
        self.optional(name, sink, |field, sink| {
            sink.error(&field.at, why, help);
            None::<()>
        });
    }

    /// Reports the fields that nobody asked for.
    pub(super) fn close(self, sink: &mut Sink) {
        for entry in self.entries.unwrap_or_default() {
            if self.known.iter().all(|known| *known != entry.key) {
                let field = entry_path(&self.at.field, &entry.key);
                let at = At {
                    field,
                    position: entry.position,
                };
                sink.error(&at, "unknown field", suggest(&entry.key, &self.known));
            }
        }
    }
}
