//! Running other programs.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{progress::Step, workspace};

/// How much of a failed program's output is shown.
const TAIL_LINES: usize = 40;

/// Administrators' folders, which are missing from the `PATH` of ordinary users on some systems.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Variables of the calling cargo that stay valid for another toolchain: where its home is and how it reaches the network.
const KEPT_PREFIXES: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "RUSTUP_HOME",
];

/// Finds a program in `PATH` or in the administrators' folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A command for a program that `find` finds; starting it fails with the program's name otherwise.
pub(crate) fn tool(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| PathBuf::from(program)))
}

/// The cargo that runs this program, at work on the workspace and in its fixed target folder.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace::root())
        .env("CARGO_TARGET_DIR", workspace::target());
    command.arg(subcommand);
    command
}

/// A command whose environment carries nothing of the cargo and rustup that run this program, so that it can start a
/// different toolchain.
pub(crate) fn foreign_cargo(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let toolchains_own = text.starts_with("CARGO")
            || text.starts_with("RUST")
            || text == "LD_LIBRARY_PATH"
            || text == "__CARGO_DEFAULT_LIB_METADATA";
        if toolchains_own && !KEPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end and returns what it printed to standard output.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, showing the latest line of its output in `step`; the error of a failed one has the tail
/// of the output.
pub(crate) fn run(step: &Step, mut command: Command) -> Result<()> {
    let shown = show(&command);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot copy a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    // The command holds the pipe's writing end: as long as it lives, the reader sees no end of file.
    drop(command);
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read a program's output")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        step.note(&line);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{shown}`"))?;
    if !status.success() {
        bail!(
            "`{shown}` failed ({status}):\n{}",
            Vec::from(tail).join("\n")
        );
    }
    Ok(())
}

/// The command as one would type it, without its environment.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
