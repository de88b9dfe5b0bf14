//! The gateway's state, and the step from what is to what should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tracing::{debug, info};

use super::{
    DaemonError, Directories, attachments,
    departing::Departing,
    disabled::Disabled,
    engine::Engine,
    events::Events,
    negotiation::Negotiation,
    paths, ping,
    probing::Probing,
    problems::Problems,
    pulse,
    recent::{Bytes, Recent},
    sizes, speed,
};
use crate::{
    api::{event::What, keys, ping::PingedIvc, protocol::Response, report, speed::Direction},
    bundle::{self, IvcId, Slots},
    config::{Config, LinkName, TunnelName},
    dataplane::{Attached, Attachment, Dataplane, DataplaneError, Limits, Tables},
    kernel::{
        facts::LinkFacts,
        netlink::{Netlink, NetlinkError},
    },
    link::{self, Links},
    load::Target,
    reconcile::{
        Desired, ReconcileError, Reconciler,
        objects::{InterfaceName, Object, Sysctl},
    },
    vpn::{self, Path, Running, RunningTunnels},
};

type Facts = BTreeMap<InterfaceName, LinkFacts>;

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

    /// Brings everything to the stated condition as far as possible; returns how long it took.
    pub(super) async fn converge(&mut self) -> Duration {
        let begun = Instant::now();
        if self.departing.expire(&self.running, begun) {
            self.working = self.departing.join(&self.config);
        }
        let mut problems = BTreeSet::new();
        if let Err(error) = self.try_converge(&mut problems).await {
            problems.insert(error.to_string());
        }
        self.problems.replace(problems);
        self.dataplane.flush_log();
        begun.elapsed()
    }

    /// Looks at the links, and lets the scheduler know of those that are gone; the rest follows when it converges, which is soon.
    pub(super) async fn glance(&mut self) {
        let mut problems = BTreeSet::new();
        if let Err(error) = self.look().await {
            debug!(%error, "cannot look at the links");
        } else if let Err(error) = self.fill_tables(&mut problems) {
            debug!(%error, "cannot let the scheduler know");
        }
    }

    /// Tells whether the programs are where they were attached, and the settings what they were set to.
    pub(super) fn stands(&self) -> bool {
        let settings = self.settings.iter().all(|sysctl| {
            std::fs::read_to_string(sysctl.path.file())
                .is_ok_and(|value| sysctl.value.accepts(value.trim()))
        });
        settings
            && self
                .attached
                .iter()
                .all(|attachment| self.dataplane.stands(attachment))
    }

    /// Waits until another set of IVCs is silent, or the MTU of a path is another.
    pub(super) async fn stirred(&mut self) {
        self.probing.changed().await;
    }

    /// Lets the scheduler know of that; returns whether the kernel's routes must follow.
    pub(super) fn follow(&mut self) -> bool {
        // Of the sizes, routes have the MTU and the MSS.
        let paths = |gateway: &Self| -> Vec<_> {
            let running = gateway.running.values();
            running
                .map(|tunnel| Path::of(tunnel, &gateway.links))
                .collect()
        };
        let before = paths(self);
        // What cannot be written now is a problem of the next round, which is soon.
        let mut problems = BTreeSet::new();
        let _ = self.fill_tables(&mut problems);
        paths(self) != before
    }

    /// Looks where data flows, as far as that matters for the keepalives.
    pub(super) fn feel(&self) {
        self.probing.feel(&self.tables, &self.slots);
    }

    /// The order matters: the scheduler hears of lost links first, and nothing is routed into the
    /// bundle device before its program is attached.
    async fn try_converge(&mut self, problems: &mut BTreeSet<String>) -> Result<(), DaemonError> {
        let facts = self.look().await?;
        self.fill_tables(problems)?;
        let facts = self.ensure_bundle(facts, problems).await?;
        self.attach(&facts, problems);
        let bundle = facts.get(&vpn::bundle_device().name).map(|link| link.index);
        let engine = self.engine.ensure(self.reconciler.netlink(), bundle).await;
        let engine = engine.unwrap_or_else(|error| {
            problems.insert(format!("Withy's own ESP engine has no device: {error}"));
            vpn::Engine::Closed
        });
        let desired = vpn::desired(
            &self.working,
            &self.running,
            &self.links,
            &self.slots,
            engine,
            facts.values(),
        );
        match desired {
            Ok(desired) => {
                let outcome = self.reconciler.reconcile(&desired).await?;
                self.settings = settings(&desired);
                for step in &outcome.applied {
                    info!("{step}");
                }
                for failure in outcome.failed {
                    if failure.is_for_want_of_fq() {
                        info!("this kernel has no fq: packets of links leave as they come");
                        self.fq = false;
                    } else {
                        problems.insert(failure.to_string());
                    }
                }
                problems.extend(self.engine.set(&self.running));
                self.engine.tidy(self.reconciler.netlink()).await?;
            }
            Err(error) => {
                problems.insert(error.to_string());
            }
        }
        Ok(())
    }

    /// Looks at the interfaces, and notes what has become of the links.
    async fn look(&mut self) -> Result<Facts, NetlinkError> {
        let facts = self.reconciler.netlink().link_facts().await?;
        let out_of_use = self.departing.and(self.disabled.links());
        let links = link::resolve(&self.working.links, &facts, &out_of_use, self.fq);
        for (name, view) in &links {
            let before = self.links.get(name);
            if before.is_none_or(|before| before.state != view.state) {
                self.since.insert(name.clone(), now());
            }
            if before.is_none_or(|before| !before.is_as(view)) {
                self.events.tell(What::Link {
                    link: name.to_string(),
                    state: view.state,
                    address: view.address,
                    next_hop: view.next_hop,
                });
            }
        }
        self.links = links;
        Ok(facts)
    }

    fn fill_tables(&mut self, problems: &mut BTreeSet<String>) -> Result<(), DataplaneError> {
        self.probing.size(&mut self.running, &self.links);
        self.probing.split(&mut self.running);
        let contents = bundle::contents(
            &self.working,
            &self.running,
            &self.links,
            &self.probing.known(&self.running, &self.impaired),
            &mut self.slots,
        );
        self.slots.forget_found();
        self.probing
            .set(&self.working, &self.running, &self.links, &self.slots);
        for slot in contents.fresh {
            self.tables.clear_counters(slot)?;
        }
        self.tables.set_svcs(&contents.svcs)?;
        self.tables.set_ivcs(&contents.ivcs)?;
        // Who looks for classes finds them.
        self.tables.set_classes(&contents.classes)?;
        self.tables.set_subnets(&contents.subnets)?;
        problems.extend(contents.refused);
        Ok(())
    }

    /// Makes the bundle device, and looks again if that changed anything.
    async fn ensure_bundle(
        &mut self,
        facts: Facts,
        problems: &mut BTreeSet<String>,
    ) -> Result<Facts, ReconcileError> {
        let outcome = self.reconciler.ensure_bundle(&vpn::bundle_device()).await?;
        problems.extend(outcome.failed.iter().map(ToString::to_string));
        if outcome.applied.is_empty() {
            return Ok(facts);
        }
        for step in &outcome.applied {
            info!("{step}");
        }
        Ok(self.reconciler.netlink().link_facts().await?)
    }

    fn attach(&mut self, facts: &Facts, problems: &mut BTreeSet<String>) {
        let wanted = attachments::wanted(&self.working, &self.links, facts);
        let list: Vec<_> = wanted
            .iter()
            .map(|(_, attachment)| attachment.clone())
            .collect();
        let results = self
            .dataplane
            .attach(&list, &self.directories.clsact_notes());
        self.receive.clear();
        self.attached.clear();
        for ((link, attachment), result) in wanted.into_iter().zip(results) {
            match result {
                Ok(attached) => {
                    if attached == Attached::Tcx {
                        self.attached.push(attachment);
                    }
                    if let Some(link) = link {
                        self.receive.insert(link, attached.word());
                    }
                }
                Err(error) => {
                    problems.insert(error.to_string());
                }
            }
        }
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

    /// Tells how everything is.
    pub(super) fn status(&self, negotiation: &Negotiation) -> Response {
        let view = report::View {
            config: &self.working,
            running: &self.running,
            links: &self.links,
            since: &self.since,
            receive: &self.receive,
            tables: &self.tables,
            silent: &self.probing.mute(&self.running, &self.impaired),
            remote_links: &self.remote_links,
            reports: &self.probing.reports(&self.running),
            estimates: &self.probing.estimates(),
            splittings: &self.probing.splittings(),
            recent: &self
                .recent
                .carried(pulse::now(), &self.bytes())
                .unwrap_or_default(),
            rejected: self.probing.rejected(),
            engine: &self.engine.report(),
            started: self.started,
            now: now(),
            problems: self.problems.list(),
            refused: negotiation.refused(),
            troubles: negotiation.troubles(),
        };
        match report::status(&view, &self.slots) {
            Ok(status) => Response::Status(Box::new(status)),
            Err(error) => Response::Failed(error.to_string()),
        }
    }

    /// Pings the IVCs of a tunnel, or those of one link.
    ///
    /// # Errors
    ///
    /// There are none, or it is to be done too often or too seldom.
    pub(super) fn ping(
        &self,
        tunnel: &str,
        link: Option<&str>,
        count: Option<u32>,
        interval: Duration,
    ) -> Result<mpsc::Receiver<Response>, String> {
        let ivcs = self.paths(tunnel, link)?;
        ping::start(self.probing.pinger(), ivcs, count, interval)
    }

    /// Loads a tunnel, or each IVC of a link alone, to see what it carries.
    ///
    /// # Errors
    ///
    /// There is none, or it is to take too long.
    pub(super) fn speedtest(
        &self,
        (tunnel, link): (&str, Option<&str>),
        directions: &[Direction],
        seconds: u16,
    ) -> Result<mpsc::Receiver<Response>, String> {
        let ivcs = self.paths(tunnel, link)?;
        let target = |id: &IvcId, only| Target { tunnel: id.0, only };
        let parts = if let (None, Some((id, _))) = (link, ivcs.first()) {
            vec![(target(id, None), ivcs)]
        } else {
            let ivcs = ivcs.into_iter();
            ivcs.map(|(id, shown)| (target(&id, Some(id.clone())), vec![(id, shown)]))
                .collect()
        };
        let plan = speed::Plan {
            parts,
            directions: directions.to_vec(),
            seconds,
        };
        speed::start(self.probing.pinger(), plan)
    }

    /// The IVCs of a tunnel, or those of one link, and how they are shown.
    fn paths(&self, tunnel: &str, link: Option<&str>) -> Result<Vec<(IvcId, PingedIvc)>, String> {
        let ivcs = paths::of(&self.config, &self.running, tunnel, link)?;
        let ivcs = ivcs.into_iter().map(|(id, ivc)| {
            let shown = PingedIvc {
                link: ivc.link.to_string(),
                remote: ivc.remote,
                remote_link: self.remote_links.get(&id).cloned(),
            };
            (id, shown)
        });
        Ok(ivcs.collect())
    }

    /// Hands out the keys of all security associations.
    pub(super) fn keys(&self) -> Response {
        Response::Keys(keys::of(&self.running))
    }

    /// Tells which security associations there are.
    pub(super) async fn associations(&self) -> Response {
        if !self.engine.is_kernel() {
            let usage = |direction, _, spi| self.engine.usage(direction, spi);
            return Response::Associations(report::associations(&self.running, usage));
        }
        match self.netlink().associations().await {
            Ok(seen) => {
                let seen: BTreeMap<_, _> = seen.into_iter().collect();
                let usage = |_, destination, spi| Some(seen.get(&(destination, spi))?.usage);
                Response::Associations(report::associations(&self.running, usage))
            }
            Err(error) => Response::Failed(error.to_string()),
        }
    }
}

/// The settings among what should be.
fn settings(desired: &Desired) -> Vec<Sysctl> {
    desired
        .iter()
        .filter_map(|(_, object)| match object {
            Object::Sysctl(sysctl) => Some(sysctl.clone()),
            _ => None,
        })
        .collect()
}

/// The time in seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
