//! Asking the daemon.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    event::Event,
    protocol::{Request, Response},
};

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
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
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
    let mut answers = ask(socket, request)?;
    read(&mut answers).and_then(|answer| {
        let cut = || ClientError::Answer(io::ErrorKind::UnexpectedEof.into());
        answer.ok_or_else(cut)
    })
}

/// Answers that go on.
#[derive(Debug)]
pub struct Answers(BufReader<UnixStream>);

/// Sends a request to the daemon that listens on `socket`, to which there are answers as long as there is something to tell.
///
/// # Errors
///
/// As [`call`]; or the daemon refuses.
pub fn follow(socket: &Path, request: &Request) -> Result<Answers, ClientError> {
    let mut answers = ask(socket, request)?;
    match read(&mut answers)? {
        Some(Response::Done) => {}
        Some(Response::Failed(reason)) => return Err(ClientError::Refused(reason)),
        _ => return Err(ClientError::Answer(io::ErrorKind::InvalidData.into())),
    }
    // From now on nothing may happen for long.
    let stream = answers.get_ref();
    stream.set_read_timeout(None).map_err(ClientError::Answer)?;
    Ok(Answers(answers))
}

impl Answers {
    /// Waits for the next; there is none when all is told or the daemon has ended.
    ///
    /// # Errors
    ///
    /// What comes is not understood.
    pub fn wait(&mut self) -> Result<Option<Response>, ClientError> {
        match read(&mut self.0) {
            // A daemon that is killed may leave half a line.
            Err(ClientError::Answer(error)) if error.kind() != io::ErrorKind::InvalidData => {
                Ok(None)
            }
            answer => answer,
        }
    }
}

/// What happens at a gateway, as it happens.
#[derive(Debug)]
pub struct Monitor(Answers);

/// Asks the daemon that listens on `socket` to tell what happens.
///
/// # Errors
///
/// As [`call`]; or there are too many monitors.
pub fn monitor(socket: &Path) -> Result<Monitor, ClientError> {
    follow(socket, &Request::Monitor).map(Monitor)
}

impl Monitor {
    /// Waits for the next event; there is none when the daemon has ended.
    ///
    /// # Errors
    ///
    /// What comes is not understood.
    pub fn wait(&mut self) -> Result<Option<Event>, ClientError> {
        match self.0.wait()? {
            Some(Response::Event(event)) => Ok(Some(*event)),
            None => Ok(None),
            Some(_) => Err(ClientError::Answer(io::ErrorKind::InvalidData.into())),
        }
    }
}

fn read(answers: &mut BufReader<UnixStream>) -> Result<Option<Response>, ClientError> {
    let mut line = String::new();
    answers.read_line(&mut line).map_err(ClientError::Answer)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&line).map_err(|error| ClientError::Answer(error.into()))
}

fn ask(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
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
    Ok(BufReader::new(stream))
}
