//! Negotiated tunnels: between the machines of `session`, the connections of `transport`, and the rest of the gateway.

mod own;
mod reload;
mod running;
mod state;
mod tunnels;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{DaemonError, events::Events, gateway::Gateway, state_file};
use crate::{
    api::{event::What, protocol::Response},
    bundle::IvcId,
    config::{Config, LinkName, TunnelName},
    kernel::netlink::Netlink,
    link::Links,
    session::{
        Action, ConnectionId, ConnectionSecret, OwnLink, Random, Role, SETUP_LIMIT, Saved, Sessions,
    },
    terminal::disarm,
    transport::{
        Connection, Connector, Event, Handle, Identity, KnownKeys, Limits, Listener, Refusals,
        TransportError,
    },
    vpn::RunningTunnels,
};

/// How often the machines learn that time passes.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// How long other gateways may take to hear that this one leaves.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many events wait before those who tell of them do.
const QUEUE: usize = 1024;

/// The negotiation of a gateway.
pub(super) struct Negotiation {
    sessions: Sessions,
    /// Where what happens is told.
    reports: Events,
    begun: Instant,
    connector: Option<Connector>,
    handles: BTreeMap<ConnectionId, Handle>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    attempts: (mpsc::Sender<Attempt>, mpsc::Receiver<Attempt>),
    accepted: Option<mpsc::Receiver<Connection>>,
    refusals: Arc<Refusals>,
    /// Where it is listened, and whose connections are taken.
    listens: Option<u16>,
    known: KnownKeys,
    /// The links of each tunnel as its machine knows them.
    links: BTreeMap<TunnelName, Vec<OwnLink>>,
    /// What waits for the kernel.
    wanted: Option<u64>,
    file: PathBuf,
    saved: BTreeMap<TunnelName, Saved>,
}

/// The end of an attempt to connect.
pub(super) struct Attempt {
    id: ConnectionId,
    result: Result<Connection, TransportError>,
}

/// Something that concerns the negotiation.
pub(super) enum Occurrence {
    /// A connection says something or ends.
    Connection(Event),
    /// A connection is open, or cannot be.
    Attempted(Box<Attempt>),
    /// A connection has come in.
    Accepted(Box<Connection>),
}

/// The system's random numbers.
struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // The library fails only where the system has no random numbers at all: nothing could be kept secret.
            std::process::abort();
        }
    }
}

impl Negotiation {
    /// Sets up the machines of all negotiated tunnels, and goes on with those that run.
    pub(super) async fn start(
        config: &Config,
        state_dir: &std::path::Path,
        netlink: &Netlink,
        reports: Events,
    ) -> Result<Self, DaemonError> {
        let mut negotiation = Self {
            sessions: Sessions::new(Box::new(SystemRandom)),
            reports,
            begun: Instant::now(),
            connector: None,
            handles: BTreeMap::new(),
            events: mpsc::channel(QUEUE),
            attempts: mpsc::channel(QUEUE),
            accepted: None,
            refusals: Arc::default(),
            listens: None,
            known: KnownKeys::default(),
            links: BTreeMap::new(),
            wanted: None,
            file: state_dir.join("sessions.json"),
            saved: BTreeMap::new(),
        };
        let Some(own) = &config.gateway.identity else {
            return Ok(negotiation);
        };
        // The library gathers entropy when it is first asked, which takes its time; better now than in a handshake.
        SystemRandom.fill(&mut [0]);
        let identity = Identity::new(&own.key)?;
        negotiation.connector = Some(Connector::new(&identity, Arc::clone(&negotiation.refusals)));
        let left = state::load(&negotiation.file);
        let keys = netlink.associations().await?.into_iter().collect();
        let assigned = left
            .iter()
            .map(|(name, saved)| (name.clone(), saved.remote))
            .collect();
        for mut role in tunnels::roles(config, &assigned) {
            let name = role.profile().tunnel.clone();
            if let Some(saved) = left.get(&name)
                && let Some(keys) = state::keys(saved, &keys)
            {
                role.resume(saved, keys, negotiation.now());
                negotiation.reports.tell(What::TunnelResumed {
                    tunnel: name.to_string(),
                });
            }
            negotiation.sessions.add(role);
        }
        let known = tunnels::initiators(config);
        if !known.is_empty() {
            negotiation.known.replace(known);
            let (port, known) = (config.gateway.listen, negotiation.known.clone());
            let listener = Listener::bind(
                port,
                &identity,
                known,
                Limits::default(),
                Arc::clone(&negotiation.refusals),
            )?;
            negotiation.serve(listener, port);
        }
        Ok(negotiation)
    }

    /// Takes connections from a listener, and from no other any more.
    fn serve(&mut self, listener: Listener, port: u16) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(listener.accept(sender));
        self.accepted = Some(receiver);
        self.listens = Some(port);
        info!(port, "waiting for gateways");
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for something to happen.
    pub(super) async fn next(&mut self) -> Occurrence {
        let accepted = async {
            match &mut self.accepted {
                Some(accepted) => accepted.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(event) = self.events.1.recv() => Occurrence::Connection(event),
            Some(attempt) = self.attempts.1.recv() => Occurrence::Attempted(Box::new(attempt)),
            Some(connection) = accepted => Occurrence::Accepted(Box::new(connection)),
            else => std::future::pending().await,
        }
    }

    /// Takes in what happened, and everything else that has happened meanwhile.
    pub(super) fn take(&mut self, occurrence: Occurrence) {
        self.handle(occurrence);
        while let Ok(event) = self.events.1.try_recv() {
            self.handle(Occurrence::Connection(event));
        }
        while let Ok(attempt) = self.attempts.1.try_recv() {
            self.handle(Occurrence::Attempted(Box::new(attempt)));
        }
        self.act();
    }

    fn handle(&mut self, occurrence: Occurrence) {
        let now = self.now();
        match occurrence {
            Occurrence::Connection(Event::Frame { id, frame }) => {
                // Types of later versions are passed over.
                if let Some(message) = frame.message {
                    self.sessions.received(id, frame.id, message, now);
                }
            }
            Occurrence::Connection(Event::Closed { id, reason }) => {
                self.handles.remove(&id);
                self.sessions.closed(id, &reason, now);
            }
            Occurrence::Attempted(attempt) => self.attempted(*attempt),
            Occurrence::Accepted(connection) => {
                let secret = ConnectionSecret::new(connection.secret.clone());
                let (local, remote) = (connection.local, connection.remote);
                if let Some(id) =
                    self.sessions
                        .accepted(connection.peer, local, remote, secret, now)
                {
                    self.handles
                        .insert(id, connection.spawn(id, self.events.0.clone()));
                }
            }
        }
    }

    fn attempted(&mut self, Attempt { id, result }: Attempt) {
        let now = self.now();
        match result {
            // Nobody waits for it any more; dropped, it ends.
            Ok(_) if !self.sessions.knows(id) => {}
            Ok(connection) => {
                let secret = ConnectionSecret::new(connection.secret.clone());
                let handle = connection.spawn(id, self.events.0.clone());
                self.handles.insert(id, handle);
                self.sessions.opened(id, secret, now);
            }
            Err(error) => self.sessions.closed(id, &error.to_string(), now),
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        self.sessions.tick(now);
        self.act();
    }

    /// Does what the machines want, as far as it is a matter of connections.
    fn act(&mut self) {
        while let Some(action) = self.sessions.poll() {
            match action {
                Action::Connect {
                    connection,
                    local,
                    remote,
                    expect,
                    ..
                } => {
                    let Some(connector) = self.connector.clone() else {
                        continue;
                    };
                    let attempts = self.attempts.0.clone();
                    tokio::spawn(async move {
                        let result = connector.connect(local, remote, expect, SETUP_LIMIT).await;
                        // Without a receiver the daemon has ended.
                        let _ = attempts
                            .send(Attempt {
                                id: connection,
                                result,
                            })
                            .await;
                    });
                }
                Action::Send {
                    connection,
                    id,
                    message,
                } => {
                    if let Some(handle) = self.handles.get(&connection) {
                        handle.send(id, &message);
                    }
                }
                Action::Close { connection } => {
                    self.handles.remove(&connection);
                }
                Action::Install { revision } => self.wanted = Some(revision),
                Action::Note(what) => self.reports.tell(what),
            }
        }
    }

    /// Tells the machines which links work now.
    pub(super) fn set_links(&mut self, config: &Config, links: &Links) {
        let now = self.now();
        for name in self.names() {
            let Some(tunnel) = config.tunnels.get(&name) else {
                continue;
            };
            let own = own::links(config, tunnel, links);
            if self.links.get(&name) == Some(&own) {
                continue;
            }
            for (link, remote, up) in self.turns(&name, &own) {
                self.sessions.link_state(&name, (&link, remote), up, now);
            }
            self.sessions.set_links(&name, own.clone(), now);
            self.links.insert(name, own);
        }
        self.act();
    }

    fn names(&self) -> Vec<TunnelName> {
        let tunnels = self.sessions.tunnels();
        tunnels.map(|(name, _)| name.clone()).collect()
    }

    /// The tunnel endpoints that gateways which this one waits for have.
    fn assigned(&self) -> tunnels::Assigned {
        let endpoint = |(name, role): (&TunnelName, &Role)| match role {
            Role::Responder(responder) => Some((name.clone(), responder.endpoints().1)),
            Role::Initiator(_) => None,
        };
        self.sessions.tunnels().filter_map(endpoint).collect()
    }

    /// The IVCs whose link stops or begins to work.
    fn turns(&self, tunnel: &TunnelName, links: &[OwnLink]) -> Vec<(LinkName, Ipv4Addr, bool)> {
        let before = self
            .links
            .get(tunnel)
            .map_or(&[] as &[OwnLink], Vec::as_slice);
        let works =
            |links: &[OwnLink], name: &LinkName| links.iter().any(|link| link.name == *name);
        let agreed = self.sessions.role(tunnel).and_then(Role::agreed);
        let ivcs = agreed.into_iter().flat_map(|agreed| agreed.ivcs);
        ivcs.filter(|ivc| works(before, &ivc.link) != works(links, &ivc.link))
            .map(|ivc| {
                let up = works(links, &ivc.link);
                (ivc.link, ivc.remote, up)
            })
            .collect()
    }

    /// Takes the revision that waits for the kernel.
    pub(super) fn take_wanted(&mut self) -> Option<u64> {
        self.wanted.take()
    }

    /// The kernel has what was agreed at a revision.
    pub(super) fn installed(&mut self, revision: u64) {
        let now = self.now();
        self.sessions.installed(revision, now);
        self.act();
        let all = self.sessions.tunnels();
        let saved = all
            .filter_map(|(name, role)| Some((name.clone(), role.save()?)))
            .collect();
        if saved != self.saved {
            match state_file::store(&self.file, &saved) {
                Ok(()) => self.saved = saved,
                Err(error) => {
                    warn!(file = %self.file.display(), "cannot note the tunnels down: {error}");
                }
            }
        }
    }

    /// The negotiated tunnels as they run now.
    pub(super) fn running(&self, config: &Config) -> RunningTunnels {
        let tunnels = self.sessions.tunnels();
        tunnels
            .filter_map(|(name, role)| {
                let agreed = role.agreed()?;
                let running = running::tunnel(config, config.tunnels.get(name)?, &agreed)?;
                Some((name.clone(), running))
            })
            .collect()
    }

    /// The IVCs whose other end does not work, as the other side says.
    pub(super) fn impaired(&self) -> BTreeSet<IvcId> {
        let agreed = self
            .sessions
            .tunnels()
            .filter_map(|(_, role)| role.agreed());
        agreed
            .flat_map(|agreed| {
                let ivcs = agreed.ivcs.into_iter().filter(|ivc| ivc.impaired);
                ivcs.map(move |ivc| (agreed.remote, ivc.link, ivc.remote))
            })
            .collect()
    }

    /// What the other side calls its links.
    fn remote_links(&self) -> BTreeMap<IvcId, String> {
        let roles = self.sessions.tunnels();
        let agreed = roles.filter_map(|(_, role)| role.agreed());
        agreed
            .flat_map(|agreed| {
                let remote = agreed.remote;
                let ivcs = agreed.ivcs.into_iter();
                ivcs.map(move |ivc| ((remote, ivc.link, ivc.remote), disarm(ivc.facts.name)))
            })
            .collect()
    }

    /// Tells the machines how many bytes their tunnels have carried.
    pub(super) fn count(&mut self, traffic: Vec<(TunnelName, u64)>) {
        for (tunnel, bytes) in traffic {
            self.sessions.traffic(&tunnel, bytes);
        }
    }

    /// Lets the gateway know how the negotiated tunnels run now.
    pub(super) fn show(&self, gateway: &mut Gateway) {
        let running = self.running(gateway.working());
        gateway.set_running(running, self.impaired());
        gateway.set_remote_links(self.remote_links());
    }

    /// Asks for new keys of a tunnel at once.
    pub(super) fn rekey(&mut self, tunnel: &str) -> Response {
        let now = self.now();
        let name = tunnel.parse().ok();
        let Some(name) = name.filter(|name| self.sessions.role(name).is_some()) else {
            return Response::Failed(format!("there is no negotiated tunnel {tunnel}"));
        };
        let asked = self.sessions.renew(&name, now);
        self.act();
        if asked {
            Response::Done
        } else {
            Response::Failed(format!(
                "the other gateway of tunnel {tunnel} is not connected: there is nobody to make keys with"
            ))
        }
    }

    /// Drops the IVCs of a link in order, which is taken out of use.
    pub(super) fn retire(&mut self, link: &LinkName) {
        let now = self.now();
        self.sessions.retire(None, link, now);
        self.act();
    }

    /// Ends all tunnels and tells the other gateways, as far as that takes no longer than [`FAREWELL`].
    pub(super) async fn leave(&mut self) {
        let open = self.handles.len();
        for name in self.names() {
            let now = self.now();
            self.sessions
                .remove(&name, "the gateway is taken down", now);
        }
        self.act();
        let closed = async {
            let mut left = open;
            while left > 0 {
                match self.events.1.recv().await {
                    Some(Event::Closed { .. }) => left -= 1,
                    Some(Event::Frame { .. }) => {}
                    None => return,
                }
            }
        };
        // Whoever takes longer finds out by itself.
        let _ = tokio::time::timeout(FAREWELL, closed).await;
    }

    /// Connections that were refused, by reason: in their handshakes, and after.
    pub(super) fn refused(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.refusals.snapshot().to_vec();
        all.extend(self.sessions.refusals());
        all
    }

    /// Why tunnels could not be made last.
    pub(super) fn troubles(&self) -> BTreeMap<TunnelName, String> {
        let trouble =
            |(name, role): (&TunnelName, &Role)| Some((name.clone(), role.trouble()?.to_owned()));
        self.sessions.tunnels().filter_map(trouble).collect()
    }
}
