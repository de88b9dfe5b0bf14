//! Where findings are collected while a file is read.

use super::report::{Diagnostic, Position, Severity};
use crate::terminal::disarm;

/// A field and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) field: String,
    pub(super) position: Position,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
}

impl<T> Located<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: f(self.value),
            at: self.at,
        }
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Sink {
    diagnostics: Vec<Diagnostic>,
}

impl Sink {
    pub(super) fn error(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, at, message.into(), help.into());
    }

    pub(super) fn warning(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, at, message.into(), help.into());
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    fn push(&mut self, severity: Severity, at: &At, message: String, help: String) {
        // Paths among them are shown as they stand in the file.
        let (message, help) = (disarm(message), disarm(help));
        self.diagnostics.push(Diagnostic {
            severity,
            position: Some(at.position),
            field: at.field.clone(),
            message,
            help: Some(help),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Colour, parse};

    #[test]
    fn the_name_of_a_key_file_does_not_steer_the_terminal() {
        let example = include_str!("../../../deploy/examples/london.yaml");
        let text = example.replace("keys/london-paris}", "\"keys/\\e[31m\"}");
        let report = parse(&text, "x.yaml", Path::new("/nonexistent")).expect_err("no key");
        let shown = report.render(Colour::Never);
        assert!(shown.contains("/nonexistent/keys/\\u{1b}[31m"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
