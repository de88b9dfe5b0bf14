//! What other distributions than Debian must bring: named by tool, never installed.

use anyhow::{Result, bail};

use super::{
    Purpose,
    kernels::{self, Series},
    llvm,
    qemu::{self, Emulator},
    toolchain::{self, Toolchain},
};
use crate::command;

/// Programs by the first purpose that needs them.
const PROGRAMS: [(Purpose, &str); 10] = [
    (Purpose::Build, "cc"),
    (Purpose::Build, "c++"),
    (Purpose::Test, "ip"),
    (Purpose::Test, "ping"),
    (Purpose::Test, "tcpdump"),
    (Purpose::Vm, "busybox"),
    (Purpose::Vm, "cpio"),
    (Purpose::Vm, "setpriv"),
    (Purpose::Vm, "xz"),
    (Purpose::Ci, "git"),
];

/// Checks that everything is there.
///
/// # Errors
///
/// Lists what is missing, all of it.
pub(crate) fn check(purpose: Purpose, distro: &str) -> Result<()> {
    let missing = missing(purpose);
    if !missing.is_empty() {
        bail!(
            "{distro} is not Debian, so please install by hand what is missing:\n  - {}",
            missing.join("\n  - ")
        );
    }
    Ok(())
}

fn missing(purpose: Purpose) -> Vec<String> {
    let programs = PROGRAMS
        .iter()
        .filter(|(first, _)| purpose.includes(*first));
    let absent = programs.filter(|(_, name)| command::find(name).is_none());
    let mut missing: Vec<_> = absent
        .map(|(_, name)| format!("the program {name}"))
        .collect();
    if llvm::prefix().is_none() {
        missing.push(format!(
            "LLVM {} with its headers and llvm-config",
            llvm::MAJOR
        ));
    }
    if Toolchain::find().is_none() {
        missing.push(format!("a Rust toolchain for eBPF: {}", toolchain::ADVICE));
    }
    if purpose.includes(Purpose::Vm) {
        if Emulator::find().is_none() {
            missing.push(format!("the program {}", qemu::PROGRAM));
        }
        missing.extend(
            Series::ALL
                .into_iter()
                .filter(|series| !kernels::is_there(*series))
                .map(|series| {
                    let folder = kernels::folder(series);
                    format!(
                        "kernel {series}: Debian's linux-image unpacked into {}",
                        folder.display()
                    )
                }),
        );
    }
    missing
}
