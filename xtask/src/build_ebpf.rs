//! Building the eBPF programs with whichever toolchain can.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command,
    setup::{bpf_linker, toolchain::Toolchain},
    workspace,
};

/// The compilation target of everything that runs in the kernel.
const TARGET: &str = "bpfel-unknown-none";
/// The cargo profile, which lives in the root manifest.
const PROFILE: &str = "bpf";

/// An object file that `withy-ebpf` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    /// The programs that the controller embeds.
    Programs,
    /// What the benches need around them.
    Bench,
}

impl Object {
    /// The binary of `withy-ebpf`.
    const fn binary(self) -> &'static str {
        match self {
            Self::Programs => "withy-bpf",
            Self::Bench => "withy-bench-bpf",
        }
    }

    /// Where the object file goes.
    fn path(self) -> PathBuf {
        match self {
            Self::Programs => workspace::ebpf_object(),
            Self::Bench => target_dir().join("withy-bench-bpf.o"),
        }
    }
}

/// Builds an object and returns the path of its file, which is touched only if its contents changed: the controller's
/// build script watches it.
///
/// # Errors
///
/// No usable toolchain, or the build failed; the compiler's messages have been printed.
pub(crate) fn build(object: Object, verbose: bool) -> Result<PathBuf> {
    let toolchain = Toolchain::find().context("no toolchain for eBPF: run `cargo xtask setup`")?;
    let mut cargo = toolchain.cargo();
    cargo.arg("build");
    let mut cargo = configure(cargo, toolchain);
    cargo.args(["--bin", object.binary()]);
    if !verbose {
        cargo.arg("--quiet");
    }
    run(cargo)?;
    let built = target_dir()
        .join(TARGET)
        .join(PROFILE)
        .join(object.binary());
    let path = object.path();
    copy_if_changed(&built, &path)?;
    Ok(path)
}

/// Points a cargo command of `toolchain` at the eBPF crate: target, profile, flags.
pub(crate) fn configure(mut cargo: Command, toolchain: Toolchain) -> Command {
    cargo
        .current_dir(workspace::root())
        .args(["--package", "withy-ebpf", "--locked", "--profile", PROFILE])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir());
    if matches!(toolchain, Toolchain::Nightly(_)) {
        cargo.args(["-Z", "build-std=core"]);
    }
    // This variable outranks every other source of flags, the user's own configuration included.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\x1f"));
    cargo
}

/// Runs cargo with its messages going to the user.
fn run(mut cargo: Command) -> Result<()> {
    let shown = command::show(&cargo);
    let status = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

fn flags() -> [String; 4] {
    [
        format!("-Clinker={}", bpf_linker::path().display()),
        // The kernel wants BTF for spin locks, timers and readable verifier logs; bpf-linker makes it from the debug
        // information.
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        // Atomic operations that return a value.
        "-Ctarget-cpu=v3".to_owned(),
    ]
}

fn target_dir() -> PathBuf {
    workspace::target().join("ebpf")
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let beside = to.with_extension("o.new");
    fs::write(&beside, new).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_object_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to.o"));
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let first = fs::metadata(&to).unwrap();
        copy_if_changed(&from, &to).unwrap();
        // A rewritten file would be another inode, since it is renamed into place.
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&first), inode(&to));
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
    }

    fn inode(path: &Path) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
    }
}
