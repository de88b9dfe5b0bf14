//! Listening on the control socket.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::debug;
use zeroize::Zeroizing;

use super::{
    event::What,
    protocol::{MAX_REQUEST, Request, Response},
    stream,
};
use crate::daemon::events::Events;

/// How many callers are heard at once.
const CALLERS: usize = 16;
/// How many monitors there can be beside them.
const MONITORS: u32 = 8;
/// How many callers of these may have an answer that goes on.
const LASTING: usize = 4;
/// How long a caller may take to ask, or to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the daemon's end waits for monitors.
const FAREWELL: Duration = Duration::from_millis(200);

/// A request and where its answer goes.
pub(crate) struct Call {
    /// What is asked.
    pub(crate) request: Request,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This, and that is all.
    One(Response),
    /// [`Response::Done`], and then whatever comes until it ends.
    Many(mpsc::Receiver<Response>),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::One(response)
    }
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

/// Who answers callers.
#[derive(Clone)]
pub(crate) struct Server {
    calls: mpsc::Sender<Call>,
    events: Events,
    monitors: Arc<Semaphore>,
}

impl Server {
    /// Hands requests to `calls`, and tells monitors `events`.
    pub(crate) fn new(calls: mpsc::Sender<Call>, events: Events) -> Self {
        Self {
            calls,
            events,
            monitors: Arc::new(Semaphore::new(MONITORS as usize)),
        }
    }

    /// Whether there is no monitor.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.monitors.available_permits() == MONITORS as usize
    }

    /// Waits until the monitors, which have been told that the daemon ends, have ended; not for ever.
    pub(crate) async fn drain(&self) {
        // Those that are too slow see the connection end.
        let _ = timeout(FAREWELL, self.monitors.acquire_many(MONITORS)).await;
    }
}

/// Answers callers for ever.
pub(crate) async fn serve(listener: UnixListener, server: Server) {
    let callers = Arc::new(Semaphore::new(CALLERS));
    let lasting = Arc::new(Semaphore::new(LASTING));
    loop {
        let Ok(place) = callers.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (server, lasting) = (server.clone(), lasting.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, server, (place, lasting)).await {
                        debug!(%error, "a caller on the control socket");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    server: Server,
    (place, lasting): (OwnedSemaphorePermit, Arc<Semaphore>),
) -> io::Result<()> {
    let caller = stream.peer_cred()?;
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    timeout(PATIENCE, read.read_line(&mut line)).await??;
    let response = match serde_json::from_str(&line) {
        Ok(Request::Monitor) => match server.monitors.clone().try_acquire_owned() {
            Ok(_monitor) => {
                // Monitors stay; others are to be heard meanwhile.
                drop(place);
                return stream::tell(read, write, server.events.subscribe()).await;
            }
            Err(_) => Response::Failed(format!("{MONITORS} monitors are enough")),
        },
        Ok(Request::Events) => Response::Events(server.events.last()),
        Ok(request) if !may(&request, caller.uid()) => {
            Response::Failed("only root may have this".to_owned())
        }
        Ok(request) => {
            if matches!(request, Request::ExportKeys) {
                let pid = caller.pid();
                server.events.tell(What::KeysExported { pid });
            }
            let (reply, answer) = oneshot::channel();
            let call = Call { request, reply };
            let gone = || io::Error::other("the daemon is ending");
            server.calls.send(call).await.map_err(|_| gone())?;
            match answer.await.map_err(|_| gone())? {
                Answer::One(response) => response,
                Answer::Many(responses) => match lasting.try_acquire() {
                    Ok(_lasting) => return stream::pass(read, write, responses).await,
                    Err(_) => Response::Failed(format!("{LASTING} of these at a time are enough")),
                },
            }
        }
        Err(error) => Response::Failed(format!("not a request: {error}")),
    };
    // There may be keys in it.
    let mut answer = Zeroizing::new(serde_json::to_vec(&response)?);
    answer.push(b'\n');
    timeout(PATIENCE, write.write_all(&answer)).await??;
    write.shutdown().await
}

/// Whether a user may ask for this. The socket's mode says who may ask for anything.
fn may(request: &Request, uid: u32) -> bool {
    const ROOT: u32 = 0;
    !matches!(request, Request::ExportKeys) || uid == ROOT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_root_alone() {
        assert!(may(&Request::ExportKeys, 0));
        assert!(!may(&Request::ExportKeys, 1));
        assert!(may(&Request::Status, 1));
    }

    fn server(directory: &Path) -> (Server, mpsc::Receiver<Call>) {
        let (calls, called) = mpsc::channel(1);
        let server = Server::new(calls, Events::new());
        let listener = listen(&directory.join("socket")).unwrap();
        tokio::spawn(serve(listener, server.clone()));
        (server, called)
    }

    async fn ask(directory: &Path, request: &Request) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(directory.join("socket")).await.unwrap();
        let line = serde_json::to_string(request).unwrap() + "\n";
        stream.write_all(line.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    async fn answer(answers: &mut BufReader<UnixStream>) -> Response {
        let mut line = String::new();
        answers.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn problem(number: u64) -> What {
        What::Problem {
            problem: number.to_string().repeat(1000),
        }
    }

    #[tokio::test]
    async fn a_slow_monitor_is_told_how_many_events_it_misses() {
        let directory = tempfile::tempdir().unwrap();
        let (server, _called) = server(directory.path());
        let mut slow = ask(directory.path(), &Request::Monitor).await;
        assert_eq!(answer(&mut slow).await, Response::Done);
        for number in 0..5000 {
            server.events.tell(problem(number));
            // The server writes as far as the socket takes it.
            tokio::task::yield_now().await;
        }
        server.events.tell(What::Stopping);
        let (mut seen, mut missed) = (0, 0);
        loop {
            let Response::Event(event) = answer(&mut slow).await else {
                panic!("not an event");
            };
            match event.what {
                What::Missed { count } => missed += count,
                What::Problem { .. } => seen += 1,
                _ => break,
            }
        }
        assert!(missed > 0, "{seen}");
        assert_eq!(seen + missed, 5000);
        server.drain().await;
        assert!(server.is_idle());
    }

    #[tokio::test]
    async fn monitors_are_bounded_and_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let (server, mut called) = server(directory.path());
        let mut monitors = Vec::new();
        for _ in 0..MONITORS {
            let mut monitor = ask(directory.path(), &Request::Monitor).await;
            assert_eq!(answer(&mut monitor).await, Response::Done);
            monitors.push(monitor);
        }
        let mut refused = ask(directory.path(), &Request::Monitor).await;
        assert!(matches!(answer(&mut refused).await, Response::Failed(_)));
        server.events.tell(What::Ready);
        let mut last = ask(directory.path(), &Request::Events).await;
        assert_eq!(
            answer(&mut last).await,
            Response::Events(server.events.last())
        );
        let mut leave = ask(directory.path(), &Request::Leave).await;
        let call = called.recv().await.unwrap();
        call.reply.send(Response::Stopping.into()).unwrap();
        assert_eq!(answer(&mut leave).await, Response::Stopping);
        monitors.clear();
        while !server.is_idle() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_goes_on_until_it_ends_and_only_so_many_do() {
        let directory = tempfile::tempdir().unwrap();
        let (_server, mut calls) = server(directory.path());
        let ping = Request::Ping {
            tunnel: "paris".to_owned(),
            link: None,
            count: None,
            interval_ms: 1000,
        };
        let mut others = Vec::new();
        for _ in 0..LASTING {
            let mut one = ask(directory.path(), &ping).await;
            let (told, telling) = mpsc::channel(1);
            let call = calls.recv().await.unwrap();
            call.reply.send(Answer::Many(telling)).unwrap();
            assert_eq!(answer(&mut one).await, Response::Done);
            others.push((one, told));
        }
        let mut refused = ask(directory.path(), &ping).await;
        let (told, telling) = mpsc::channel(1);
        let call = calls.recv().await.unwrap();
        call.reply.send(Answer::Many(telling)).unwrap();
        assert!(matches!(answer(&mut refused).await, Response::Failed(_)));
        told.closed().await;

        let (mut one, told) = others.pop().unwrap();
        told.send(Response::Stopping).await.unwrap();
        assert_eq!(answer(&mut one).await, Response::Stopping);
        drop(told);
        assert_eq!(one.read_line(&mut String::new()).await.unwrap(), 0);
        // Who goes is told no more.
        let (one, told) = others.pop().unwrap();
        drop(one);
        told.closed().await;
    }
}
