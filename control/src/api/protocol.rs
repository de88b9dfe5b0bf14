//! The messages on the control socket: one JSON object a line each way, one request a connection.

use serde::{Deserialize, Serialize};

use super::status::Status;

/// The longest request in bytes.
pub(crate) const MAX_REQUEST: u64 = 64 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// How is everything?
    Status,
    /// Renew a tunnel's keys.
    Rekey {
        /// The tunnel.
        tunnel: String,
    },
    /// End; what is set up stays.
    Stop,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "response", content = "value")]
pub enum Response {
    /// How everything is.
    Status(Box<Status>),
    /// It is done, or under way.
    Done,
    /// The daemon ends.
    Stopping,
    /// The request failed.
    Failed(String),
}
