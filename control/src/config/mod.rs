//! The configuration: from a YAML file to a validated model, or to all that is wrong with it.
//!
//! A file becomes a tree that knows the place of each node (`tree`), then a draft of typed fields
//! (`decode`), which is checked as a whole (`check`) before it becomes the [`Config`] that the
//! rest of Withy uses (`finish`). Each step reports what it finds and goes on with the rest; only
//! a file that is not YAML stops at its first error. [`host::check`] compares a configuration
//! with the machine.
//!
//! The format is described in `deploy/CONFIGURATION.md`.

mod changes;
mod check;
mod class;
mod decode;
mod draft;
mod finish;
pub mod host;
mod key;
mod key_file;
mod keying;
mod keys;
mod model;
mod positions;
mod render;
mod report;
mod sink;
mod tree;
mod value;

use std::{fs, io::Read as _, path::Path, sync::Arc};

pub use crate::suite::Suite;
pub use changes::changes;
pub use class::{Class, Sizes, Takes};
pub use key::{KeyError, KeyMaterial};
pub use keying::{Endpoints, Ivc, Keying, Manual, Negotiated, Peer, Rekey, Sa};
pub use model::{
    Bundle, Config, EngineChoice, Gateway, Identity, Limits, Link, Metrics, Pacing, Probe, Rates,
    Receive, Resend, Resequence, SplitPolicy, Subnets, TrafficPolicy, Tunnel,
};
pub use render::Colour;
pub use report::{Diagnostic, Position, Report, Severity};
pub use value::{
    BundleName, Delay, Dscp, GatewayName, InterfaceName, LinkName, MetricsListen, Mss, Mtu,
    PeerAddress, Period, PortRange, Protocol, Rate, Setting, Spi, Text, TunnelName, ValueError,
    Volume,
};

/// The largest configuration file, in bytes: 1 MiB.
pub const MAX_FILE: usize = 1 << 20;

/// A valid configuration, and what else is known from its file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Findings that do not prevent its use: no errors.
    pub warnings: Report,
    file: String,
    source: Arc<str>,
    positions: positions::Positions,
}

impl Loaded {
    /// Returns where a field such as `links.dsl.interface` stands in the file, or for a field that
    /// the file leaves out, what would contain it.
    #[must_use]
    pub fn position(&self, field: &str) -> Option<Position> {
        self.positions.find(field)
    }
}

/// Reads and validates a configuration file and the key files that it names.
///
/// # Errors
///
/// Returns a report with at least one error; with all errors of the file unless it cannot be read
/// or is not YAML.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let limit = MAX_FILE as u64 + 1;
    let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        let help = "name a readable configuration file";
        return Err(unreadable(
            &name,
            None,
            format!("cannot be read: {error}"),
            help,
        ));
    }
    let base = path.parent().unwrap_or(Path::new(""));
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name, base),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let position = end_of(&String::from_utf8_lossy(valid));
            Err(unreadable(
                &name,
                Some(position),
                "not UTF-8".to_owned(),
                "save it as UTF-8",
            ))
        }
    }
}

/// Validates a configuration's text. `name` stands in reports; key files are looked for from
/// `base`.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Loaded, Report> {
    if text.len() > MAX_FILE {
        let help = "describe only one gateway in a file";
        return Err(unreadable(
            name,
            None,
            format!("longer than {MAX_FILE} bytes"),
            help,
        ));
    }
    // A byte order mark has no width: positions are as editors show them.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source: Arc<str> = text.into();
    let mut sink = sink::Sink::default();
    let read = tree::read(text, &mut sink).map(|root| {
        let mut draft = decode::decode(&root, &mut sink);
        keys::read_all(&mut draft, base, &mut sink);
        check::check(&draft, &mut sink);
        (finish::finish(draft), positions::Positions::of(&root))
    });
    let report = Report::new(name, source.clone(), sink.into_diagnostics());
    match read {
        Some((Some(config), positions)) if !report.has_errors() => {
            let file = name.to_owned();
            Ok(Loaded {
                config,
                warnings: report,
                file,
                source,
                positions,
            })
        }
        _ => Err(report),
    }
}

fn unreadable(name: &str, position: Option<Position>, message: String, help: &str) -> Report {
    let finding = Diagnostic {
        severity: Severity::Error,
        position,
        field: String::new(),
        message,
        help: Some(help.to_owned()),
    };
    Report::new(name, "".into(), vec![finding])
}

/// Returns the position behind the last character of `text`.
fn end_of(text: &str) -> Position {
    let line = text.matches('\n').count() + 1;
    let last = text.rsplit('\n').next().unwrap_or("");
    Position {
        line,
        column: last.chars().count() + 1,
        width: 0,
    }
}
