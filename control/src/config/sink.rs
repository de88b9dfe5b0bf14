//! Where findings are collected while a file is read.

use super::report::{Diagnostic, Position, Severity};

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
        self.diagnostics.push(Diagnostic {
            severity,
            position: Some(at.position),
            field: at.field.clone(),
            message,
            help: Some(help),
        });
    }
}
