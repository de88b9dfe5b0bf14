//! `cargo xtask test`: every suite, counted.

mod libtest;
mod table;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};

pub(crate) use self::table::Suite;
use self::{
    libtest::{CountingWriter, SharedCounts},
    table::{Program, ROWS, Row, Run},
};
use crate::{
    build_ebpf::{self, Object},
    command, fuzz,
    report::{Outcome, Report},
    setup::{self, Purpose},
    vm::{self, Streams, VmOptions},
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
        Run::Scenarios(arguments) => match missing_privilege()? {
            None => scenarios(arguments, options),
            Some(reason) => Ok(Outcome::skipped(reason)),
        },
        Run::Fuzz => fuzz::test(options.filter.as_deref()),
        Run::Vm { .. } if options.no_vm => Ok(Outcome::skipped("needs a virtual machine")),
        Run::Vm {
            program,
            kernel,
            modules,
            arguments,
        } => in_vm(
            &build_program(*program)?,
            &table::machine(*kernel, modules),
            arguments,
            options,
        ),
    }
}

fn cargo_test(arguments: &[&str], options: &TestOptions) -> Result<Outcome> {
    let mut cargo = command::cargo("test");
    cargo.arg("--no-fail-fast").args(arguments);
    if let Some(filter) = &options.filter {
        cargo.args(["--", filter]);
    }
    counted(cargo)
}

/// Runs the scenario runner on the kernel at hand.
fn scenarios(arguments: &[&str], options: &TestOptions) -> Result<Outcome> {
    let mut runner = Command::new(build_program(Program::Scenarios)?);
    runner.args(arguments).args(&options.filter);
    counted(runner)
}

/// Runs a program that prints like Rust's own tests, and counts.
fn counted(mut program: Command) -> Result<Outcome> {
    let mut child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::show(&program)))?;
    let counts = SharedCounts::default();
    if let Some(mut output) = child.stdout.take() {
        io::copy(
            &mut output,
            &mut CountingWriter::new(io::stdout(), Arc::clone(&counts)),
        )?;
    }
    let status = child.wait().context("cannot wait for a program")?;
    let counts = *libtest::lock(&counts);
    Ok(counts.judge(status.success()))
}

fn in_vm(
    program: &Path,
    machine: &VmOptions,
    arguments: &[&str],
    options: &TestOptions,
) -> Result<Outcome> {
    let words = arguments.iter().copied().chain(options.filter.as_deref());
    let command: Vec<OsString> = std::iter::once(program.as_os_str().to_owned())
        .chain(words.map(OsString::from))
        .collect();
    let counts = SharedCounts::default();
    let streams = Streams {
        stdout: Box::new(CountingWriter::new(io::stdout(), Arc::clone(&counts))),
        ..Streams::default()
    };
    let status = vm::run_with(machine, &command, streams)?;
    let counts = *libtest::lock(&counts);
    Ok(counts.judge(status.code() == 0))
}

/// Builds a program that runs in a virtual machine, and the programs that it starts; returns its file.
fn build_program(program: Program) -> Result<PathBuf> {
    let mut cargo = match program {
        Program::Scenarios => {
            let mut cargo = command::cargo("build");
            cargo.args(["--package", "withy", "--package", "withy-tests", "--bins"]);
            cargo
        }
        Program::Test(name) => {
            let mut cargo = command::cargo("test");
            cargo.args(["--no-run", "--package", "withy", "--test", name]);
            cargo
        }
    };
    cargo
        .args([
            "--quiet",
            "--release",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit());
    let artifacts = command::output(cargo)?;
    let wanted = match program {
        Program::Scenarios => "withy-scenarios",
        Program::Test(name) => name,
    };
    executable(&artifacts, wanted).with_context(|| format!("cargo built no {wanted}"))
}

/// The file of a program, from what cargo tells of the artifacts that it has built.
fn executable(artifacts: &str, name: &str) -> Option<PathBuf> {
    artifacts
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|artifact| artifact["target"]["name"] == name)
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_program_is_found_among_the_artifacts() {
        let artifacts = r#"{"reason":"compiler-artifact","target":{"name":"withy"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"netlink_esp"},"executable":"/t/netlink_esp-1"}
{"reason":"build-finished","success":true}"#;
        let file = executable(artifacts, "netlink_esp");
        assert_eq!(file.as_deref(), Some(Path::new("/t/netlink_esp-1")));
        assert_eq!(executable(artifacts, "withy"), None);
    }
}
