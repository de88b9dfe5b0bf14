//! Where the text comes from: the daemon's loop, asked as the control socket asks it.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::Instant,
};

use super::exposition;
use crate::api::{
    protocol::{Request, Response},
    server::{Answer, Call},
};

/// For how long a text is fresh. However many ask, the loop is asked no more often.
const FRESH: Duration = Duration::from_millis(500);

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoText {
    #[error("the daemon is ending")]
    Ending,
    #[error("the daemon has no status: {0}")]
    Status(String),
    #[error(transparent)]
    Families(#[from] prometheus::Error),
}

/// The metrics as they are now.
pub(super) struct Source {
    calls: mpsc::Sender<Call>,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Source {
    /// Takes the text from whoever answers `calls`.
    pub(super) fn new(calls: mpsc::Sender<Call>) -> Self {
        Self {
            calls,
            last: Mutex::new(None),
        }
    }

    /// The text; those who ask while it is being made get the same one.
    pub(super) async fn text(&self) -> Result<Bytes, NoText> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let (reply, answer) = oneshot::channel();
        let call = Call {
            request: Request::Status,
            reply,
        };
        self.calls.send(call).await.map_err(|_| NoText::Ending)?;
        let text = match answer.await.map_err(|_| NoText::Ending)? {
            Answer::One(Response::Status(status)) => Bytes::from(exposition::text(&status)?),
            Answer::One(Response::Failed(reason)) => return Err(NoText::Status(reason)),
            other => return Err(NoText::Status(format!("{other:?}"))),
        };
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
