//! Two gateways on the loopback device. What is awaited is an event, never time; the one limit below only ends what hangs.

mod flood;
mod frames;
mod handshake;
mod refused;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::identity::{PrivateKey, PublicKey};

const HANGS: Duration = Duration::from_mins(1);
/// The address of the gateway that connects.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn identity() -> Identity {
    Identity::new(&PrivateKey::generate().unwrap()).unwrap()
}

fn keys<const N: usize>(identities: [&Identity; N]) -> BTreeSet<PublicKey> {
    identities.map(Identity::public).into()
}

/// Time enough on the slowest machine.
fn patient() -> Limits {
    Limits {
        time: HANGS,
        ..Limits::default()
    }
}

/// The gateway that is connected to.
struct Server {
    identity: Identity,
    known: KnownKeys,
    address: SocketAddrV4,
    refusals: Arc<Refusals>,
    connections: mpsc::Receiver<Connection>,
}

impl Server {
    fn start(known: BTreeSet<PublicKey>, limits: Limits) -> Self {
        let identity = identity();
        let known = KnownKeys::new(known);
        let refusals = Arc::default();
        let listener =
            Listener::bind(0, &identity, known.clone(), limits, Arc::clone(&refusals)).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.port().unwrap());
        let (sender, connections) = mpsc::channel(8);
        tokio::spawn(listener.accept(sender));
        Self {
            identity,
            known,
            address,
            refusals,
            connections,
        }
    }

    async fn connect(&self, client: &Identity) -> Result<Connection, TransportError> {
        Connector::new(client, Arc::default())
            .connect(HERE, self.address, self.identity.public(), HANGS)
            .await
    }

    async fn accepted(&mut self) -> Connection {
        let connection = timeout(HANGS, self.connections.recv()).await;
        connection.unwrap().unwrap()
    }

    fn refused(&self, reason: &str) -> u64 {
        let snapshot = self.refusals.snapshot();
        let counter = snapshot.iter().find(|(name, _)| *name == reason);
        counter.unwrap().1
    }
}

/// Returns both ends of a connection, first the one that connected.
async fn pair() -> (Connection, Connection) {
    let client = identity();
    let mut server = Server::start(keys([&client]), patient());
    let near = server.connect(&client).await.unwrap();
    let far = server.accepted().await;
    (near, far)
}
