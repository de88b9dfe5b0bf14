//! A network in virtual time: gateways, their links, and what is under way between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    identity::PublicKey,
    session::{
        Action, Agreed, ConnectionId, ConnectionSecret, Initiator, OwnLink, Profile, Random,
        Responder, Role, SaKeys, Sessions,
    },
    suite::Suite,
    wire::{LinkFacts, Message},
};

pub(super) const PORT: u16 = 5710;
const TICK: Duration = Duration::from_millis(50);
/// How long a gateway takes to bring its kernel to what is agreed.
const INSTALL: Duration = Duration::from_millis(3);
/// When a kernel gives up a connection over which nothing comes back.
const DEAD: Duration = Duration::from_secs(10);

pub(super) struct Seeded(fastrand::Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// One end of a connection: gateway and number there.
type End = (usize, ConnectionId);

enum Event {
    Opened(End, ConnectionSecret),
    Accept {
        from: End,
        at: usize,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        secret: [u8; 32],
    },
    Received(End, u32, Message),
    Closed(End, &'static str),
    Installed(usize, u64),
    Tick,
}

pub(super) struct Site {
    pub(super) sessions: Sessions,
    pub(super) key: PublicKey,
    pub(super) links: Vec<OwnLink>,
    /// What the kernel has, by tunnel.
    pub(super) kernel: BTreeMap<String, Agreed>,
    pub(super) notes: Vec<String>,
}

pub(super) struct Network {
    pub(super) now: Duration,
    pub(super) sites: Vec<Site>,
    pub(super) one_way: Duration,
    /// By how much ends of connections overtake what is said over others.
    pub(super) haste: Duration,
    /// Pairs of addresses between which nothing comes through, in either direction.
    pub(super) blocked: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    events: BTreeMap<(Duration, u64), Event>,
    peers: BTreeMap<End, (End, (Ipv4Addr, Ipv4Addr))>,
    count: u64,
    rng: fastrand::Rng,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let mut network = Self {
            now: Duration::ZERO,
            sites: Vec::new(),
            one_way: Duration::from_millis(20),
            haste: Duration::ZERO,
            blocked: BTreeSet::new(),
            events: BTreeMap::new(),
            peers: BTreeMap::new(),
            count: 0,
            rng: fastrand::Rng::with_seed(seed),
        };
        network.schedule(TICK, Event::Tick);
        network
    }

    pub(super) fn add_site(&mut self, links: &[[u8; 4]]) -> usize {
        let number = self.sites.len();
        let links = (0..)
            .zip(links)
            .map(|(index, address)| own_link(index, (*address).into()))
            .collect();
        let mut key = [7; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        self.sites.push(Site {
            sessions: Sessions::new(Box::new(Seeded(fastrand::Rng::with_seed(self.rng.u64(..))))),
            key: PublicKey::new(key),
            links,
            kernel: BTreeMap::new(),
            notes: Vec::new(),
        });
        number
    }

    /// States a tunnel between two sites at both.
    pub(super) fn join(&mut self, initiator: usize, responder: usize) {
        self.add_initiator(initiator, responder);
        self.add_responder(responder, initiator);
    }

    pub(super) fn add_initiator(&mut self, at: usize, peer: usize) {
        self.add_initiator_as(at, peer, self.profile(at, peer));
    }

    pub(super) fn target(&self, peer: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.sites[peer].links[0].address, PORT)
    }

    pub(super) fn add_initiator_as(&mut self, at: usize, peer: usize, profile: Profile) {
        let target = self.target(peer);
        let tunnel = profile.tunnel.clone();
        let site = &mut self.sites[at];
        site.sessions
            .add(Role::Initiator(Box::new(Initiator::new(profile, target))));
        site.sessions
            .set_links(&tunnel, site.links.clone(), self.now);
        self.act(at);
    }

    pub(super) fn add_responder(&mut self, at: usize, peer: usize) {
        self.add_responder_as(at, peer, self.profile(at, peer));
    }

    pub(super) fn add_responder_as(&mut self, at: usize, peer: usize, profile: Profile) {
        let tunnel = profile.tunnel.clone();
        let endpoint =
            |number: usize| Ipv4Addr::from(0x0aff_0000 + u32::try_from(number).unwrap() + 1);
        let site = &mut self.sites[at];
        let endpoints = (endpoint(at), endpoint(peer));
        site.sessions.add(Role::Responder(Box::new(Responder::new(
            profile, PORT, endpoints,
        ))));
        site.sessions
            .set_links(&tunnel, site.links.clone(), self.now);
        self.act(at);
    }

    pub(super) fn profile(&self, at: usize, peer: usize) -> Profile {
        let subnet = |number: usize| {
            format!("172.{}.{}.0/24", 16 + number / 256, number % 256)
                .parse()
                .unwrap()
        };
        Profile {
            gateway: format!("site{at}"),
            tunnel: name(peer),
            peer: self.sites[peer].key,
            local: vec![subnet(at)],
            remote: vec![subnet(peer)],
            suites: vec![Suite::AesGcm256, Suite::ChaCha20Poly1305],
            split: crate::config::SplitPolicy::Mtu,
            rekey_after: Duration::from_hours(1),
            rekey_bytes: 1 << 40,
        }
    }

    /// Gives a site other links.
    pub(super) fn set_links(&mut self, at: usize, links: Vec<OwnLink>) {
        let site = &mut self.sites[at];
        site.links = links;
        let tunnels: Vec<_> = site
            .sessions
            .tunnels()
            .map(|(name, _)| name.clone())
            .collect();
        for tunnel in tunnels {
            site.sessions
                .set_links(&tunnel, site.links.clone(), self.now);
        }
        self.act(at);
    }

    /// Ends every connection of a site as a middlebox would.
    pub(super) fn reset_connections(&mut self, at: usize) {
        for (end, peer) in self.take_connections(at) {
            self.closed(end, "reset");
            self.closed(peer, "reset");
        }
    }

    /// Ends a site's daemon; the next one knows nothing.
    pub(super) fn restart(&mut self, at: usize) {
        for (_, peer) in self.take_connections(at) {
            self.schedule(self.one_way, Event::Closed(peer, "reset"));
        }
        self.sites[at].sessions =
            Sessions::new(Box::new(Seeded(fastrand::Rng::with_seed(self.rng.u64(..)))));
    }

    /// Forgets the connections of a site; returns both ends of each.
    fn take_connections(&mut self, at: usize) -> Vec<(End, End)> {
        let own = self.peers.iter().filter(|(end, _)| end.0 == at);
        let ends: Vec<_> = own.map(|(end, (peer, _))| (*end, *peer)).collect();
        for (end, peer) in &ends {
            self.peers.remove(end);
            self.peers.remove(peer);
        }
        ends
    }

    /// Replaces a site's daemon by one that finds what the last one left.
    pub(super) fn replace(&mut self, at: usize, peer: usize, initiator: bool) {
        let tunnel = name(peer);
        let role = self.sites[at].sessions.role(&tunnel).unwrap();
        let (saved, kernel) = (role.save().unwrap(), role.agreed().unwrap());
        self.restart(at);
        let find = |sas: &[SaKeys], spi| sas.iter().find(|sa| sa.spi == spi).cloned().unwrap();
        let keys = (
            find(&kernel.inbound, saved.inbound),
            find(&kernel.outbound, saved.outbound),
        );
        let target = self.target(peer);
        let mut role = if initiator {
            Role::Initiator(Box::new(Initiator::new(self.profile(at, peer), target)))
        } else {
            let endpoints = (saved.local, saved.remote);
            Role::Responder(Box::new(Responder::new(
                self.profile(at, peer),
                PORT,
                endpoints,
            )))
        };
        role.resume(&saved, keys, self.now);
        self.sites[at].sessions.add(role);
        let links = self.sites[at].links.clone();
        self.set_links(at, links);
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(((at, _), _)) = self.events.first_key_value() {
            if *at > end {
                break;
            }
            self.step();
        }
        self.now = end;
    }

    /// Runs until something holds; returns how long that took.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begun = self.now;
        while self.now < begun + limit {
            if holds(self) {
                return Some(self.now.saturating_sub(begun));
            }
            self.step();
        }
        None
    }

    fn step(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return;
        };
        self.now = at;
        let now = self.now;
        match event {
            Event::Tick => {
                for number in 0..self.sites.len() {
                    self.sites[number].sessions.tick(now);
                    self.act(number);
                }
                self.schedule(TICK, Event::Tick);
            }
            Event::Opened(end, secret) => {
                self.sites[end.0].sessions.opened(end.1, secret, now);
                self.act(end.0);
            }
            Event::Accept {
                from,
                at,
                local,
                remote,
                secret,
            } => self.accept(from, at, (local, remote), secret),
            Event::Received(end, id, message) => {
                self.sites[end.0].sessions.received(end.1, id, message, now);
                self.act(end.0);
            }
            Event::Closed(end, reason) => self.closed(end, reason),
            Event::Installed(site, revision) => {
                let it = &mut self.sites[site];
                it.kernel = it
                    .sessions
                    .tunnels()
                    .filter_map(|(name, role)| Some((name.to_string(), role.agreed()?)))
                    .collect();
                it.sessions.installed(revision, now);
                self.act(site);
            }
        }
    }

    fn closed(&mut self, end: End, reason: &str) {
        self.sites[end.0].sessions.closed(end.1, reason, self.now);
        self.act(end.0);
    }

    fn accept(
        &mut self,
        from: End,
        at: usize,
        (local, remote): (SocketAddrV4, SocketAddrV4),
        secret: [u8; 32],
    ) {
        let peer = self.sites[from.0].key;
        let now = self.now;
        let conn = |bytes| ConnectionSecret::new(Zeroizing::new(bytes));
        let accepted = self.sites[at]
            .sessions
            .accepted(peer, local, remote, conn(secret), now);
        match accepted {
            Some(id) => {
                let addresses = (*remote.ip(), *local.ip());
                self.peers.insert(from, ((at, id), addresses));
                self.peers.insert((at, id), (from, addresses));
                self.schedule(self.one_way, Event::Opened(from, conn(secret)));
            }
            None => self.schedule(self.one_way, Event::Closed(from, "unknown key")),
        }
        self.act(at);
    }

    /// Does what a site's machines want.
    pub(super) fn act(&mut self, at: usize) {
        while let Some(action) = self.sites[at].sessions.poll() {
            match action {
                Action::Connect {
                    connection,
                    local,
                    remote,
                    expect,
                    ..
                } => {
                    self.connect((at, connection), local, remote, expect);
                }
                Action::Send {
                    connection,
                    id,
                    message,
                } => {
                    if let Some((peer, addresses)) = self.peers.get(&(at, connection)).copied() {
                        if self.passes(addresses) {
                            self.schedule(self.one_way, Event::Received(peer, id, message));
                        } else {
                            self.schedule(
                                DEAD,
                                Event::Closed((at, connection), "nothing comes back"),
                            );
                        }
                    }
                }
                Action::Close { connection } => {
                    if let Some((peer, _)) = self.peers.remove(&(at, connection)) {
                        self.peers.remove(&peer);
                        let after = self.one_way.saturating_sub(self.haste);
                        self.schedule(after, Event::Closed(peer, "closed by the peer"));
                    }
                }
                Action::Install { revision } => {
                    self.schedule(INSTALL, Event::Installed(at, revision));
                }
                Action::Note(note) => self.sites[at].notes.push(note.to_string()),
            }
        }
    }

    fn connect(&mut self, from: End, local: Ipv4Addr, remote: SocketAddrV4, expect: PublicKey) {
        if !self.passes((local, *remote.ip())) {
            return;
        }
        let has = |site: &Site| site.links.iter().any(|link| link.address == *remote.ip());
        let Some(at) = self.sites.iter().position(has) else {
            return;
        };
        if self.sites[at].key != expect {
            return self.schedule(2 * self.one_way, Event::Closed(from, "another key"));
        }
        let mut secret = [0; 32];
        self.rng.fill(&mut secret);
        let remote_end = SocketAddrV4::new(local, 40_000);
        let accept = Event::Accept {
            from,
            at,
            local: remote,
            remote: remote_end,
            secret,
        };
        self.schedule(3 * self.one_way, accept);
    }

    fn passes(&self, (a, b): (Ipv4Addr, Ipv4Addr)) -> bool {
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + after, self.count), event);
    }

    /// What a site has agreed with another.
    pub(super) fn agreed(&self, at: usize, peer: usize) -> Option<Agreed> {
        self.sites[at].sessions.role(&name(peer))?.agreed()
    }

    /// Whether what either site sends now can be read by the other, as far as their kernels are concerned.
    pub(super) fn packets_pass(&self, a: usize, b: usize) -> bool {
        let (Some(at_a), Some(at_b)) = (self.kernel(a, b), self.kernel(b, a)) else {
            return false;
        };
        let reads = |from: &Agreed, to: &Agreed| {
            from.outbound
                .last()
                .is_some_and(|sa| to.inbound.contains(sa))
        };
        reads(at_a, at_b) && reads(at_b, at_a)
    }

    fn kernel(&self, at: usize, peer: usize) -> Option<&Agreed> {
        self.sites[at].kernel.get(name(peer).as_str())
    }
}

pub(super) fn own_link(index: usize, address: Ipv4Addr) -> OwnLink {
    OwnLink {
        name: format!("link{index}").parse().unwrap(),
        address,
        facts: LinkFacts {
            name: format!("link{index}"),
            up: 1_000_000,
            down: 1_000_000,
            latency: 20_000,
            mtu: 1500,
        },
    }
}

/// The name of the tunnel to a site.
pub(super) fn name(peer: usize) -> crate::config::TunnelName {
    format!("to-{peer}").parse().unwrap()
}
