//! The YAML tree of a file, each node with its place.
//!
//! Built from parser events rather than through serde, which knows no positions and stops at the
//! first error. Only the plain part of YAML is taken: one document, no aliases (they can make a
//! small file huge), no tags, keys that are scalars.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{
    report::Position,
    sink::{At, Sink},
    value::quote,
};

/// Deeper than any legal configuration; recursion on the tree is bounded by it.
const MAX_DEPTH: usize = 16;

/// A node with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, or a plain `~` or `null`.
    Null,
    /// A scalar; `plain` if it has no quotes.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order, no key twice.
    Map(Vec<Entry>),
    /// Something that has been reported already.
    Invalid,
}

/// An entry of a mapping.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) node: Node,
}

/// Tells why no tree could be built: it has been reported.
#[derive(Debug)]
struct Abandoned;

/// Reads a file's text into a tree. Reports what is no YAML, or not the plain part of it; returns
/// none if that leaves nothing to look at further.
pub(super) fn read(text: &str, sink: &mut Sink) -> Option<Node> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        sink,
        depth: 0,
    };
    builder.document().ok()
}

/// Returns the path of an entry of a mapping.
pub(super) fn entry_path(parent: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = if !key.is_empty() && key.len() <= 64 && key.chars().all(plain) {
        key.to_owned()
    } else {
        quote(key)
    };
    if parent.is_empty() {
        key
    } else {
        format!("{parent}.{key}")
    }
}

/// Returns the path of an item of a sequence.
pub(super) fn item_path(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

struct Builder<'t, 's> {
    parser: Parser<'t, StrInput<'t>>,
    sink: &'s mut Sink,
    depth: usize,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Node, Abandoned> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    let at = At {
                        field: String::new(),
                        position: position(span),
                    };
                    self.sink
                        .error(&at, "a second document", "leave one document in the file");
                    return Err(Abandoned);
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => root = Some(self.node(event, span, "")?),
            }
        }
        let empty = Node {
            position: Position {
                line: 1,
                column: 1,
                width: 0,
            },
            value: Value::Null,
        };
        Ok(root.unwrap_or(empty))
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Abandoned> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                let position = Position {
                    line,
                    column,
                    width: 0,
                };
                let at = At {
                    field: String::new(),
                    position,
                };
                self.sink.error(
                    &at,
                    format!("not YAML: {}", error.info()),
                    "correct the syntax",
                );
                Err(Abandoned)
            }
            None => Err(Abandoned),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, path: &str) -> Result<Node, Abandoned> {
        let position = position(span);
        if self.depth == MAX_DEPTH {
            let at = At {
                field: path.to_owned(),
                position,
            };
            self.sink.error(
                &at,
                "nested too deeply",
                "close a bracket or correct the indent",
            );
            return Err(Abandoned);
        }
        self.depth += 1;
        let value = self.value(event, position, path)?;
        self.depth -= 1;
        Ok(Node { position, value })
    }

    fn value(
        &mut self,
        event: Event<'t>,
        position: Position,
        path: &str,
    ) -> Result<Value, Abandoned> {
        let at = At {
            field: path.to_owned(),
            position,
        };
        let (value, tag) = match event {
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let scalar = || Value::Scalar {
                    text: text.clone().into_owned(),
                    plain,
                };
                (if null { Value::Null } else { scalar() }, tag)
            }
            Event::SequenceStart(_, tag) => (self.list(path)?, tag),
            Event::MappingStart(_, tag) => (self.map(path)?, tag),
            // The parser balances its events: what is left here is an alias.
            _ => {
                self.sink.error(
                    &at,
                    "an alias, which is not allowed here",
                    "repeat the value",
                );
                return Ok(Value::Invalid);
            }
        };
        if let Some(tag) = tag {
            let message = format!("a tag, {}", quote(&tag.to_string()));
            self.sink
                .error(&at, message, "leave it out: each field has one type");
            return Ok(Value::Invalid);
        }
        Ok(value)
    }

    fn list(&mut self, path: &str) -> Result<Value, Abandoned> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            let path = item_path(path, items.len());
            items.push(self.node(event, span, &path)?);
        }
    }

    fn map(&mut self, path: &str) -> Result<Value, Abandoned> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = std::collections::BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, span, path)?;
            let name = self.key(&key, path);
            let entry = entry_path(path, name.as_deref().unwrap_or("?"));
            let (event, span) = self.next()?;
            let node = self.node(event, span, &entry)?;
            let Some(name) = name else { continue };
            let line = *lines.entry(name.clone()).or_insert(key.position.line);
            if entries.len() < lines.len() {
                entries.push(Entry {
                    key: name,
                    position: key.position,
                    node,
                });
            } else {
                let at = At {
                    field: entry,
                    position: key.position,
                };
                let message = format!("{} stands here twice, first in line {line}", quote(&name));
                self.sink.error(&at, message, "keep one of them");
            }
        }
    }

    fn key(&mut self, key: &Node, path: &str) -> Option<String> {
        match &key.value {
            Value::Scalar { text, .. } => return Some(text.clone()),
            Value::Invalid => return None,
            Value::Null | Value::List(_) | Value::Map(_) => {}
        }
        let at = At {
            field: path.to_owned(),
            position: key.position,
        };
        self.sink.error(
            &at,
            "a key that is no name",
            "write a name before the colon",
        );
        None
    }
}

fn position(span: Span) -> Position {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line {
        span.end.col().saturating_sub(span.start.col())
    } else {
        1
    };
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
        width,
    }
}
