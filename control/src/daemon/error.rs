//! Why the daemon cannot run.

use std::{io, path::PathBuf};

use crate::{
    dataplane::DataplaneError, kernel::netlink::NetlinkError, reconcile::ReconcileError,
    transport::TransportError, vpn::IllegalSa,
};

/// An error that ends the daemon, or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A directory cannot be used.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another daemon runs.
    #[error("another withy runs here (it holds {0}); `withy status` shows it")]
    Running(PathBuf),
    /// The daemon lacks a privilege.
    #[error(
        "withy needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON: run it as root or by its systemd unit"
    )]
    Privilege,
    /// The control socket cannot be made.
    #[error("cannot listen on {path}: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Signals cannot be awaited.
    #[error("cannot await signals: {0}")]
    Signals(io::Error),
    /// There can be no thread for keepalives.
    #[error("cannot send keepalives: {0}")]
    Pulse(io::Error),
    /// Withy's own ESP engine cannot be started.
    #[error("cannot start the ESP engine: {0}")]
    Engine(io::Error),
    /// The data plane cannot be loaded.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The kernel's configuration cannot be read.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// A tunnel of the configuration cannot run.
    #[error(transparent)]
    Tunnel(#[from] IllegalSa),
    /// The kernel's events cannot be heard.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Gateways cannot be reached, or cannot reach this one.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A daemon that was asked to end does not.
    #[error("the running withy does not end: stop it, then try again")]
    StillRunning,
}
