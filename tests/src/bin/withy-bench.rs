//! Measures what Withy costs on the machine at hand. Needs root; `cargo xtask bench` builds and starts it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use withy_tests::bench::dataplane;

/// Measure what Withy costs on the machine at hand
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The eBPF programs: time a packet, and packets a second through two links
    Dataplane {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
        /// How often to measure everything; the figures are medians over the runs
        #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=25))]
        runs: u32,
        /// The object file with the programs of the bench's own
        #[arg(
            long,
            value_name = "FILE",
            default_value = "target/ebpf/withy-bench-bpf.o"
        )]
        programs: PathBuf,
    },
}

fn main() -> Result<()> {
    let Bench::Dataplane {
        json,
        runs,
        programs,
    } = Cli::parse().bench;
    let report = dataplane::run(runs, &programs)?;
    if json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.table());
    }
    Ok(())
}
