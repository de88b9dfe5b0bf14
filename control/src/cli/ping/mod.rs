//! `withy ping`.

mod figures;
#[cfg(test)]
mod tests;

use std::{io::IsTerminal as _, path::Path, time::Duration};

use serde::Serialize;

use self::figures::{Figures, Summary};
use super::{Exit, exit, measuring, show};
use crate::api::{
    client,
    ping::Pinged,
    protocol::{Request, Response},
    status::SCHEMA,
};

/// What to ping.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tunnel
    #[arg(value_name = "TUNNEL")]
    tunnel: String,
    /// Only the IVCs over this link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// How often; until it is interrupted if that is not said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// The time between two pings of an IVC, 50ms to 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
enum Line<'a> {
    Ping(&'a Pinged),
    Summary { schema: u32, ivcs: Vec<Summary> },
}

/// Pings the IVCs of a tunnel of the gateway whose daemon listens on `socket`.
pub(super) fn ping(socket: &Path, args: &Args) -> Exit {
    let request = Request::Ping {
        tunnel: args.tunnel.clone(),
        link: args.link.clone(),
        count: args.count,
        interval_ms: u64::try_from(args.interval.as_millis()).unwrap_or(u64::MAX),
    };
    let answers = match client::follow(socket, &request) {
        Ok(answers) => answers,
        Err(error) => return measuring::failed(&error),
    };
    let mut figures = Figures::default();
    let ended = measuring::listen(answers, |answer| {
        let Response::Pinged(ping) = answer else {
            return false;
        };
        figures.note(&ping);
        exit::print(&if args.json {
            json(&Line::Ping(&ping))
        } else {
            figures.line(&ping)
        });
        true
    });
    exit::print(&if args.json {
        json(&Line::Summary {
            schema: SCHEMA,
            ivcs: figures.summaries(),
        })
    } else {
        figures.table(std::io::stdout().is_terminal())
    });
    match ended {
        Err(error) => measuring::failed(&error),
        Ok(()) if figures.is_hopeless() => Exit::Failed,
        Ok(()) => Exit::Fine,
    }
}

fn json(line: &Line<'_>) -> String {
    // Nothing in it cannot be written.
    serde_json::to_string(line).unwrap_or_default() + "\n"
}
