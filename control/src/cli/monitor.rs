//! `withy monitor`.

use std::{
    io::{self, IsTerminal as _, Write},
    path::Path,
    thread,
    time::Duration,
};

use anstyle::{AnsiColor, Style};

use super::Exit;
use crate::api::{
    client::{self, ClientError},
    event::{Event, Severity},
};

/// How often a daemon is looked for that has ended.
const RETRY: Duration = Duration::from_millis(500);
const FAINT: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// How to monitor.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Wait for the daemon where it does not run, and go on when it comes back
    #[arg(long)]
    reconnect: bool,
}

/// Why there is nothing more to print.
enum End {
    /// The daemon has ended.
    Daemon,
    /// Nobody reads any more.
    Reader,
}

/// Prints what happens at the gateway whose daemon listens on `socket`.
pub(super) fn monitor(socket: &Path, args: &Args) -> Exit {
    let mut told = false;
    loop {
        let colour = io::stdout().is_terminal();
        match follow(socket, io::stdout().lock(), args.json, colour) {
            Ok(End::Reader) => return Exit::Fine,
            Ok(End::Daemon) => {
                eprintln!("withy: the daemon has ended");
                told = true;
            }
            Err(error @ ClientError::Unreachable { .. }) if args.reconnect => {
                if !told {
                    eprintln!("withy: {error}");
                }
                told = true;
            }
            Err(error) => {
                eprintln!("withy: {error}");
                return match error {
                    ClientError::Refused(_) => Exit::Failed,
                    _ => Exit::Unreachable,
                };
            }
        }
        if !args.reconnect {
            return Exit::Unreachable;
        }
        thread::sleep(RETRY);
    }
}

fn follow(
    socket: &Path,
    mut out: impl Write,
    json: bool,
    colour: bool,
) -> Result<End, ClientError> {
    let mut monitor = client::monitor(socket)?;
    while let Some(event) = monitor.wait()? {
        let line = line(&event, json, colour) + "\n";
        let written = out.write_all(line.as_bytes());
        if written.and_then(|()| out.flush()).is_err() {
            return Ok(End::Reader);
        }
    }
    Ok(End::Daemon)
}

fn line(event: &Event, json: bool, colour: bool) -> String {
    let Event { time, text, .. } = event;
    if json {
        // Nothing in an event cannot be written.
        return serde_json::to_string(event).unwrap_or_default();
    }
    if !colour {
        return format!("{time} {text}");
    }
    let style = match event.severity {
        Severity::Warning => WARNING,
        Severity::Info => Style::new(),
    };
    format!("{FAINT}{time}{FAINT:#} {style}{text}{style:#}")
}

#[cfg(test)]
mod tests;
