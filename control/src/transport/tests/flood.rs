//! What strangers can take.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::*;

/// Connects, which fails where the server has closed the connection already.
async fn from(source: [u8; 4], server: &Server) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddrV4::new(source.into(), 0).into())
        .unwrap();
    socket.connect(server.address.into()).await
}

/// Says something and awaits that the server closes the connection, by whatever means.
async fn closed(stream: io::Result<TcpStream>, words: &[u8]) {
    if let Ok(mut stream) = stream {
        let _ = stream.write_all(words).await;
        let mut answer = Vec::new();
        let _ = timeout(HANGS, stream.read_to_end(&mut answer))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let client = identity();
    let mut server = Server::start(keys([&client]), patient());
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(from([127, 0, 0, 66], &server).await);
    }
    server.connect(&client).await.unwrap();
    assert_eq!(server.accepted().await.peer, client.public());
    assert_eq!(server.refused("half_open"), 292);
    assert_eq!(server.refused("rate"), 0);
}

#[tokio::test]
async fn failures_use_up_the_part_of_their_address_only() {
    let client = identity();
    let mut server = Server::start(keys([&client]), patient());
    for _ in 0..20 {
        let stream = from([127, 0, 0, 66], &server).await;
        closed(stream, b"GET / HTTP/1.1\r\n\r\n").await;
    }
    assert_eq!(server.refused("tls"), 8);
    assert_eq!(server.refused("half_open"), 12);
    server.connect(&client).await.unwrap();
    server.accepted().await;
}

#[tokio::test]
async fn the_oldest_silent_connection_makes_room() {
    let limits = Limits {
        handshakes: 4,
        ..patient()
    };
    let client = identity();
    let mut server = Server::start(keys([&client]), limits);
    let mut silent = Vec::new();
    for host in 1..=4 {
        silent.push(from([127, 0, 9, host], &server).await);
    }
    server.connect(&client).await.unwrap();
    server.accepted().await;
    closed(silent.remove(0), &[]).await;
    assert_eq!(server.refused("half_open"), 1);
}

#[tokio::test]
async fn many_addresses_keep_nobody_out() {
    let client = identity();
    let mut server = Server::start(keys([&client]), patient());
    let mut silent = Vec::new();
    for host in 0..100 {
        for _ in 0..6 {
            silent.push(from([127, 0, 9, host], &server).await);
        }
    }
    server.connect(&client).await.unwrap();
    server.accepted().await;
    assert!(server.refused("half_open") > 600 - 256);
    assert_eq!(server.refused("rate"), 0);
}

#[tokio::test]
async fn silence_is_cut_off() {
    let limits = Limits {
        time: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = Server::start(keys([]), limits);
    closed(from([127, 0, 0, 66], &server).await, &[]).await;
    assert_eq!(server.refused("timeout"), 1);
}

#[tokio::test]
async fn the_rate_is_limited() {
    let limits = Limits {
        rate: 0,
        burst: 2,
        ..patient()
    };
    let server = Server::start(keys([]), limits);
    for host in 1..=3 {
        closed(
            from([127, 0, 9, host], &server).await,
            b"GET / HTTP/1.1\r\n\r\n",
        )
        .await;
    }
    assert_eq!(server.refused("tls"), 2);
    assert_eq!(server.refused("rate"), 1);
    assert_eq!(server.refused("half_open"), 0);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = Server::start(keys([]), patient());
    let port = server.address.port();
    let taken = Listener::bind(
        port,
        &identity(),
        KnownKeys::default(),
        patient(),
        Arc::default(),
    );
    let error = taken.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on TCP port {port}: ")));
}

#[tokio::test]
async fn without_a_receiver_the_listener_ends() {
    let listener = Listener::bind(
        0,
        &identity(),
        KnownKeys::default(),
        patient(),
        Arc::default(),
    )
    .unwrap();
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    timeout(HANGS, listener.accept(sender)).await.unwrap();
}
