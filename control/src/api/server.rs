//! Listening on the control socket.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::debug;

use super::protocol::{MAX_REQUEST, Request, Response};

/// How many callers are heard at once.
const CALLERS: usize = 16;
/// How long a caller may take to ask, or to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request and where its answer goes.
pub(crate) struct Call {
    /// What is asked.
    pub(crate) request: Request,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Response>,
}

/// Binds the socket, for root and its group; one that a dead daemon left is replaced (the caller
/// holds the lock that says it is dead).
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Hands requests to `calls` until nobody takes them any more.
pub(crate) async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let callers = std::sync::Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok(place) = callers.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, calls).await {
                        debug!(%error, "a caller on the control socket");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    timeout(PATIENCE, read.read_line(&mut line)).await??;
    let response = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let call = Call { request, reply };
            let gone = || io::Error::other("the daemon is ending");
            calls.send(call).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        }
        Err(error) => Response::Failed(format!("not a request: {error}")),
    };
    let mut answer = serde_json::to_vec(&response)?;
    answer.push(b'\n');
    timeout(PATIENCE, write.write_all(&answer)).await??;
    write.shutdown().await
}
