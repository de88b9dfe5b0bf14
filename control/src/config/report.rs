//! What is wrong with a configuration, and where.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but probably does not do what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// How many characters of that line are meant; 0 for a point.
    #[serde(skip)]
    pub width: usize,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is; none where the file as a whole cannot be read.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// The path of the field, such as `tunnels.paris.ivcs[2].link`; empty where none is meant.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// All findings of one file, in the order of the file.
///
/// `Display` writes one line for each, `FILE:LINE:COLUMN: error: FIELD: MESSAGE; HELP`;
/// [`Report::render`] shows the lines of the file too. `Serialize` gives
/// `{schema, file, diagnostics}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file: String,
    source: Arc<str>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// The version of the serialised form.
    pub const SCHEMA: u32 = 1;

    /// The most findings that a report holds. More help nobody, and the memory for them would be
    /// the file's to choose.
    const MAX: usize = 1000;

    pub(crate) fn new(file: &str, source: Arc<str>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.position.map(|p| (p.line, p.column)), d.severity);
            key(a).cmp(&key(b))
        });
        let errors = |d: &Diagnostic| d.severity == Severity::Error;
        if diagnostics.len() > Self::MAX {
            let (kept, dropped) = diagnostics.split_at(Self::MAX);
            let severity = if dropped.iter().any(errors) {
                Severity::Error
            } else {
                Severity::Warning
            };
            let last = Diagnostic {
                severity,
                position: kept.last().and_then(|d| d.position),
                field: String::new(),
                message: format!("{} more findings are not shown", dropped.len()),
                help: Some("correct those above first".to_owned()),
            };
            diagnostics.truncate(Self::MAX);
            diagnostics.push(last);
        }
        Self {
            file: file.to_owned(),
            source,
            diagnostics,
        }
    }

    /// Returns the name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the findings in the order of the file.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Returns whether there is an error among the findings.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error)
    }

    /// Returns line `number` (from 1) of the file, without its line break.
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        self.source.lines().nth(number.checked_sub(1)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            write!(f, "{}:", self.file)?;
            if let Some(position) = diagnostic.position {
                write!(f, "{}:{}:", position.line, position.column)?;
            }
            write!(f, " {}: ", diagnostic.severity)?;
            if !diagnostic.field.is_empty() {
                write!(f, "{}: ", diagnostic.field)?;
            }
            f.write_str(&diagnostic.message)?;
            if let Some(help) = &diagnostic.help {
                write!(f, "; {help}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 3)?;
        report.serialize_field("schema", &Self::SCHEMA)?;
        report.serialize_field("file", &self.file)?;
        report.serialize_field("diagnostics", &self.diagnostics)?;
        report.end()
    }
}
