//! A task that runs a connection, so that its owner only has to react.

use std::{net::SocketAddrV4, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::{Connection, FrameReader, FrameWriter, TransportError, refusals::Refusal};
use crate::wire::{self, Frame, Message};

/// How many messages wait at most for the other gateway to take them.
pub const QUEUE: usize = 64;
/// How long a connection may take to end in order.
const GOODBYE: Duration = Duration::from_secs(1);

/// What happens on a connection.
#[derive(Debug)]
pub enum Event {
    /// A message has come.
    Frame {
        /// The connection, as its owner numbered it.
        id: u64,
        /// The message.
        frame: Frame,
    },
    /// The connection is over. This comes exactly once, and nothing of the connection comes after it.
    Closed {
        /// The connection, as its owner numbered it.
        id: u64,
        /// Why, for people.
        reason: String,
    },
}

/// The owner's end of a running connection. Dropping it closes the connection: what waits is still sent if that is possible within
/// a second, and the other gateway is told.
#[derive(Debug)]
pub struct Handle {
    queue: mpsc::Sender<Vec<u8>>,
    overflown: watch::Sender<bool>,
}

impl Handle {
    /// Queues a message, with the id that its header shall have. Where [`QUEUE`] messages wait already, the other gateway takes
    /// nothing, and the connection is closed instead.
    ///
    /// Returns whether the message is queued; if not, the connection is over, or about to be.
    #[expect(clippy::must_use_candidate, reason = "an event tells of it, too")]
    pub fn send(&self, id: u32, message: &Message) -> bool {
        if *self.overflown.borrow() {
            return false;
        }
        match self.queue.try_send(wire::encode(id, message)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.overflown.send_replace(true);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Closes the connection, as dropping does.
    pub fn close(self) {}
}

impl Connection {
    /// Runs the connection in a task of its own. Events go to `events` under the number `id`; while there is no room for them
    /// nothing is read.
    #[must_use]
    pub fn spawn(self, id: u64, events: mpsc::Sender<Event>) -> Handle {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (overflown, orders) = watch::channel(false);
        let (remote, refusals) = (self.remote, Arc::clone(&self.refusals));
        let (reader, writer) = self.split();
        let task = Task {
            id,
            reader,
            writer,
            queued,
            orders,
        };
        tokio::spawn(async move {
            let end = task.run(&events).await;
            if let End::Failed(error @ TransportError::Wire { .. }) = &end {
                refusals.count(Refusal::Message);
                warn!("the connection is closed: {error}");
            }
            let reason = end.describe(remote);
            // Without a receiver there is nobody to tell.
            let _ = events.send(Event::Closed { id, reason }).await;
        });
        Handle { queue, overflown }
    }
}

/// Why a connection ends.
enum End {
    /// The handle is gone, or nobody reads the events.
    Here,
    /// The queue is full.
    Overflow,
    /// The other gateway has closed it in order.
    There,
    /// It failed.
    Failed(TransportError),
}

impl End {
    fn describe(&self, remote: SocketAddrV4) -> String {
        match self {
            Self::Here => "closed by this gateway".to_owned(),
            Self::Overflow => {
                format!("the gateway at {remote} takes nothing: {QUEUE} messages wait for it")
            }
            Self::There => format!("closed by the gateway at {remote}"),
            Self::Failed(error) => error.to_string(),
        }
    }
}

struct Task {
    id: u64,
    reader: FrameReader,
    writer: FrameWriter,
    queued: mpsc::Receiver<Vec<u8>>,
    orders: watch::Receiver<bool>,
}

impl Task {
    /// Runs the connection to its end. Both directions are dropped with the task, whatever the reason.
    async fn run(mut self, events: &mpsc::Sender<Event>) -> End {
        let (end, deadline) = {
            let mut sending = pin!(send_all(&mut self.writer, &mut self.queued));
            let end = tokio::select! {
                // In this order a refusal is read before its consequences for the other direction are met.
                biased;
                end = ordered(&mut self.orders) => end,
                end = receive_all(self.id, &mut self.reader, events) => end,
                end = &mut sending => end,
            };
            let deadline = Instant::now() + GOODBYE;
            if matches!(end, End::Here) {
                // Its owner may have said why it closes.
                let _ = timeout_at(deadline, sending).await;
            }
            (end, deadline)
        };
        let _ = timeout_at(deadline, self.part()).await;
        end
    }

    /// Ends in order. Closing a socket with something unread in it resets the connection, and the other gateway would lose what it has
    /// yet to read itself.
    async fn part(&mut self) {
        if self.writer.close().await.is_ok() {
            self.reader.discard().await;
        }
    }
}

/// Awaits that the owner wants no more.
async fn ordered(orders: &mut watch::Receiver<bool>) -> End {
    match orders.wait_for(|overflown| *overflown).await {
        Ok(_) => End::Overflow,
        Err(_) => End::Here,
    }
}

/// Passes on what comes, to the end.
async fn receive_all(id: u64, reader: &mut FrameReader, events: &mpsc::Sender<Event>) -> End {
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return End::There,
            Err(error) => return End::Failed(error),
        };
        if events.send(Event::Frame { id, frame }).await.is_err() {
            return End::Here;
        }
    }
}

/// Sends what is queued, until the handle is gone and nothing waits any more.
async fn send_all(writer: &mut FrameWriter, queued: &mut mpsc::Receiver<Vec<u8>>) -> End {
    while let Some(bytes) = queued.recv().await {
        if let Err(error) = writer.send(&bytes).await {
            return End::Failed(error);
        }
    }
    End::Here
}
