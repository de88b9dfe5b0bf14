//! bpf-linker, which joins the eBPF crates into one object and gives it BTF.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{cargo_install::CargoTool, llvm};

const BPF_LINKER: CargoTool = CargoTool {
    name: "bpf-linker",
    version: "0.13.0",
    arguments: &["--no-default-features", "--features", "llvm-22"],
};

/// Where the linker is.
pub(crate) fn path() -> PathBuf {
    BPF_LINKER.path()
}

/// Builds the linker unless it is there.
///
/// # Errors
///
/// LLVM is missing, or the build failed.
pub(crate) fn ensure() -> Result<()> {
    BPF_LINKER.ensure(|install| {
        let prefix = llvm::prefix().with_context(|| {
            format!("bpf-linker needs LLVM {}, and none was found", llvm::MAJOR)
        })?;
        // The build asks `llvm-config` of the first LLVM in `PATH`, besides reading the variable.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(prefix.join("bin")).chain(std::env::split_paths(&path));
        install
            .env(
                "PATH",
                std::env::join_paths(folders).context("cannot extend PATH")?,
            )
            .env("LLVM_SYS_221_PREFIX", &prefix);
        Ok(())
    })
}
