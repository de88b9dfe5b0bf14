//! Measures what Withy costs on the machine at hand. Needs root; `cargo xtask bench` builds and starts it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use withy_tests::bench::{
    bonding::{self, random},
    dataplane,
    plot::{self, Chart},
    report::{Report, Rows},
    tunnel,
};

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
    /// One tunnel without limits: goodput and processor time, of Withy and of what one would otherwise pick
    Tunnel {
        #[command(flatten)]
        common: Common,
        /// Measure Withy with the kernel's ESP, and what else kernels have
        #[arg(long)]
        kernel: bool,
        /// How often to measure everything
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
        /// How long each load lasts
        #[arg(long, value_name = "SECS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// Several links as one: the profiles of tests/profiles, under TCP and UDP
    Bonding {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        bonding: BondingArgs,
    },
}

#[derive(Debug, Args)]
struct BondingArgs {
    /// Only this profile, or `all`; may be given more than once
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// Instead of profiles, draw so many sets of links at random, and measure Withy, or the systems that are named, on each
    #[arg(long, value_name = "N", conflicts_with = "profile", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    random: Option<u32>,
    /// What the sets are drawn from: the same seed, the same sets
    #[arg(long, value_name = "S", default_value_t = 1, requires = "random")]
    seed: u64,
    /// Only the set of this number among those drawn; may be given more than once
    #[arg(long, value_name = "NUMBER", requires = "random", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    set: Vec<u16>,
    /// Streams at once on the sets
    #[arg(long, value_name = "N", default_value_t = 8, requires = "random", value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: u16,
    /// How often to measure everything
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each load goes on before anything counts
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// How long each load is measured
    #[arg(long, value_name = "SECS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Debug, Args)]
struct Common {
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only this system; may be given more than once
    #[arg(long, value_name = "NAME")]
    system: Vec<String>,
    /// Where further systems are described
    #[arg(long, value_name = "DIR", default_value = "tests/peers")]
    peers: PathBuf,
    /// Where plots and JSON are written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    output: PathBuf,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().bench {
        Bench::Dataplane {
            json,
            runs,
            programs,
        } => {
            let report = dataplane::run(runs, &programs)?;
            println!("{}", if json { report.json()? } else { report.table() });
            Ok(ExitCode::SUCCESS)
        }
        Bench::Tunnel {
            common,
            kernel,
            runs,
            seconds,
        } => {
            let (engine, name) = if kernel {
                (tunnel::Engine::Kernel, "tunnel-kernel")
            } else {
                (tunnel::Engine::Userspace, "tunnel")
            };
            let report = tunnel::run(&tunnel::Options {
                engine,
                runs,
                time: Duration::from_secs(seconds),
                systems: common.system.clone(),
                peers: common.peers.clone(),
            })?;
            draw(&report, &common, name, &tunnel_charts())?;
            Told::of(&report, Rows::Systems)?.deliver(&common, name)
        }
        Bench::Bonding { common, bonding } => measure_bonding(&common, &bonding),
    }
}

fn measure_bonding(common: &Common, chosen: &BondingArgs) -> Result<ExitCode> {
    let options = bonding::Options {
        runs: chosen.runs,
        warm_up: Duration::from_secs(chosen.warm_up),
        time: Duration::from_secs(chosen.seconds),
        systems: common.system.clone(),
        peers: common.peers.clone(),
    };
    if let Some(sets) = chosen.random {
        let only = chosen.set.iter().copied().map(usize::from);
        let findings = random::run(
            &options,
            &random::Draw {
                sets: usize::try_from(sets)?,
                only: only.collect(),
                seed: chosen.seed,
                streams: chosen.streams.into(),
            },
        )?;
        let told = Told {
            json: findings.json()?,
            text: findings.text(),
            failed: findings.has_failures(),
        };
        return told.deliver(common, "bonding-random");
    }
    let profiles = bonding::profiles_of(&chosen.profile)?;
    let report = bonding::run(&options, &chosen.profile)?;
    draw(&report, common, "bonding", &bonding_charts(&profiles))?;
    Told::of(&report, Rows::Loads)?.deliver(common, "bonding")
}

fn tunnel_charts() -> Vec<(&'static str, Chart<'static>)> {
    let chart = |title, metrics| Chart {
        title,
        profile: "unlimited",
        metrics,
    };
    vec![
        (
            "goodput",
            chart(
                "One tunnel, links without limits",
                &["tcp1.goodput", "tcp8.goodput"],
            ),
        ),
        (
            "cpu",
            chart("Processor time of the machine", &["tcp1.busy", "tcp8.busy"]),
        ),
    ]
}

fn bonding_charts(profiles: &[String]) -> Vec<(&str, Chart<'_>)> {
    let chart = |profile| Chart {
        title: profile,
        profile,
        metrics: &["tcp1.share", "tcp8.share"],
    };
    let names = profiles.iter().map(String::as_str);
    names.map(|profile| (profile, chart(profile))).collect()
}

/// What a bench has to tell.
struct Told {
    json: String,
    text: String,
    failed: bool,
}

impl Told {
    /// A report, as tables with such rows.
    fn of(report: &Report, rows: Rows) -> Result<Self> {
        Ok(Self {
            json: report.json()?,
            text: report.matrix(rows),
            failed: report.has_failures(),
        })
    }

    /// Prints it, and writes the JSON into the output folder. What failed shows in the exit status.
    fn deliver(self, common: &Common, name: &str) -> Result<ExitCode> {
        let folder = folder(common)?;
        let file = folder.join(format!("{name}.json"));
        fs::write(&file, &self.json).with_context(|| format!("cannot write {}", file.display()))?;
        let shown = if common.json { self.json } else { self.text };
        println!("{shown}");
        eprintln!("bench: plots and JSON are in {}", folder.display());
        Ok(if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Draws charts of a report into the output folder.
fn draw(report: &Report, common: &Common, name: &str, charts: &[(&str, Chart<'_>)]) -> Result<()> {
    let folder = folder(common)?;
    charts.iter().try_for_each(|(suffix, chart)| {
        plot::draw(report, *chart, &folder.join(format!("{name}-{suffix}.svg")))
    })
}

/// The output folder, which is there then.
fn folder(common: &Common) -> Result<&Path> {
    let folder: &Path = &common.output;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_go_together() {
        Cli::command().debug_assert();
        let parse = |words: &str| Cli::try_parse_from(words.split(' '));
        assert!(parse("withy-bench bonding --random 5 --seed 3 --streams 1").is_ok());
        assert!(parse("withy-bench bonding --profile lossy --warm-up 0").is_ok());
        assert!(parse("withy-bench bonding --random 5 --profile lossy").is_err());
        assert!(parse("withy-bench bonding --seed 5").is_err());
        assert!(parse("withy-bench bonding --random 5 --set 2 --set 5").is_ok());
        assert!(parse("withy-bench bonding --set 2").is_err());
    }
}
