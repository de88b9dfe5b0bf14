//! Where each field of a file stands.

use std::collections::BTreeMap;

use super::{
    report::Position,
    tree::{Node, Value, entry_path, item_path},
};

/// The places of a file's fields, by their paths: of the value if it is a scalar, else of the key.
#[derive(Debug, Clone, Default)]
pub(super) struct Positions {
    fields: BTreeMap<String, Position>,
}

impl Positions {
    pub(super) fn of(root: &Node) -> Self {
        let mut positions = Self::default();
        positions.visit(root, String::new(), root.position);
        positions
    }

    /// Returns the place of a field, or of the nearest thing around it that the file has: a field
    /// that takes its default stands nowhere.
    pub(super) fn find(&self, field: &str) -> Option<Position> {
        let mut path = field;
        loop {
            if let Some(position) = self.fields.get(path) {
                return Some(*position);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn visit(&mut self, node: &Node, path: String, key: Position) {
        let place = match &node.value {
            Value::Scalar { .. } => node.position,
            Value::Null | Value::Invalid | Value::List(_) | Value::Map(_) => key,
        };
        match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.visit(item, item_path(&path, index), item.position);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.visit(&entry.node, entry_path(&path, &entry.key), entry.position);
                }
            }
            Value::Null | Value::Scalar { .. } | Value::Invalid => {}
        }
        self.fields.insert(path, place);
    }
}
