//! `cargo xtask fuzz`: random inputs, guided by what of the code they reach, for whatever reads what others wrote.
//!
//! The targets are programs of `tests/fuzz`, linked with libFuzzer.

mod build;
mod run;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use self::run::Effort;
use crate::{
    build_ebpf::{self, Object},
    command,
    report::{Outcome, Tally},
    setup::{self, Purpose},
    workspace,
};

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Any bytes, in any parts, to the decoder of the control protocol
    WireDecoder,
    /// Any payload as a message of the control protocol, read, written and read again
    WireMessages,
    /// Any bytes as a keepalive
    Keepalive,
    /// Any text as a configuration
    Config,
    /// Any bytes as an ESP packet, and as what is inside one
    Esp,
    /// Any packet to what the eBPF programs find out about it
    Header,
    /// Any bytes as what one ESP engine tells the other of packets
    Word,
}

impl Target {
    /// The name on the command line, of the program and of the folders.
    const fn name(self) -> &'static str {
        match self {
            Self::WireDecoder => "wire_decoder",
            Self::WireMessages => "wire_messages",
            Self::Keepalive => "keepalive",
            Self::Config => "config",
            Self::Esp => "esp",
            Self::Header => "header",
            Self::Word => "word",
        }
    }

    /// The folders with inputs to begin with.
    fn seeds(self) -> Vec<PathBuf> {
        let folders: &[&str] = match self {
            // A configuration with its checks is large: what is there already does better than what would be made up.
            Self::Config => &["deploy/examples", "control/tests/bad"],
            _ => return vec![package().join("corpus").join(self.name())],
        };
        folders
            .iter()
            .map(|folder| workspace::root().join(folder))
            .collect()
    }

    /// A file with words that inputs are made of.
    fn dictionary(self) -> Option<PathBuf> {
        matches!(self, Self::Config).then(|| package().join("config.dict"))
    }

    /// The longest input that is tried, in bytes.
    const fn longest(self) -> u32 {
        match self {
            Self::WireDecoder | Self::Config => 8192,
            Self::WireMessages => 4096,
            Self::Keepalive | Self::Esp | Self::Header => 256,
            Self::Word => 512,
        }
    }
}

/// What `cargo xtask fuzz` is asked for.
#[derive(Debug)]
pub(crate) struct FuzzOptions {
    /// The target; all of them if none is given.
    pub(crate) target: Option<Target>,
    /// How long to fuzz each target.
    pub(crate) duration: Duration,
    /// An input to run instead, once.
    pub(crate) input: Option<PathBuf>,
}

/// Builds and fuzzes; returns the exit status for the caller.
///
/// # Errors
///
/// Something cannot be set up, built or started.
pub(crate) fn run(options: &FuzzOptions) -> Result<u8> {
    setup::ensure(Purpose::Build)?;
    // The controller embeds the object: no crate that uses it compiles before.
    build_ebpf::build(Object::Programs, false)?;
    build::build()?;
    let mut status = 0;
    for target in Target::value_variants() {
        if options.target.is_none_or(|wanted| wanted == *target) {
            println!("== {}", target.name());
            status |= u8::from(!fuzz(*target, options)?);
        }
    }
    Ok(status)
}

/// Fuzzes a target before the user's eyes; returns whether it held.
fn fuzz(target: Target, options: &FuzzOptions) -> Result<bool> {
    let mut program = match &options.input {
        Some(input) => run::replay(target, input),
        None => run::fuzz(
            target,
            &run::corpus(target)?,
            &Effort::Time(options.duration),
        )?,
    };
    let status = program
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", command::show(&program)))?;
    if !status.success() {
        eprintln!("\n{}", run::finding(target, options.input.as_deref()));
    }
    Ok(status.success())
}

/// Runs a fixed number of the same inputs on each target whose name contains `filter`: one test each.
///
/// # Errors
///
/// The targets cannot be built.
pub(crate) fn test(filter: Option<&str>) -> Result<Outcome> {
    build::build()?;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for target in Target::value_variants() {
        if filter.is_some_and(|filter| !target.name().contains(filter)) {
            continue;
        }
        match run::briefly(*target) {
            Ok(()) => tally += Tally::PASSED,
            Err(error) => {
                eprintln!("error: {error:#}\n\n{}", run::finding(*target, None));
                tally += Tally::FAILED;
                failed.push(target.name());
            }
        }
    }
    Ok(Outcome {
        tally,
        note: failed.join(", "),
    })
}

/// The package with the targets.
fn package() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// Where everything goes that building and fuzzing make.
fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_program_and_seeds_and_the_name_that_the_command_line_takes() {
        for target in Target::value_variants() {
            let value = target.to_possible_value().unwrap();
            assert_eq!(value.get_name(), target.name());
            let source = package().join(format!("src/bin/{}.rs", target.name()));
            assert!(source.is_file(), "{}", source.display());
            for folder in target.seeds() {
                assert!(folder.is_dir(), "{}", folder.display());
            }
            assert!(target.dictionary().is_none_or(|file| file.is_file()));
        }
    }
}
