//! The command line, and which module answers each command.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    bench::{self, Bench, BenchOptions},
    build_ebpf::{self, Object},
    ci,
    demo::{self, DemoOptions, Split},
    fuzz::{self, FuzzOptions, Target},
    report::Report,
    setup::{self, Purpose, kernels::Series},
    test::{self, Suite, TestOptions},
    vm::{self, VmOptions},
    workspace,
};

/// Set-up, builds, tests and virtual machines of the Withy workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Setup(SetupArgs),
    BuildEbpf(BuildEbpfArgs),
    Demo(DemoArgs),
    Vm(VmArgs),
    Test(TestArgs),
    Fuzz(FuzzArgs),
    Ci(CiArgs),
    Bench(BenchArgs),
}

/// Find or install what building and testing take; does nothing where all is in place
#[derive(Debug, Args)]
struct SetupArgs {
    /// What to prepare for; each purpose includes the ones before it
    #[arg(long = "for", value_enum, default_value_t = Purpose::Vm)]
    purpose: Purpose,
}

/// Build the eBPF programs into target/ebpf/withy-bpf.o
#[derive(Debug, Args)]
struct BuildEbpfArgs {
    /// Show what cargo does, even where nothing goes wrong
    #[arg(long, short)]
    verbose: bool,
}

/// Show one file crossing four links at once, through an encrypted tunnel between two gateways
///
/// On the way one link is cut and comes back, and another has half of its rate for a while. What each link carried over time is drawn
/// into target/demo/demo.svg; in a virtual machine, into target/vm/out/demo.svg.
///
/// The exit status is 0 if the tunnel's speed is at least 85% of the sum of the links' and the contents are equal.
/// It runs on the kernel at hand as root, at rates of today's connections; where that cannot be, or with `--vm`,
/// in a virtual machine, whose processor is emulated, with slower links. Where the kernel has no ESP the gateways take Withy's own.
#[derive(Debug, Args)]
struct DemoArgs {
    /// Print one JSON object on standard output, and everything else on standard error
    #[arg(long)]
    json: bool,
    /// Use a virtual machine, with a kernel that has ESP, whatever the kernel at hand can do
    #[arg(long)]
    vm: bool,
    /// Use this kernel, in a virtual machine
    #[arg(long, value_enum)]
    kernel: Option<Series>,
    /// A kernel module to load first, in a virtual machine; may be given more than once
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// How long the transfer through the tunnel takes
    #[arg(long, value_name = "SECS", default_value_t = 36)]
    #[arg(value_parser = clap::value_parser!(u64).range(27..=3600))]
    duration: u64,
    /// When packets are split over links
    #[arg(long, value_enum, default_value_t = Split::Mtu)]
    split: Split,
}

impl From<DemoArgs> for DemoOptions {
    fn from(args: DemoArgs) -> Self {
        Self {
            json: args.json,
            vm: args.vm,
            kernel: args.kernel,
            modules: args.module,
            duration: Duration::from_secs(args.duration),
            split: args.split,
        }
    }
}

/// Run a command as root on another kernel, in a virtual machine that sees this machine's files
///
/// What the command writes stays in the machine's memory, except below the folder in `WITHY_OUT` (target/vm/out here).
/// The exit status is the command's; 124 if the machine was stopped at its limit, 125 if it crashed.
#[derive(Debug, Args)]
struct VmArgs {
    /// The kernel to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    /// How long the machine may live, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 900)]
    timeout: u64,
    /// The machine's memory
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// The machine's processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// A kernel module to load first; may be given more than once
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl From<&VmArgs> for VmOptions {
    fn from(args: &VmArgs) -> Self {
        Self {
            kernel: args.kernel,
            timeout: Duration::from_secs(args.timeout),
            memory_mib: args.memory,
            cpus: args.cpus,
            modules: args.module.clone(),
            ..Self::default()
        }
    }
}

/// Run the test suites; the last line has the sum
#[derive(Debug, Args)]
struct TestArgs {
    /// Skip what needs a virtual machine
    #[arg(long)]
    no_vm: bool,
    /// Run only tests with this in their names
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The suites to run; all of them by default
    #[arg(value_enum)]
    suite: Vec<Suite>,
}

impl From<TestArgs> for TestOptions {
    fn from(args: TestArgs) -> Self {
        Self {
            suites: args.suite,
            filter: args.filter,
            no_vm: args.no_vm,
        }
    }
}

/// Feed random inputs to whatever reads what others wrote
///
/// Inputs that reach something new are kept in target/fuzz/corpus, where the next run goes on. The exit status is 0 unless
/// an input broke something; that one is kept, too, and the last lines say where and how to run it again.
#[derive(Debug, Args)]
struct FuzzArgs {
    /// The target; all of them by default, one after the other
    #[arg(value_enum)]
    target: Option<Target>,
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Run this one input instead
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

impl From<FuzzArgs> for FuzzOptions {
    fn from(args: FuzzArgs) -> Self {
        Self {
            target: args.target,
            duration: Duration::from_secs(args.seconds),
            // Targets run in the workspace's root.
            input: args.input.map(|file| file.canonicalize().unwrap_or(file)),
        }
    }
}

/// Run everything that a change must pass: the suites, formatting, lints, documentation, dependencies
#[derive(Debug, Args)]
struct CiArgs {
    /// Skip what needs a virtual machine
    #[arg(long)]
    no_vm: bool,
}

/// Measure, on the kernel at hand; takes root
///
/// Plots and JSON of tunnel and bonding are written into target/bench.
#[derive(Debug, Args)]
struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    bench: Bench,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// How often to measure everything; the figures are medians over the runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// For tunnel and bonding: how long each load is measured
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// For tunnel and bonding: only this system; may be given more than once
    #[arg(long, value_name = "NAME")]
    system: Vec<String>,
    /// For bonding: how long each load goes on before anything counts
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: Option<u64>,
    /// For bonding: only this profile, or `all`; may be given more than once
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// For bonding: instead of profiles, draw so many sets of links at random, and measure Withy, or the systems that are named,
    /// on each
    #[arg(long, value_name = "N", conflicts_with = "profile", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    random: Option<u32>,
    /// For bonding: what the sets are drawn from; the same seed, the same sets
    #[arg(long, value_name = "S", requires = "random")]
    seed: Option<u64>,
    /// For bonding: streams at once on the sets
    #[arg(long, value_name = "N", requires = "random", value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: Option<u16>,
    /// For tunnel and bonding: where further systems are described; see tests/peers/README.md
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// For tunnel: Withy with the kernel's ESP and what else kernels have, in a virtual machine
    #[arg(long)]
    vm: bool,
}

impl From<BenchArgs> for BenchOptions {
    fn from(args: BenchArgs) -> Self {
        Self {
            bench: args.bench,
            json: args.json,
            runs: args.runs,
            seconds: args.seconds,
            warm_up: args.warm_up,
            systems: args.system,
            profiles: args.profile,
            random: args.random,
            seed: args.seed,
            streams: args.streams,
            peers: args.peers,
            vm: args.vm,
        }
    }
}

impl Cli {
    /// Runs the chosen task and returns the exit status for the caller.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.task {
            Task::Setup(args) => {
                setup::ensure(args.purpose)?;
                eprintln!("setup: everything for `{}` is in place", args.purpose);
                Ok(0)
            }
            Task::BuildEbpf(args) => {
                setup::ensure(Purpose::Build)?;
                let object = build_ebpf::build(Object::Programs, args.verbose)?;
                println!("{}", workspace::relative(&object).display());
                Ok(0)
            }
            Task::Demo(args) => demo::run(&args.into()),
            Task::Vm(args) => {
                setup::ensure(Purpose::Vm)?;
                Ok(vm::run(&VmOptions::from(&args), &args.command)?.code())
            }
            Task::Test(args) => {
                let mut report = Report::default();
                test::run(&args.into(), &mut report);
                Ok(report.finish())
            }
            Task::Fuzz(args) => fuzz::run(&args.into()),
            Task::Ci(args) => {
                let mut report = Report::default();
                let options = TestOptions {
                    no_vm: args.no_vm,
                    ..TestOptions::default()
                };
                ci::run(&options, &mut report);
                Ok(report.finish())
            }
            Task::Bench(args) => bench::run(&args.into()),
        }
    }
}
