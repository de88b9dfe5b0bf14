//! The gateway's state: what it is told, and what it has made of it.

mod answers;
mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    DaemonError, Directories,
    departing::Departing,
    disabled::Disabled,
    engine::Engine,
    events::Events,
    probing::Probing,
    problems::Problems,
    pulse,
    recent::{Bytes, Recent},
    sizes,
};
use crate::{
    bundle::{self, IvcId, Slots},
    config::{Config, LinkName, TunnelName},
    dataplane::{Attachment, Dataplane, DataplaneError, Limits, Tables},
    kernel::netlink::Netlink,
    link::Links,
    reconcile::{Reconciler, objects::Sysctl},
    vpn::{self, Running, RunningTunnels},
};

/// A running gateway.
pub(super) struct Gateway {
    config: Config,
    /// The same with the links that it has no longer, as long as something may be under way on them.
    working: Config,
    departing: Departing,
    /// The tunnels that run by the configuration alone.
    manual: RunningTunnels,
    /// All tunnels that run.
    running: RunningTunnels,
    directories: Directories,
    reconciler: Reconciler,
    dataplane: Dataplane,
    tables: Tables,
    slots: Slots,
    links: Links,
    problems: Problems,
    events: Events,
    probing: Probing,
    recent: Recent,
    /// IVCs whose other end does not work, as the other side says.
    impaired: BTreeSet<IvcId>,
    /// What the other sides call their links.
    remote_links: BTreeMap<IvcId, String>,
    /// What the last round attached and set.
    attached: Vec<Attachment>,
    settings: Vec<Sysctl>,
    disabled: Disabled,
    engine: Engine,
    started: u64,
    since: BTreeMap<LinkName, u64>,
    receive: BTreeMap<LinkName, &'static str>,
    /// Whether the kernel is thought to have `fq`: until it says that it has not.
    fq: bool,
}

impl Gateway {
    /// Loads the programs, and takes over what an earlier run left.
    pub(super) fn start(
        config: Config,
        directories: Directories,
        events: Events,
    ) -> Result<Self, DaemonError> {
        let reconciler = Reconciler::open(&directories.state_dir)?;
        let engine = Engine::choose(&config).map_err(DaemonError::Engine)?;
        let limits = Limits {
            svcs: config.gateway.limits.svcs,
            ivcs: config.gateway.limits.ivcs,
        };
        let mut dataplane = Dataplane::load(&directories.bpffs, limits)?;
        let mut tables = dataplane.tables()?;
        let svcs = tables.svcs()?;
        let slots = Slots::adopt(&svcs, &tables.ivcs()?);
        let keepalives = tables
            .take_keepalives()
            .ok_or(DataplaneError::Missing("KEEPALIVES"))?;
        let mut gateway = Self {
            manual: vpn::manual(&config)?,
            running: RunningTunnels::new(),
            probing: Probing::start(
                keepalives,
                engine.ties(),
                (sizes::left(&svcs), sizes::pieces(&svcs)),
                events.clone(),
            )
            .map_err(DaemonError::Pulse)?,
            recent: Recent::default(),
            impaired: BTreeSet::new(),
            remote_links: BTreeMap::new(),
            attached: Vec::new(),
            settings: Vec::new(),
            disabled: Disabled::load(&directories.state_dir),
            engine,
            working: config.clone(),
            departing: Departing::default(),
            config,
            directories,
            reconciler,
            dataplane,
            tables,
            slots,
            links: Links::new(),
            problems: Problems::new(events.clone()),
            events,
            started: now(),
            since: BTreeMap::new(),
            receive: BTreeMap::new(),
            fq: true,
        };
        gateway.set_running(RunningTunnels::new(), BTreeSet::new());
        Ok(gateway)
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The configuration with the links that it has no longer, as long as something may be under way on them.
    pub(super) fn working(&self) -> &Config {
        &self.working
    }

    /// Where what happens is told.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// The links as they are.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// The connection to the kernel.
    pub(super) fn netlink(&self) -> &Netlink {
        self.reconciler.netlink()
    }

    /// Takes the negotiated tunnels as they run now, beside the manual ones. Maps and kernel follow when
    /// it converges.
    pub(super) fn set_running(&mut self, negotiated: RunningTunnels, impaired: BTreeSet<IvcId>) {
        self.impaired = impaired;
        self.running = negotiated;
        self.running.extend(self.manual.clone());
    }

    /// Learns what the other sides call their links, for people.
    pub(super) fn set_remote_links(&mut self, names: BTreeMap<IvcId, String>) {
        self.remote_links = names;
    }

    /// Notes a problem of something that does not take part in the rounds, or that it has none any more.
    pub(super) fn set_problem(&mut self, of: &'static str, problem: Option<String>) {
        self.problems.set(of, problem);
    }

    /// Waits until another set of IVCs is silent, or the MTU of a path is another.
    pub(super) async fn stirred(&mut self) {
        self.probing.changed().await;
    }

    /// Looks where data flows, as far as that matters for the keepalives.
    pub(super) fn feel(&self) {
        self.probing.feel(&self.tables, &self.slots);
    }

    /// The bytes that each IVC has carried.
    fn bytes(&self) -> BTreeMap<IvcId, Bytes> {
        let ids = self.running.values().flat_map(|tunnel| {
            let ivcs = tunnel.ivcs.iter();
            ivcs.map(|ivc| bundle::ident(tunnel, ivc))
        });
        ids.filter_map(|id| {
            let counters = self.tables.counters(self.slots.ivc_of(&id)?).ok()?;
            let (tx, rx) = (counters.tx.bytes, counters.rx.bytes);
            Some((id, Bytes { tx, rx }))
        })
        .collect()
    }

    /// Takes note of what the IVCs have carried so far.
    pub(super) fn note(&mut self) {
        let bytes = self.bytes();
        self.recent.note(pulse::now(), bytes);
    }

    /// The bytes that each tunnel has carried in the direction that has more.
    pub(super) fn traffic(&self) -> Vec<(TunnelName, u64)> {
        let of_ivcs = self.bytes();
        let bytes = |tunnel: &Running| {
            let ids = tunnel.ivcs.iter().map(|ivc| bundle::ident(tunnel, ivc));
            let ivcs = ids.filter_map(|id| of_ivcs.get(&id));
            let (tx, rx) = ivcs.fold((0, 0), |(tx, rx), ivc| (tx + ivc.tx, rx + ivc.rx));
            tx.max(rx)
        };
        self.running
            .iter()
            .map(|(name, tunnel)| (name.clone(), bytes(tunnel)))
            .collect()
    }

    /// Takes another configuration. Links and maps and kernel follow when it converges.
    ///
    /// # Errors
    ///
    /// A tunnel with manual keys cannot run; then nothing is changed.
    pub(super) fn reload(&mut self, config: Config) -> Result<(), DaemonError> {
        let manual = vpn::manual(&config)?;
        self.departing.learn(&self.config, &config, Instant::now());
        self.working = self.departing.join(&config);
        let links = &self.working.links;
        self.since.retain(|name, _| links.contains_key(name));
        self.manual = manual;
        self.config = config;
        // Its module may have come since.
        self.fq = true;
        Ok(())
    }

    /// Takes a link out of use, or into use again; returns its name. The links follow when it converges.
    ///
    /// # Errors
    ///
    /// There is no such link, or it cannot be noted down.
    pub(super) fn set_disabled(&mut self, link: &str, down: bool) -> Result<LinkName, String> {
        let names = || self.config.links.keys();
        let Some(name) = names().find(|name| name.as_str() == link).cloned() else {
            let names: Vec<_> = names().map(LinkName::as_str).collect();
            let names = names.join(", ");
            return Err(format!("there is no link {link}; there are {names}"));
        };
        match self.disabled.set(&name, down) {
            Ok(_) => Ok(name),
            Err(error) => Err(format!(
                "cannot note down the state of link {link}: {error}"
            )),
        }
    }
}

/// The time in seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
