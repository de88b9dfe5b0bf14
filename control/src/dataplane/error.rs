//! What can go wrong with programs and maps.

use std::{io, path::PathBuf};

/// An error of the eBPF data plane.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The directory of the pins cannot be used.
    #[error("cannot use {path} for pinned maps and programs: {source}")]
    Directory {
        /// The directory or pin.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The kernel refused the object as a whole.
    #[error("cannot load the eBPF object: {0}")]
    Load(#[from] aya::EbpfError),
    /// The kernel refused one program; the verifier's log is in the source.
    #[error("cannot load the eBPF program {program}: {source}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The refusal.
        source: aya::programs::ProgramError,
    },
    /// The object lacks a program or map: it and the controller do not belong together.
    #[error("the eBPF object has no {0}: it was built from other sources than this program")]
    Missing(&'static str),
    /// A program cannot be attached.
    #[error("cannot attach {program} to {interface}: {source}")]
    Attach {
        /// The program's name.
        program: &'static str,
        /// The interface's name.
        interface: String,
        /// The refusal.
        source: aya::programs::ProgramError,
    },
    /// The driver has no native XDP, and the configuration insists on it.
    #[error(
        "interface {interface} cannot receive by XDP: its driver has no native XDP; use `receive: tc` or `receive: auto`"
    )]
    NoNativeXdp {
        /// The interface's name.
        interface: String,
    },
    /// A link cannot be pinned, adopted or removed.
    #[error("cannot pin {path}: {message}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        message: String,
    },
    /// A map cannot be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// The refusal.
        source: aya::maps::MapError,
    },
}
