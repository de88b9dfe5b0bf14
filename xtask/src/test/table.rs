//! The suites, as a table.

use std::{fmt, time::Duration};

use clap::ValueEnum;

use crate::{setup::kernels::Series, vm::VmOptions};

/// A suite's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Unit, property and documentation tests, and the lab's own; the latter take root
    Host,
    /// The eBPF programs against tables of packets, on the kernel at hand; takes root
    Bpf,
    /// A fixed number of random inputs for each fuzz target
    Fuzz,
    /// Security associations against kernels that have ESP, in virtual machines
    Kernel,
    /// Whole gateways in the lab: what takes no ESP on the kernel at hand, which takes root, the rest in virtual machines
    Scenarios,
}

/// One run of a suite.
pub(super) struct Row {
    /// The suite that it belongs to.
    pub(super) suite: Suite,
    /// What sets it apart from the suite's other runs.
    pub(super) variant: &'static str,
    /// How it is run.
    pub(super) run: Run,
}

/// How a suite is run.
pub(super) enum Run {
    /// By `cargo test` with these arguments.
    Cargo(&'static [&'static str]),
    /// By `cargo test` with these arguments, where this process may make networks and load eBPF programs.
    PrivilegedCargo(&'static [&'static str]),
    /// By the fuzz targets.
    Fuzz,
    /// By the scenario runner with these arguments on the kernel at hand, where this process may make networks and
    /// load eBPF programs.
    Scenarios(&'static [&'static str]),
    /// By a program in a virtual machine.
    Vm {
        program: Program,
        kernel: Series,
        /// Modules that are loaded before anything else.
        modules: &'static [&'static str],
        /// Arguments of the program.
        arguments: &'static [&'static str],
    },
}

/// What runs in a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// The scenario runner.
    Scenarios,
    /// The controller's integration test of this name.
    Test(&'static str),
}

/// Everything there is to run, in order: what is quick to fail comes first.
pub(super) const ROWS: [Row; 10] = [
    Row {
        suite: Suite::Host,
        variant: "",
        run: Run::Cargo(&[
            "--workspace",
            "--exclude=withy-ebpf",
            "--exclude=withy-tests",
            "--exclude=withy-fuzz",
        ]),
    },
    // The targets of this package are named one by one, because `bpf` among them is a suite of its own.
    Row {
        suite: Suite::Host,
        variant: "lab",
        run: Run::PrivilegedCargo(&["--package=withy-tests", "--lib", "--bins", "--test=lab"]),
    },
    Row {
        suite: Suite::Bpf,
        variant: "",
        run: Run::PrivilegedCargo(&["--package=withy-tests", "--test=bpf"]),
    },
    Row {
        suite: Suite::Fuzz,
        variant: "short",
        run: Run::Fuzz,
    },
    Row {
        suite: Suite::Kernel,
        variant: "6.12",
        run: Run::Vm {
            program: Program::Test("netlink_esp"),
            kernel: Series::V6_12,
            modules: &[],
            arguments: &[],
        },
    },
    Row {
        suite: Suite::Kernel,
        variant: "6.1",
        run: Run::Vm {
            program: Program::Test("netlink_esp"),
            kernel: Series::V6_1,
            modules: &[],
            arguments: &[],
        },
    },
    Row {
        suite: Suite::Scenarios,
        variant: "native",
        run: Run::Scenarios(&["--native"]),
    },
    // What shows the same whoever does ESP has been played natively: emulation is slow.
    Row {
        suite: Suite::Scenarios,
        variant: "6.12",
        run: Run::Vm {
            program: Program::Scenarios,
            kernel: Series::V6_12,
            modules: &[],
            arguments: &["--esp"],
        },
    },
    // With this module, packets reach the TC hooks before they are encrypted.
    Row {
        suite: Suite::Scenarios,
        variant: "6.12, esp4_offload, smoke",
        run: Run::Vm {
            program: Program::Scenarios,
            kernel: Series::V6_12,
            modules: &["esp4_offload"],
            arguments: &["--smoke"],
        },
    },
    Row {
        suite: Suite::Scenarios,
        variant: "6.1, smoke",
        run: Run::Vm {
            program: Program::Scenarios,
            kernel: Series::V6_1,
            modules: &[],
            arguments: &["--smoke"],
        },
    },
];

impl Row {
    /// Whether the row starts a virtual machine.
    pub(super) fn takes_vm(&self) -> bool {
        matches!(self.run, Run::Vm { .. })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.suite {
            Suite::Host => "host",
            Suite::Bpf => "bpf",
            Suite::Fuzz => "fuzz",
            Suite::Kernel => "kernel",
            Suite::Scenarios => "scenarios",
        })?;
        if !self.variant.is_empty() {
            write!(f, " ({})", self.variant)?;
        }
        Ok(())
    }
}

/// The machine that scenarios run in.
pub(super) fn machine(kernel: Series, modules: &[&str]) -> VmOptions {
    VmOptions {
        kernel,
        modules: modules.iter().map(ToString::to_string).collect(),
        // All scenarios of one boot; emulation is slow, and machines that run tests are often shared.
        timeout: Duration::from_mins(40),
        memory_mib: 3072,
        ..VmOptions::default()
    }
}
