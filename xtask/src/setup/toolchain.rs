//! Rust toolchains that can build for eBPF.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::llvm;
use crate::command;

/// What to do where there is none.
pub(crate) const ADVICE: &str =
    "`rustup toolchain install nightly-2026-05-20 --profile minimal --component rust-src`";

/// rustup's toolchains to try. Later nightlies have a newer LLVM than bpf-linker; the dated one has the same.
const NIGHTLIES: [&str; 2] = ["nightly", "nightly-2026-05-20"];

/// A toolchain with a `core` for the BPF target, or the means to build it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// A nightly of rustup's, by name, with the component rust-src: cargo builds `core`.
    Nightly(&'static str),
    /// Debian's rustc-web, with a `core` for BPF among its packages; `RUSTC_BOOTSTRAP` opens its unstable features.
    Debian,
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

impl Toolchain {
    /// The first usable toolchain.
    pub(crate) fn find() -> Option<Self> {
        let nightly = NIGHTLIES.into_iter().find(|name| nightly_is_usable(name));
        nightly
            .map(Self::Nightly)
            .or_else(|| debian_is_usable().then_some(Self::Debian))
    }

    /// Its cargo, with nothing of the calling cargo in the environment.
    pub(crate) fn cargo(self) -> Command {
        match self {
            Self::Nightly(_) => self.prepared(command::foreign_cargo("cargo")),
            Self::Debian => self.prepared(command::foreign_cargo(DEBIAN_CARGO)),
        }
    }

    /// Its `cargo clippy`, if it has one.
    pub(crate) fn clippy(self) -> Option<Command> {
        let clippy = || {
            let mut clippy = match self {
                Self::Nightly(_) => self.cargo(),
                // Cargo would look for the subcommand among rustup's first.
                Self::Debian => self.prepared(command::foreign_cargo(DEBIAN_CLIPPY)),
            };
            clippy.arg("clippy");
            clippy
        };
        let mut probe = clippy();
        probe.arg("--version");
        command::output(probe).is_ok().then(clippy)
    }

    fn prepared(self, mut command: Command) -> Command {
        command.env("RUSTC_WRAPPER", "");
        match self {
            Self::Nightly(name) => command.env("RUSTUP_TOOLCHAIN", name),
            Self::Debian => command
                .env("CARGO", DEBIAN_CARGO)
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }
}

/// A nightly without rust-src cannot build `core`; one with a newer LLVM than bpf-linker's writes bitcode that the
/// linker cannot read.
fn nightly_is_usable(name: &str) -> bool {
    let nightly = |arguments: &[&str]| {
        let mut rustc = command::foreign_cargo("rustc");
        // A question must not make rustup download a toolchain.
        rustc
            .env("RUSTUP_AUTO_INSTALL", "0")
            .env("RUSTUP_TOOLCHAIN", name)
            .args(arguments);
        command::output(rustc).ok()
    };
    let Some(sysroot) = nightly(&["--print", "sysroot"]) else {
        return false;
    };
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    library.join("core/Cargo.toml").is_file()
        && nightly(&["--version", "--verbose"])
            .and_then(|version| llvm_major(&version))
            .is_some_and(|major| major <= llvm::MAJOR)
}

/// rustup's proxies may stand in /usr/bin as well; only a compiler with a `core` for BPF counts.
fn debian_is_usable() -> bool {
    let mut rustc = command::foreign_cargo(DEBIAN_RUSTC);
    rustc.env("RUSTUP_AUTO_INSTALL", "0").args([
        "--print",
        "target-libdir",
        "--target",
        "bpfel-unknown-none",
    ]);
    let Ok(folder) = command::output(rustc) else {
        return false;
    };
    Path::new(DEBIAN_CARGO).is_file() && has_core(&PathBuf::from(folder.trim()))
}

fn has_core(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

fn llvm_major(version: &str) -> Option<u32> {
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version:"))?;
    llvm.trim().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_llvm_is_read_from_its_version() {
        let version = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(llvm_major(version), Some(22));
        assert_eq!(llvm_major("rustc 1.97.0-nightly"), None);
    }

    #[test]
    fn a_folder_without_core_is_no_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_core(folder.path()));
        std::fs::write(folder.path().join("libcore-0123.rlib"), "").unwrap();
        assert!(has_core(folder.path()));
        assert!(!has_core(&folder.path().join("absent")));
    }
}
