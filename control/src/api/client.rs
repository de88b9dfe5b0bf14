//! Asking the daemon.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::protocol::{Request, Response};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "withy does not run here: nobody answers on {path} ({source}); start it with `withy run`, or as root if it runs"
    )]
    Unreachable {
        /// The control socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The answer is cut off or not understood.
    #[error("the running withy gives no answer that this one understands: {0}")]
    Answer(io::Error),
}

/// Sends a request to the daemon that listens on `socket`, and waits for the answer.
///
/// # Errors
///
/// Nobody answers, or not in a form that is understood.
pub fn call(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        path: socket.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(unreachable)?;
    stream
        .set_write_timeout(Some(PATIENCE))
        .map_err(unreachable)?;
    let mut line =
        serde_json::to_string(request).map_err(|error| ClientError::Answer(error.into()))?;
    line.push('\n');
    stream
        .write_all(line.as_bytes())
        .map_err(ClientError::Answer)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(ClientError::Answer)?;
    serde_json::from_str(&answer).map_err(|error| ClientError::Answer(error.into()))
}
