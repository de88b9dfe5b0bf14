//! A program with a genuine key that speaks the protocol as it likes.

use std::{
    collections::BTreeMap,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};
use withy::{
    config::{self, Config, Keying},
    identity::PublicKey,
    session::{
        Action, ConnectionId, ConnectionSecret, Initiator, OwnLink, Profile, Random, Role,
        SETUP_LIMIT, Sessions,
    },
    transport::{Connection, Connector, Event, Handle, Identity},
    wire::{LinkFacts, Message},
};

use super::{Site, TUNNEL, negotiated_config};

/// The program; it runs in a site's gateway instead of a daemon, by the gateway's key and configuration.
pub(super) struct Insider<'lab> {
    site: &'lab Site,
    connector: Connector,
    profile: Profile,
    target: SocketAddrV4,
}

impl<'lab> Insider<'lab> {
    pub(super) fn new(site: &'lab Site) -> Result<Self> {
        let file = site.dirs().etc().join("withy.yaml");
        let loaded = config::load(&file)
            .ok()
            .context("the configuration is bad")?;
        let identity = Identity::new(&negotiated_config::private_key(site)?)?;
        let (profile, target) = terms(&loaded.config)?;
        Ok(Self {
            site,
            connector: Connector::new(&identity, std::sync::Arc::default()),
            profile,
            target,
        })
    }

    fn peer(&self) -> PublicKey {
        self.profile.peer
    }

    /// Connects, sends bytes at once, and returns what comes back until the other side closes.
    pub(super) fn say(&self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.inside(async {
            let local = self.first_address()?;
            let connection = self
                .connector
                .connect(local, self.target, self.peer(), SETUP_LIMIT)
                .await?;
            let (mut reader, mut writer) = connection.split();
            writer.send(bytes).await?;
            let mut answers = Vec::new();
            // The end comes by a reset where the other side had something unread.
            while let Ok(Some(frame)) = timeout(2 * SETUP_LIMIT, reader.next())
                .await
                .context("the other side does not close the connection")?
            {
                answers.extend(frame.message);
            }
            Ok(answers)
        })
    }

    /// Negotiates by the real machine, but what it says passes `tamper`, until `done` or the time is over; returns
    /// which of the two it was. All connections end with it.
    pub(super) fn negotiate(
        &self,
        tamper: &mut (dyn FnMut(Message) -> Vec<Message> + Send),
        done: impl Fn(&Sessions) -> Result<bool> + Send + Sync,
        limit: Duration,
    ) -> Result<bool> {
        self.inside(async {
            let mut machine = Machine::new(self)?;
            let begun = Instant::now();
            while begun.elapsed() < limit {
                machine.step(self, begun.elapsed(), tamper).await?;
                if done(&machine.sessions)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn first_address(&self) -> Result<std::net::Ipv4Addr> {
        let link = self.site.links().first().context("a site without links")?;
        Ok(link.address())
    }

    /// Runs something on the gateway's network.
    fn inside<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.site.gateway().enter(|| runtime()?.block_on(work))
    }
}

pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// What the configuration's only tunnel wants, and where it leads.
fn terms(config: &Config) -> Result<(Profile, SocketAddrV4)> {
    let name = TUNNEL.parse()?;
    let tunnel = config.tunnels.get(&name).context("no such tunnel")?;
    let Keying::Negotiated(keying) = &tunnel.keying else {
        anyhow::bail!("the tunnel is not negotiated");
    };
    let there = keying
        .peer
        .address
        .context("the tunnel is not opened here")?;
    let profile = Profile {
        gateway: config.gateway.name.to_string(),
        tunnel: name,
        peer: keying.peer.key,
        local: tunnel.subnets.local.clone(),
        remote: tunnel.subnets.remote.clone(),
        suites: keying.suites.clone(),
        split: tunnel.split,
        rekey_after: keying.rekey.after.duration(),
        rekey_bytes: keying.rekey.bytes.bytes(),
    };
    Ok((profile, SocketAddrV4::new(there.address, there.port)))
}

/// The real machine of an initiator, with connections but without a kernel.
struct Machine {
    sessions: Sessions,
    handles: BTreeMap<ConnectionId, Handle>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
}

struct Dice;

impl Random for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        fastrand::fill(bytes);
    }
}

impl Machine {
    fn new(insider: &Insider<'_>) -> Result<Self> {
        let mut sessions = Sessions::new(Box::new(Dice));
        let tunnel = insider.profile.tunnel.clone();
        let initiator = Initiator::new(insider.profile.clone(), insider.target);
        sessions.add(Role::Initiator(Box::new(initiator)));
        let links = insider.site.links().iter().map(|link| {
            Ok(OwnLink {
                name: link.name().parse()?,
                address: link.address(),
                facts: LinkFacts {
                    name: link.name().to_owned(),
                    up: 4_000_000,
                    down: 4_000_000,
                    latency: 10_000,
                    mtu: 1500,
                },
            })
        });
        sessions.set_links(&tunnel, links.collect::<Result<_>>()?, Duration::ZERO);
        Ok(Self {
            sessions,
            handles: BTreeMap::new(),
            events: mpsc::channel(64),
        })
    }

    async fn step(
        &mut self,
        insider: &Insider<'_>,
        now: Duration,
        tamper: &mut (dyn FnMut(Message) -> Vec<Message> + Send),
    ) -> Result<()> {
        self.sessions.tick(now);
        while let Some(action) = self.sessions.poll() {
            match action {
                Action::Connect {
                    connection,
                    local,
                    remote,
                    expect,
                    ..
                } => {
                    let connector = &insider.connector;
                    let made = connector.connect(local, remote, expect, SETUP_LIMIT).await;
                    match made {
                        Ok(made) => self.opened(connection, made, now),
                        Err(error) => self.sessions.closed(connection, &error.to_string(), now),
                    }
                }
                Action::Send {
                    connection,
                    id,
                    message,
                } => {
                    if let Some(handle) = self.handles.get(&connection) {
                        for message in tamper(message) {
                            handle.send(id, &message);
                        }
                    }
                }
                Action::Close { connection } => {
                    self.handles.remove(&connection);
                }
                Action::Install { revision } => self.sessions.installed(revision, now),
                Action::Note(_) => {}
            }
        }
        let event = timeout(Duration::from_millis(20), self.events.1.recv()).await;
        match event {
            Ok(Some(Event::Frame { id, frame })) => {
                if let Some(message) = frame.message {
                    self.sessions.received(id, frame.id, message, now);
                }
            }
            Ok(Some(Event::Closed { id, reason })) => {
                self.handles.remove(&id);
                self.sessions.closed(id, &reason, now);
            }
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }

    fn opened(&mut self, id: ConnectionId, connection: Connection, now: Duration) {
        let secret = ConnectionSecret::new(connection.secret.clone());
        let handle = connection.spawn(id, self.events.0.clone());
        self.handles.insert(id, handle);
        self.sessions.opened(id, secret, now);
    }
}
