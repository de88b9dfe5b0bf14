//! Where a gateway keeps its things.

use std::path::PathBuf;

/// The directories of one gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct Directories {
    /// Where the control socket is
    #[arg(
        long,
        env = "WITHY_RUN_DIR",
        default_value = "/run/withy",
        global = true,
        value_name = "DIR"
    )]
    pub run_dir: PathBuf,
    /// Where former values of changed settings are kept
    #[arg(
        long,
        env = "WITHY_STATE_DIR",
        default_value = "/var/lib/withy",
        global = true,
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// Where eBPF programs and maps are pinned; on a bpffs
    #[arg(
        long,
        env = "WITHY_BPFFS",
        default_value = "/sys/fs/bpf/withy",
        global = true,
        value_name = "DIR"
    )]
    pub bpffs: PathBuf,
}

impl Directories {
    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("control.sock")
    }

    /// The file whose lock says that a daemon runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("lock")
    }

    /// The file that notes the interfaces which were given a clsact qdisc.
    #[must_use]
    pub fn clsact_notes(&self) -> PathBuf {
        self.state_dir.join("clsact")
    }
}
