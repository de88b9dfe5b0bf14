//! Where log lines go.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// What is logged by default. Strangers can make the TLS library warn as often as they like; what they do is counted.
const DEFAULT: &str = "info,rustls=error";

/// Writes log lines to standard error, from "info" on unless `WITHY_LOG` says otherwise.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("WITHY_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
