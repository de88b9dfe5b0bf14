//! `cargo xtask`: set-up, builds, tests, fuzzing, virtual machines and benches of the Withy workspace.

mod bench;
mod build_ebpf;
mod ci;
mod cli;
mod command;
mod demo;
mod fuzz;
mod progress;
mod report;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
