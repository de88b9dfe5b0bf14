//! Virtual machines: one command on one of Debian's kernels, in the host's own file system, without KVM or root.
//!
//! The guest sees the host's root folder read-only over 9p, below a layer in memory that takes its writes. Only the
//! folder in `WITHY_OUT` is the host's own to the guest. Standard output, standard error and the exit status travel
//! through virtio ports of their own, apart from the kernel's console.

mod initramfs;
mod job;
mod machine;
mod modules;
mod qemu;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;

use crate::{
    setup::kernels::{self, Series},
    workspace,
};

/// How to run a command in a virtual machine.
#[derive(Debug, Clone)]
pub(crate) struct VmOptions {
    /// The kernel to boot.
    pub(crate) kernel: Series,
    /// How long the guest may live, its boot included.
    pub(crate) timeout: Duration,
    /// The guest's memory, in MiB; up to half of it holds what the guest writes.
    pub(crate) memory_mib: u32,
    /// The guest's processors.
    pub(crate) cpus: u32,
    /// Kernel modules to load before the command starts.
    pub(crate) modules: Vec<String>,
    /// Variables for the command, besides those that it gets from this process.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            kernel: Series::V6_12,
            timeout: Duration::from_mins(15),
            memory_mib: 2048,
            cpus: 2,
            modules: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The command ended with this exit status, 128 and more for a signal.
    Exited(u8),
    /// The guest was stopped at its time limit.
    TimedOut,
    /// The guest ended without a word about the command: a kernel panic, or it did not come up.
    Crashed,
}

impl ExitStatus {
    /// The exit status for this process to pass on; those of a guest in trouble are timeout(1)'s.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::TimedOut => 124,
            Self::Crashed => 125,
        }
    }
}

/// Where a guest's output goes.
pub(crate) struct Streams {
    /// Receives the command's standard output.
    pub(crate) stdout: Box<dyn Write + Send>,
    /// Receives the command's standard error, and qemu's.
    pub(crate) stderr: Box<dyn Write + Send>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
        }
    }
}

/// The host's folder that guests write results into. It has the same path in the guest, and `WITHY_OUT` names it.
pub(crate) fn out_folder() -> PathBuf {
    workspace::target().join("vm/out")
}

/// Runs `command` as root in a virtual machine, in the caller's working folder; its output goes to this process's.
///
/// # Errors
///
/// The machine could not be started. A guest that fails is no error but a status.
pub(crate) fn run(options: &VmOptions, command: &[OsString]) -> Result<ExitStatus> {
    run_with(options, command, Streams::default())
}

/// Like [`run`], with the output going where `streams` say.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn run_with(
    options: &VmOptions,
    command: &[OsString],
    streams: Streams,
) -> Result<ExitStatus> {
    let kernel = kernels::open(options.kernel)?;
    let machine = machine::Machine::prepare(options, &kernel, command)?;
    machine.run(options, &kernel, streams)
}
