//! Shows the main job on the kernel that it runs on, which `cargo xtask demo` chooses.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use withy::config::SplitPolicy;
use withy_tests::{
    demo::{self, Options, figures::Verdict, plan::LEAST_DURATION},
    profiles::Profiles,
};

/// Shows one file crossing several links at once. Takes root.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only say whether this process can show it on this kernel
    #[arg(long)]
    probe: bool,
    /// The links, by the name of their profile
    #[arg(long, default_value = "demo")]
    profile: String,
    /// Print one JSON object on standard output and everything else on standard error
    #[arg(long)]
    json: bool,
    /// How long the transfer through the tunnel takes
    #[arg(long, value_name = "SECS", default_value_t = 36)]
    #[arg(value_parser = clap::value_parser!(u64).range(LEAST_DURATION.as_secs()..=3600))]
    duration: u64,
    /// Split packets only where they do not fit, or always
    #[arg(long, value_enum, default_value_t = Split::Mtu)]
    split: Split,
    /// Redraw in place: the display goes to a terminal of so many columns
    #[arg(long, value_name = "COLUMNS")]
    terminal: Option<usize>,
    /// Use colours
    #[arg(long)]
    colour: bool,
    /// Draw what each link carried over time, and what the stream got, into this file (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Split {
    Mtu,
    Always,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.probe {
        demo::probe()?;
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = demo::run(&Options {
        profile: Profiles::bonding()?.find(&arguments.profile)?.clone(),
        json: arguments.json,
        duration: Duration::from_secs(arguments.duration),
        split: match arguments.split {
            Split::Mtu => SplitPolicy::Mtu,
            Split::Always => SplitPolicy::Always,
        },
        terminal: arguments.terminal,
        colour: arguments.colour,
        plot: arguments.plot.clone(),
    })?;
    Ok(match verdict {
        Verdict::Fine => ExitCode::SUCCESS,
        Verdict::ContentsDiffer | Verdict::TooSlow => ExitCode::FAILURE,
    })
}
