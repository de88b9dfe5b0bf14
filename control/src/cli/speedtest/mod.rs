//! `withy speedtest`.

#[cfg(test)]
mod tests;

use std::{io::IsTerminal as _, path::Path};

use comfy_table::Cell;

use super::{Exit, exit, measuring, show};
use crate::api::{
    client,
    protocol::{Request, Response},
    speed::{Direction, Speed},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tunnel
    #[arg(value_name = "TUNNEL")]
    tunnel: String,
    /// Only this link, alone; else all of the tunnel's at once
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// For how long each way, 3 to 20 seconds
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u16,
    /// Only from the other gateway
    #[arg(long, conflicts_with = "up")]
    down: bool,
    /// Only to the other gateway
    #[arg(long)]
    up: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Measures what a tunnel carries, of the gateway whose daemon listens on `socket`.
pub(super) fn speedtest(socket: &Path, args: &Args) -> Exit {
    let directions = match (args.down, args.up) {
        (true, _) => vec![Direction::Down],
        (_, true) => vec![Direction::Up],
        _ => vec![Direction::Down, Direction::Up],
    };
    let request = Request::Speedtest {
        tunnel: args.tunnel.clone(),
        link: args.link.clone(),
        directions,
        seconds: args.seconds,
    };
    let answers = match client::follow(socket, &request) {
        Ok(answers) => answers,
        Err(error) => return measuring::failed(&error),
    };
    let terminal = std::io::stdout().is_terminal();
    let mut carried = 0;
    let ended = measuring::listen(answers, |answer| {
        let Response::Speed(speed) = answer else {
            return false;
        };
        carried += speed.rate_bps;
        exit::print(&if args.json {
            // Nothing in it cannot be written.
            serde_json::to_string(&speed).unwrap_or_default() + "\n"
        } else {
            text(&speed, terminal)
        });
        true
    });
    match ended {
        Err(error) => measuring::failed(&error),
        Ok(()) if carried == 0 => Exit::Failed,
        Ok(()) => Exit::Fine,
    }
}

fn text(speed: &Speed, terminal: bool) -> String {
    let way = match speed.direction {
        Direction::Down => "down, from the other gateway",
        Direction::Up => "up, to the other gateway",
    };
    let header = [
        "IVC",
        "rate",
        "loss",
        "RTT\nidle",
        "RTT\nloaded",
        "RTT\nmost",
    ];
    let mut table = show::table(&header, terminal);
    for speed in &speed.ivcs {
        let ivc = &speed.ivc;
        let name = show::ivc_name(&ivc.link, ivc.remote, ivc.remote_link.as_deref());
        table.add_row(vec![
            Cell::new(name),
            show::number(show::rate(speed.rate_bps)),
            show::number(show::percent(speed.loss_ratio)),
            show::number(show::time(speed.rtt_idle_seconds)),
            show::number(show::time(speed.rtt_loaded_seconds)),
            show::number(show::time(speed.rtt_max_seconds)),
        ]);
    }
    format!(
        "{way}: {} of IP packets on the links, over {:.1} s\n{table}\n",
        show::rate(speed.rate_bps),
        speed.seconds
    )
}
