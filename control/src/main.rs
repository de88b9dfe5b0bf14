//! The `withy` program: daemon and command line.

use std::process::ExitCode;

use clap::Parser as _;
use withy::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute().into()
}
