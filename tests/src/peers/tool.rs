//! Programs of the system, and small ones that run to their end.

use std::{
    env, fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{lab::Lab, netns::Netns};

/// Administrators' folders, which are missing from the `PATH` of ordinary users on some systems.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Where the workspace's set-up puts the tools that it builds, from the workspace's root.
const OWN_TOOLS: &str = "target/tools/bin";

/// Finds a program in `PATH`, in the administrators' folders or among the workspace's own tools.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(OWN_TOOLS);
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .chain([own])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Why a system that takes these programs cannot run; none if they are there.
pub(super) fn absent(programs: &[&str]) -> Option<String> {
    let missing: Vec<_> = programs
        .iter()
        .copied()
        .filter(|program| find(program).is_none())
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// A command for a program that [`find`] finds; starting it fails with the program's name otherwise.
pub(super) fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// Runs a command in a namespace to its end and returns what it printed; fails unless it succeeds.
pub(super) fn run(lab: &Lab, netns: &Netns, mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = lab.spawn(netns, command)?.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{shown} in {}: {}: {}",
        netns.name(),
        output.status,
        errors.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip` (iproute2) with arguments that are separated by spaces.
pub(super) fn ip(lab: &Lab, netns: &Netns, arguments: &str) -> Result<String> {
    let mut ip = command("ip");
    ip.args(arguments.split_ascii_whitespace());
    run(lab, netns, ip)
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A key for a bench that nobody else sees: the same every time.
pub(super) fn key(purpose: &str) -> [u8; 32] {
    blake3::derive_key("withy bench 2026-11 peers", purpose.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_missed() {
        assert!(find("sh").is_some());
        assert_eq!(absent(&["sh"]), None);
        let missing = absent(&["sh", "no-such-program", "nor-this"]).unwrap();
        assert_eq!(missing, "not installed: no-such-program, nor-this");
    }

    #[test]
    fn keys_differ_by_purpose() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_ne!(key("a"), key("b"));
    }
}
