//! Whom a gateway accepts.

use super::*;

#[tokio::test]
async fn both_sides_know_each_other_and_share_a_secret() {
    let client = identity();
    let mut server = Server::start(keys([&identity(), &client]), patient());
    let near = server.connect(&client).await.unwrap();
    let far = server.accepted().await;
    assert_eq!(near.peer, server.identity.public());
    assert_eq!(far.peer, client.public());
    assert_eq!(near.secret, far.secret);
    assert_eq!(near.local, far.remote);
    assert_eq!(near.remote, far.local);
    assert_eq!(*near.local.ip(), HERE);

    let again = server.connect(&client).await.unwrap();
    assert_ne!(again.secret, near.secret);
    assert_eq!(again.secret, server.accepted().await.secret);
    assert_eq!(server.refusals.snapshot().map(|(_, count)| count), [0; 6]);
}

#[tokio::test]
async fn the_client_refuses_another_gateway() {
    let client = identity();
    let server = Server::start(keys([&client]), patient());
    let expect = identity().public();
    let error = Connector::new(&client, Arc::default())
        .connect(HERE, server.address, expect, HANGS)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::WrongKey(remote) if remote == server.address));
    assert!(error.to_string().contains("another key than the tunnel's"));
}

#[tokio::test]
async fn the_server_refuses_an_unknown_gateway_and_says_so() {
    let client = identity();
    let mut server = Server::start(keys([&identity()]), patient());
    let (mut reader, mut writer) = server.connect(&client).await.unwrap().split();
    // What the client has sent already must not cost it the reason.
    let _ = writer.send(&[0; 1 << 14]).await;
    let error = timeout(HANGS, reader.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Refused(_)), "{error}");
    assert_eq!(server.refused("unknown_key"), 1);
    assert!(server.connections.try_recv().is_err());
}

#[tokio::test]
async fn known_keys_can_be_replaced() {
    let (old, new) = (identity(), identity());
    let mut server = Server::start(keys([&old]), patient());
    let _near = server.connect(&old).await.unwrap();
    let far = server.accepted().await;
    assert_eq!(far.peer, old.public());

    server.known.replace(keys([&new]));
    let (mut reader, _writer) = server.connect(&old).await.unwrap().split();
    let error = timeout(HANGS, reader.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Refused(_)), "{error}");
    let _near = server.connect(&new).await.unwrap();
    assert_eq!(server.accepted().await.peer, new.public());
}

#[tokio::test]
async fn where_nothing_listens_the_error_names_both_ends() {
    let server = Server::start(keys([]), patient());
    let remote = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), 1);
    let connector = Connector::new(&identity(), Arc::default());
    let key = server.identity.public();
    let error = connector.connect(HERE, remote, key, HANGS).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("cannot connect from 127.0.0.2 to 127.0.0.9:1: "));

    // An address for documentation: no machine has it.
    let foreign = Ipv4Addr::new(192, 0, 2, 1);
    let error = connector.connect(foreign, remote, key, HANGS).await;
    assert!(matches!(error, Err(TransportError::Source { local, .. }) if local == foreign));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let remote = SocketAddrV4::new(Ipv4Addr::LOCALHOST, silent.local_addr().unwrap().port());
    let limit = Duration::from_millis(50);
    let connector = Connector::new(&identity(), Arc::default());
    let key = identity().public();
    let error = connector.connect(HERE, remote, key, limit).await;
    assert!(matches!(error, Err(TransportError::Timeout { .. })));
}
