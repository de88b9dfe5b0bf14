//! `cargo xtask bench`: measuring, on the kernel at hand or in a virtual machine.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    build_ebpf::{self, Object},
    command,
    setup::{self, Purpose},
    vm::{self, VmOptions},
    workspace,
};

/// How long a virtual machine may measure, its boot included.
const VM_LIMIT: Duration = Duration::from_hours(1);

/// How long each load lasts there where nothing is said.
const VM_SECONDS: u64 = 6;

/// What two gateways, hosts and several programs take, in MiB.
const VM_MEMORY: u32 = 3072;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// The eBPF programs: time a packet, and packets a second through two links
    Dataplane,
    /// One tunnel without limits: goodput and processor time, of Withy and of what one would otherwise pick
    Tunnel,
    /// Several links as one: the profiles of tests/profiles, under TCP and UDP, with Withy and others
    Bonding,
}

/// What to measure, and how.
#[derive(Debug)]
pub(crate) struct BenchOptions {
    /// What to measure.
    pub(crate) bench: Bench,
    /// Print one JSON object instead of tables.
    pub(crate) json: bool,
    /// How often; the bench's own choice where nothing is said.
    pub(crate) runs: Option<u32>,
    /// How long each load is measured; the bench's own choice where nothing is said.
    pub(crate) seconds: Option<u64>,
    /// How long each load goes on before; the bench's own choice where nothing is said.
    pub(crate) warm_up: Option<u64>,
    /// Only these systems; all where there are none.
    pub(crate) systems: Vec<String>,
    /// Only these profiles; the bench's own choice where there are none.
    pub(crate) profiles: Vec<String>,
    /// Instead of profiles, so many sets of links drawn at random.
    pub(crate) random: Option<u32>,
    /// What they are drawn from; the bench's own choice where nothing is said.
    pub(crate) seed: Option<u64>,
    /// Streams at once on them; the bench's own choice where nothing is said.
    pub(crate) streams: Option<u16>,
    /// Where further systems are described.
    pub(crate) peers: Option<PathBuf>,
    /// In a virtual machine, whose kernel has ESP.
    pub(crate) vm: bool,
}

impl Bench {
    /// The word for the runner.
    const fn word(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Tunnel => "tunnel",
            Self::Bonding => "bonding",
        }
    }
}

impl BenchOptions {
    /// The runner's arguments, but for those that depend on where it runs.
    fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.bench.word().into()];
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            words.extend([name.into(), value.to_string().into()]);
        };
        // An emulated machine is slow, and so it takes longer to see how slow.
        let seconds = self.seconds.or(self.vm.then_some(VM_SECONDS));
        let numbers = [
            ("--runs", self.runs.map(u64::from)),
            ("--seconds", seconds),
            ("--warm-up", self.warm_up),
            ("--random", self.random.map(u64::from)),
            ("--seed", self.seed),
            ("--streams", self.streams.map(u64::from)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                add(name, &number);
            }
        }
        for system in &self.systems {
            add("--system", system);
        }
        for profile in &self.profiles {
            add("--profile", profile);
        }
        if let Some(peers) = &self.peers {
            words.extend(["--peers".into(), peers.into()]);
        }
        if self.json {
            words.push("--json".into());
        }
        words
    }
}

/// Builds what the bench needs and runs it; returns the exit status for the caller.
///
/// # Errors
///
/// Something cannot be set up, built or started.
pub(crate) fn run(options: &BenchOptions) -> Result<u8> {
    ensure!(
        !options.vm || options.bench == Bench::Tunnel,
        "only `bench tunnel` knows what to do with `--vm`"
    );
    setup::ensure(match options.bench {
        Bench::Dataplane => Purpose::Test,
        Bench::Tunnel | Bench::Bonding => Purpose::Bench,
    })?;
    if options.vm {
        setup::ensure(Purpose::Vm)?;
    }
    // The controller embeds the object: no crate that uses it compiles before.
    build_ebpf::build(Object::Programs, false)?;
    let mut arguments = options.arguments();
    if options.bench == Bench::Dataplane {
        let programs = build_ebpf::build(Object::Bench, false)?;
        arguments.extend(["--programs".into(), programs.into()]);
    }
    build_runner()?;
    let runner = workspace::target().join("release/withy-bench");
    if options.vm {
        in_machine(&runner, arguments)
    } else {
        here(&runner, &arguments)
    }
}

fn here(runner: &Path, arguments: &[OsString]) -> Result<u8> {
    let mut runner = std::process::Command::new(runner);
    let status = runner
        .current_dir(workspace::root())
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", command::show(&runner)))?;
    // Killed by a signal, it has no code.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Measures in a virtual machine, and brings what that wrote to where other benches write.
fn in_machine(runner: &Path, mut arguments: Vec<OsString>) -> Result<u8> {
    let written = vm::out_folder().join("bench");
    arguments.extend(["--kernel".into(), "--output".into(), (&written).into()]);
    let machine = VmOptions {
        timeout: VM_LIMIT,
        memory_mib: VM_MEMORY,
        ..VmOptions::default()
    };
    let command: Vec<_> = std::iter::once(runner.as_os_str().to_owned())
        .chain(arguments)
        .collect();
    let status = vm::run(&machine, &command)?;
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for entry in fs::read_dir(&written).into_iter().flatten() {
        let file = entry?;
        fs::copy(file.path(), folder.join(file.file_name()))
            .with_context(|| format!("cannot copy {}", file.path().display()))?;
    }
    Ok(status.code())
}

fn build_runner() -> Result<()> {
    let mut cargo = command::cargo("build");
    cargo
        .args(["--quiet", "--release", "--package", "withy", "--package"])
        .args(["withy-tests", "--bin", "withy", "--bin", "withy-bench"])
        .stdin(Stdio::null());
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", command::show(&cargo));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_reaches_the_runner() {
        let options = BenchOptions {
            bench: Bench::Bonding,
            json: true,
            runs: Some(3),
            seconds: None,
            warm_up: Some(5),
            systems: vec!["withy".to_owned(), "plain".to_owned()],
            profiles: vec!["all".to_owned()],
            random: None,
            seed: None,
            streams: None,
            peers: Some("elsewhere".into()),
            vm: false,
        };
        let words = "bonding --runs 3 --warm-up 5 --system withy --system plain --profile all --peers elsewhere --json";
        assert_eq!(options.arguments(), words.split(' ').collect::<Vec<_>>());
        let sets = BenchOptions {
            json: false,
            runs: None,
            warm_up: None,
            systems: Vec::new(),
            profiles: Vec::new(),
            random: Some(100),
            seed: Some(7),
            streams: Some(1),
            peers: None,
            ..options
        };
        let words = "bonding --random 100 --seed 7 --streams 1";
        assert_eq!(sets.arguments(), words.split(' ').collect::<Vec<_>>());
        assert!(run(&BenchOptions { vm: true, ..sets }).is_err());
    }
}
