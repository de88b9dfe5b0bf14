//! The LLVM that bpf-linker is built on.

use std::{path::PathBuf, process::Command};

use crate::command;

/// Its major version.
pub(crate) const MAJOR: u32 = 22;

/// Where distributions put it.
const PREFIXES: [&str; 3] = ["/usr/lib/llvm-22", "/usr/lib64/llvm22", "/usr/lib/llvm22"];

/// The installation folder, with `bin/llvm-config` in it.
pub(crate) fn prefix() -> Option<PathBuf> {
    let usual = PREFIXES.into_iter().map(PathBuf::from);
    usual
        .into_iter()
        .find(|prefix| prefix.join("bin/llvm-config").is_file())
        .or_else(in_path)
}

fn in_path() -> Option<PathBuf> {
    let ask = |question: &str| {
        let mut config = Command::new("llvm-config");
        config.arg(question);
        command::output(config).ok()
    };
    let version = ask("--version")?;
    let matches = version.split('.').next() == Some(MAJOR.to_string().as_str());
    matches
        .then(|| ask("--prefix"))
        .flatten()
        .map(|prefix| PathBuf::from(prefix.trim()))
}
