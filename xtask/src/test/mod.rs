//! `cargo xtask test`: every suite, counted.

mod libtest;
mod table;

use std::{ffi::OsString, io, process::Stdio, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::table::Suite;
use self::{
    libtest::{CountingWriter, SharedCounts},
    table::{ROWS, Row, Run},
};
use crate::{
    build_ebpf::{self, Object},
    command,
    report::{Outcome, Report},
    setup::{self, Purpose, kernels::Series},
    vm::{self, Streams},
    workspace,
};

/// What to test.
#[derive(Debug, Default)]
pub(crate) struct TestOptions {
    /// The suites to run; all of them if empty.
    pub(crate) suites: Vec<Suite>,
    /// Only tests with this in their names.
    pub(crate) filter: Option<String>,
    /// Skip what needs a virtual machine.
    pub(crate) no_vm: bool,
}

/// Sets up, builds and runs the suites, and notes their outcomes down in `report`. What cannot be set up or built is
/// a failure in the report, too.
pub(crate) fn run(options: &TestOptions, report: &mut Report) {
    let started = Instant::now();
    let rows: Vec<_> = ROWS.iter().filter(|row| options.wants(row)).collect();
    let virtual_machines = rows.iter().any(|row| row.takes_vm() && !options.no_vm);
    if let Err(error) = prepare(virtual_machines) {
        eprintln!("error: {error:#}");
        report.add(
            "preparation",
            Outcome::failed("see above"),
            started.elapsed(),
        );
        return;
    }
    let count = rows.len();
    for (index, row) in rows.into_iter().enumerate() {
        println!("\n== {row} [{} of {count}]", index + 1);
        let started = Instant::now();
        let outcome = run_row(row, options).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Outcome::failed("did not start")
        });
        if !outcome.note.is_empty() {
            println!("{row}: {}", outcome.note);
        }
        report.add(row.to_string(), outcome, started.elapsed());
    }
}

impl TestOptions {
    fn wants(&self, row: &Row) -> bool {
        self.suites.is_empty() || self.suites.contains(&row.suite)
    }
}

fn prepare(virtual_machines: bool) -> Result<()> {
    setup::ensure(if virtual_machines {
        Purpose::Vm
    } else {
        Purpose::Test
    })?;
    // The controller embeds the object: no crate that uses it compiles before.
    build_ebpf::build(Object::Programs, false)?;
    Ok(())
}

fn run_row(row: &Row, options: &TestOptions) -> Result<Outcome> {
    match &row.run {
        Run::Cargo(arguments) => cargo_test(arguments, options),
        Run::PrivilegedCargo(arguments) => match missing_privilege()? {
            None => cargo_test(arguments, options),
            Some(reason) => Ok(Outcome::skipped(reason)),
        },
        Run::Scenarios { .. } if options.no_vm => Ok(Outcome::skipped("needs a virtual machine")),
        Run::Scenarios {
            kernel,
            modules,
            arguments,
        } => scenarios(*kernel, modules, arguments, options),
    }
}

fn cargo_test(arguments: &[&str], options: &TestOptions) -> Result<Outcome> {
    let mut cargo = command::cargo("test");
    cargo.arg("--no-fail-fast").args(arguments);
    if let Some(filter) = &options.filter {
        cargo.args(["--", filter]);
    }
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let counts = SharedCounts::default();
    if let Some(mut output) = child.stdout.take() {
        io::copy(
            &mut output,
            &mut CountingWriter::new(io::stdout(), Arc::clone(&counts)),
        )?;
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let counts = *libtest::lock(&counts);
    Ok(counts.judge(status.success()))
}

fn scenarios(
    kernel: Series,
    modules: &[&str],
    arguments: &[&str],
    options: &TestOptions,
) -> Result<Outcome> {
    build_scenarios()?;
    let runner = workspace::target().join("release/withy-scenarios");
    let words = arguments.iter().copied().chain(options.filter.as_deref());
    let command: Vec<OsString> = std::iter::once(runner.into_os_string())
        .chain(words.map(OsString::from))
        .collect();
    let counts = SharedCounts::default();
    let streams = Streams {
        stdout: Box::new(CountingWriter::new(io::stdout(), Arc::clone(&counts))),
        ..Streams::default()
    };
    let status = vm::run_with(&table::machine(kernel, modules), &command, streams)?;
    let counts = *libtest::lock(&counts);
    Ok(counts.judge(status.code() == 0))
}

/// Builds the scenario runner and the programs that it starts.
fn build_scenarios() -> Result<()> {
    let mut cargo = command::cargo("build");
    cargo
        .args([
            "--quiet",
            "--release",
            "--package",
            "withy",
            "--package",
            "withy-tests",
            "--bins",
        ])
        .stdin(Stdio::null());
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", command::show(&cargo));
    }
    Ok(())
}

/// Why this process may not make network namespaces, or load eBPF programs and attach them, if it may not.
fn missing_privilege() -> Result<Option<String>> {
    // Bits of `linux/capability.h`.
    const NEEDED: [(u32, &str); 3] = [
        (12, "CAP_NET_ADMIN"),
        (21, "CAP_SYS_ADMIN"),
        (39, "CAP_BPF"),
    ];
    let status = std::fs::read_to_string("/proc/self/status").context("no /proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    let lacking = NEEDED
        .into_iter()
        .find(|(bit, _)| effective & (1 << bit) == 0);
    Ok(lacking.map(|(_, name)| format!("needs root: {name} is missing")))
}
