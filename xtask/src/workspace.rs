//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable when it runs this program; the compiled-in value serves a program that is started by hand.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or(manifest_dir)
}

/// The folder of everything that is generated. It is fixed, whatever `CARGO_TARGET_DIR` says, because build scripts
/// look for the eBPF object in it.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Tools built for this workspace alone: `bin/` below it holds the programs.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The eBPF object that the controller embeds.
pub(crate) fn ebpf_object() -> PathBuf {
    target().join("ebpf/withy-bpf.o")
}

/// `path` as seen from the workspace's root, for people to read.
pub(crate) fn relative(path: &Path) -> PathBuf {
    path.strip_prefix(root())
        .map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
}
