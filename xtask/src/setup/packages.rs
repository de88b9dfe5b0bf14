//! Debian packages by apt.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Purpose, toolchain::Toolchain};
use crate::{command, progress::Step};

/// Packages by the first purpose that needs them.
const PACKAGES: [(Purpose, &[&str]); 5] = [
    (
        Purpose::Build,
        &[
            // Rust programs are linked by gcc; crates bring C and C++ sources.
            "gcc",
            "g++",
            "libc6-dev",
            "make",
            "ca-certificates",
            // bpf-linker.
            "llvm-22-dev",
            "libpolly-22-dev",
            "zlib1g-dev",
            "libzstd-dev",
        ],
    ),
    (
        Purpose::Test,
        &[
            "iproute2",
            "iputils-ping",
            "tcpdump",
            "util-linux",
            // They read packets with exported keys.
            "tshark",
            "python3-scapy",
            "python3-cryptography",
        ],
    ),
    (
        Purpose::Vm,
        &["busybox-static", "cpio", "kmod", "util-linux", "xz-utils"],
    ),
    (Purpose::Ci, &["git"]),
    (
        Purpose::Bench,
        &[
            "openvpn",
            "openssl",
            "fastd",
            "wireguard-tools",
            // strongSwan with an ESP of its own.
            "charon-systemd",
            "strongswan-swanctl",
            "libcharon-extra-plugins",
            "libstrongswan-standard-plugins",
        ],
    ),
];

/// A Rust toolchain that can build for eBPF, for where rustup has none.
const EBPF_TOOLCHAIN: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// The linter of that toolchain.
const EBPF_LINTER: &str = "rust-web-clippy";

/// Installs what is missing.
///
/// # Errors
///
/// A package cannot be installed: no right to do so (the message has the command for root), not in apt's sources, or
/// apt failed.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(&wanted(purpose))?;
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "packages are missing, and installing them takes root:\n  \
             sudo sh -c 'apt-get update && apt-get install --no-install-recommends --no-remove {}'",
            missing.join(" ")
        );
    }
    update()?;
    let unknown = without_candidate(&missing)?;
    if !unknown.is_empty() {
        bail!(
            "not in apt's sources (Debian 12 with its security suite has them): {}",
            unknown.join(" ")
        );
    }
    let step = Step::start(format!("setup: installing {}", missing.join(" ")));
    let mut install = apt_get();
    install
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(&missing);
    command::run(&step, install)?;
    step.done();
    Ok(())
}

/// Refreshes apt's lists.
pub(crate) fn update() -> Result<()> {
    let step = Step::start("setup: refreshing apt's package lists");
    let mut update = apt_get();
    update.arg("update");
    command::run(&step, update)?;
    step.done();
    Ok(())
}

/// apt-get, asking nothing and waiting for another apt to end.
pub(crate) fn apt_get() -> Command {
    let mut command = command::tool("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-q",
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    command
}

/// Downloads packages into a folder, which must be empty, and returns the files.
///
/// # Errors
///
/// apt does not know a package, even after its lists were refreshed, or cannot get it.
pub(crate) fn download(step: &Step, packages: &[String], into: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || {
        let mut apt = apt_get();
        apt.current_dir(into).arg("download").args(packages);
        command::run(step, apt)
    };
    if let Err(error) = attempt() {
        // Lists that are older than the archive name files that are gone.
        if !is_root() {
            return Err(error);
        }
        update()?;
        attempt()?;
    }
    let entries = fs::read_dir(into).with_context(|| format!("cannot read {}", into.display()))?;
    Ok(entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect())
}

/// Unpacks a package's files into a folder without installing it.
///
/// # Errors
///
/// It is no package, or the folder cannot be written.
pub(crate) fn unpack(step: &Step, archive: &Path, into: &Path) -> Result<()> {
    let mut dpkg = command::tool("dpkg");
    dpkg.arg("-x").arg(archive).arg(into);
    command::run(step, dpkg)
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    // The folder of a process belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The packages among `names` for which apt has nothing to install.
pub(crate) fn without_candidate<'a>(names: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut policy = command::tool("apt-cache");
    policy.env("LC_ALL", "C").arg("policy").args(names);
    let known = candidates(&command::output(policy)?);
    Ok(names
        .iter()
        .copied()
        .filter(|name| !known.contains(*name))
        .collect())
}

/// The packages that have a candidate, from the output of `apt-cache policy`.
fn candidates(policy: &str) -> HashSet<String> {
    let mut package = "";
    let mut found = HashSet::new();
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.trim_end_matches(':');
        } else if let Some(candidate) = line.trim().strip_prefix("Candidate:")
            && candidate.trim() != "(none)"
        {
            found.insert(package.to_owned());
        }
    }
    found
}

fn wanted(purpose: Purpose) -> Vec<&'static str> {
    let lists = PACKAGES
        .iter()
        .filter(|(first, _)| purpose.includes(*first));
    let mut names: Vec<_> = lists.flat_map(|(_, names)| names.iter().copied()).collect();
    match Toolchain::find() {
        Some(Toolchain::Nightly(_)) => {}
        Some(Toolchain::Debian) | None => {
            names.extend(EBPF_TOOLCHAIN);
            if purpose.includes(Purpose::Ci) {
                names.push(EBPF_LINTER);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn missing(wanted: &[&'static str]) -> Result<Vec<&'static str>> {
    // dpkg-query fails as soon as one package is unknown to it; the others are listed all the same.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(wanted)
        .output()
        .context("cannot start `dpkg-query`")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let installed: HashSet<_> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    Ok(wanted
        .iter()
        .copied()
        .filter(|name| !installed.contains(name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_candidate_are_left_out() {
        let policy = "gcc:\n  Installed: (none)\n  Candidate: 4:12.2.0-3\n  Version table:\n     \
                      4:12.2.0-3 500\nlinux-image-x:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), HashSet::from(["gcc".to_owned()]));
    }

    #[test]
    fn purposes_include_the_ones_before() {
        let (build, vm) = (wanted(Purpose::Build), wanted(Purpose::Vm));
        assert!(build.iter().all(|name| vm.contains(name)));
        assert!(!build.contains(&"busybox-static"));
        let bench = wanted(Purpose::Bench);
        assert!(bench.contains(&"openvpn") && bench.contains(&"iproute2"));
        assert!(!bench.contains(&"git") && !wanted(Purpose::Ci).contains(&"openvpn"));
    }
}
