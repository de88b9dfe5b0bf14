//! How the program ends.

use std::{io::Write as _, process::ExitCode};

/// The exit status. 64 to 78 are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Fine,
    /// Something failed.
    Failed,
    /// `status --check`: something does not work.
    Degraded,
    /// The daemon does not answer.
    Unreachable,
    /// The configuration is bad.
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Degraded => 3,
            Exit::Unreachable => 69,
            Exit::Configuration => 78,
        })
    }
}

/// Prints to standard output; that nobody reads it to its end is no error.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
