//! Answers that go on: telling a monitor what happens, line by line, or what comes of a measurement.

use std::{io, sync::Arc, time::SystemTime};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
};

use super::{
    event::{Event, What},
    protocol::Response,
};

/// Tells `events` until the other end has gone or the daemon ends. One who reads too slowly misses some, and is told how many.
pub(super) async fn tell(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    mut events: Receiver<Arc<Event>>,
) -> io::Result<()> {
    let told = async {
        send(&mut write, &Response::Done).await?;
        loop {
            match events.recv().await {
                Ok(event) => {
                    let last = event.what == What::Stopping;
                    let event = Box::new((*event).clone());
                    send(&mut write, &Response::Event(event)).await?;
                    if last {
                        return write.shutdown().await;
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    let missed = Event::new(SystemTime::now(), What::Missed { count });
                    send(&mut write, &Response::Event(Box::new(missed))).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    };
    tokio::select! {
        result = told => result,
        () = gone(read) => Ok(()),
    }
}

/// Passes on what comes until it ends or the other end has gone.
pub(super) async fn pass(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    mut responses: mpsc::Receiver<Response>,
) -> io::Result<()> {
    let passed = async {
        send(&mut write, &Response::Done).await?;
        while let Some(response) = responses.recv().await {
            send(&mut write, &response).await?;
        }
        write.shutdown().await
    };
    tokio::select! {
        result = passed => result,
        () = gone(read) => Ok(()),
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Waits until the other end closes; whatever else it says is nothing that a monitor has to say.
async fn gone(mut read: impl AsyncRead + Unpin) {
    let mut rest = [0; 64];
    while read.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}
