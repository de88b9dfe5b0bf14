//! What goes over a connection, and how it ends.

use super::*;
use crate::wire::{self, Echo, Frame, LinkFacts, Message, SvcCreateRequest};

const ECHO: Message = Message::Echo(Echo {});

/// A message with nearly as much in it as there may be.
fn long() -> Message {
    let text = "x".repeat(wire::MAX_TEXT);
    Message::SvcCreateRequest(SvcCreateRequest {
        svc: None,
        spi: 256,
        suites: vec![text.clone(); wire::MAX_SUITES],
        initiator_subnets: Vec::new(),
        responder_subnets: Vec::new(),
        split: text.clone(),
        taken: vec![Ipv4Addr::BROADCAST; wire::MAX_TAKEN],
        link: LinkFacts {
            name: text,
            up: 1,
            down: 1,
            latency: 1,
            mtu: 1500,
        },
    })
}

/// A connection that runs, and its events.
struct Running {
    handle: Handle,
    events: mpsc::Receiver<Event>,
}

impl Running {
    fn start(connection: Connection) -> Self {
        let (sender, events) = mpsc::channel(4);
        Self {
            handle: connection.spawn(7, sender),
            events,
        }
    }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Option<Event> {
    timeout(HANGS, events.recv()).await.unwrap()
}

async fn frame(events: &mut mpsc::Receiver<Event>) -> Frame {
    match next(events).await {
        Some(Event::Frame { id: 7, frame }) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

/// Returns why a connection ended, and checks that nothing comes after that.
async fn end(events: &mut mpsc::Receiver<Event>) -> String {
    let Some(Event::Closed { id: 7, reason }) = next(events).await else {
        panic!("not closed")
    };
    assert!(next(events).await.is_none());
    reason
}

#[tokio::test]
async fn messages_come_in_parts_and_together() {
    let (near, far) = pair().await;
    let (mut far_reader, mut far_writer) = far.split();
    let (mut near_reader, mut near_writer) = near.split();
    let bytes = [wire::encode(1, &long()), wire::encode(2, &ECHO)].concat();
    for part in [&bytes[..5], &bytes[5..20], &bytes[20..]] {
        near_writer.send(part).await.unwrap();
    }
    let first = far_reader.next().await.unwrap().unwrap();
    assert_eq!((first.id, first.message), (1, Some(long())));
    far_writer.send(&bytes).await.unwrap();
    assert_eq!(near_reader.next().await.unwrap().unwrap().id, 1);
    assert_eq!(near_reader.next().await.unwrap().unwrap().id, 2);
    assert_eq!(far_reader.next().await.unwrap().unwrap().id, 2);
    near_writer.close().await.unwrap();
    assert_eq!(far_reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn running_connections_pass_messages_and_close_once() {
    let (near, far) = pair().await;
    let (near_address, far_address) = (near.local, near.remote);
    let (mut near, mut far) = (Running::start(near), Running::start(far));
    for id in 0..10 {
        assert!(near.handle.send(id, &ECHO));
        assert!(far.handle.send(id, &long()));
    }
    for id in 0..10 {
        assert_eq!(frame(&mut far.events).await.id, id);
        assert_eq!(frame(&mut near.events).await.message, Some(long()));
    }
    near.handle.close();
    assert_eq!(end(&mut near.events).await, "closed by this gateway");
    let reason = end(&mut far.events).await;
    assert_eq!(reason, format!("closed by the gateway at {near_address}"));
    assert!(!far.handle.send(0, &ECHO));
    assert_ne!(near_address, far_address);
}

#[tokio::test]
async fn what_is_said_before_closing_arrives() {
    let (near, far) = pair().await;
    let (near, mut far) = (Running::start(near), Running::start(far));
    // The other side talks meanwhile, and nobody reads it.
    for id in 0..20 {
        assert!(far.handle.send(id, &long()));
        assert!(near.handle.send(id, &long()));
    }
    drop(near);
    for id in 0..20 {
        assert_eq!(frame(&mut far.events).await.id, id);
    }
    let reason = end(&mut far.events).await;
    assert!(reason.starts_with("closed by the gateway at"), "{reason}");
}

#[tokio::test]
async fn both_sides_may_close_at_once() {
    let (near, far) = pair().await;
    let (mut near, mut far) = (Running::start(near), Running::start(far));
    near.handle.close();
    far.handle.close();
    end(&mut near.events).await;
    end(&mut far.events).await;
}

#[tokio::test]
async fn garbage_closes_the_connection() {
    let (near, far) = pair().await;
    let (remote, refusals) = (near.local, Arc::clone(&far.refusals));
    let mut far = Running::start(far);
    let (reader, mut writer) = near.split();
    writer.send(&wire::encode(1, &ECHO)).await.unwrap();
    writer.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(frame(&mut far.events).await.id, 1);
    drop((reader, writer));
    let reason = end(&mut far.events).await;
    assert_eq!(
        reason,
        format!(
            "the gateway at {remote} does not speak the protocol: what comes is no bundle header"
        )
    );
    let counted = refusals.snapshot();
    assert!(counted.contains(&("message", 1)), "{counted:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_over() {
    let (near, far) = pair().await;
    let mut far = Running::start(far);
    drop(near);
    let reason = end(&mut far.events).await;
    assert!(reason.contains("broke off"), "{reason}");
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let (near, _far) = pair().await;
    let mut near = Running::start(near);
    let queued = (0..100).filter(|id| near.handle.send(*id, &ECHO)).count();
    assert_eq!(queued, QUEUE);
    let reason = end(&mut near.events).await;
    assert!(
        reason.ends_with("takes nothing: 64 messages wait for it"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_left() {
    let (near, _far) = pair().await;
    let mut near = Running::start(near);
    while near.handle.send(1, &long()) {
        tokio::task::yield_now().await;
    }
    let reason = end(&mut near.events).await;
    assert!(reason.contains("takes nothing"), "{reason}");
}

#[tokio::test]
async fn a_refused_gateway_learns_it() {
    let client = identity();
    let server = Server::start(keys([]), patient());
    let mut near = Running::start(server.connect(&client).await.unwrap());
    near.handle.send(1, &ECHO);
    let reason = end(&mut near.events).await;
    assert!(reason.contains("refuses this gateway's key"), "{reason}");
}
