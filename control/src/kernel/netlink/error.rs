use std::io;

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket: the kernel lacks the protocol, or a limit was reached.
    #[error("cannot open a {protocol} netlink socket: {source}")]
    Open {
        /// The protocol.
        protocol: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does without the protocol.
    #[error("this kernel has no {protocol} netlink protocol")]
    Unsupported {
        /// The protocol.
        protocol: &'static str,
    },
    /// Sending or receiving failed.
    #[error("{operation}: the netlink socket failed: {source}")]
    Socket {
        /// What was asked for.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel said no.
    #[error(
        "{operation}: {source}{}",
        explanation.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// The error number.
        source: io::Error,
        /// The kernel's words (extended acknowledgement), where it has any.
        explanation: Option<String>,
    },
    /// The answer cannot be read.
    #[error("{operation}: the kernel's answer is malformed: {detail}")]
    Malformed {
        /// What was asked for.
        operation: &'static str,
        /// What is wrong with it; never the bytes, for they may be keys.
        detail: String,
    },
    /// The configuration kept changing while it was read.
    #[error("{operation}: the kernel's tables changed during each of {attempts} readings")]
    Unsteady {
        /// What was asked for.
        operation: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
    /// There is no such interface.
    #[error("there is no interface {0}")]
    NoInterface(crate::reconcile::objects::InterfaceName),
}

impl NetlinkError {
    /// The error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. }
            | Self::Socket { source, .. }
            | Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel refused with this error number.
    pub(crate) fn refused_with(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::Refused { .. }) && self.errno() == Some(errno.raw_os_error())
    }
}
