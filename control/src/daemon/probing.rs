//! What is probed, and what that tells of the IVCs.

mod keyring;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
};

use self::keyring::Keyring;
use super::{
    engine::Ties,
    events::Events,
    pulse::{self, Pinger, Plan, Pulse},
    sizes::{self, Sizes},
};
use crate::{
    bundle::{self, IvcId, Known, Slots},
    config::{Config, Resend, SplitPolicy},
    dataplane::{Keepalives, Meters, Svcs, Tables},
    estimate::Gauged,
    link::Links,
    liveness::Report,
    splitting::Splitting,
    vpn::RunningTunnels,
};

/// The probing of a gateway's IVCs.
pub(super) struct Probing {
    pulse: Pulse,
    keyring: Keyring,
    /// The path MTUs that an earlier run found, by the addresses of both ends.
    left: Sizes,
    /// The remote endpoints of the tunnels whose packets an earlier run split by choice.
    pieces: BTreeSet<Ipv4Addr>,
}

impl Probing {
    /// Begins with no IVC, and with what an earlier run found: path MTUs, and tunnels whose packets are worth splitting.
    ///
    /// # Errors
    ///
    /// The machine has no thread left, or no descriptors.
    pub(super) fn start(
        keepalives: (Keepalives, Meters, Svcs),
        ties: Option<Ties>,
        (left, pieces): (Sizes, BTreeSet<Ipv4Addr>),
        events: Events,
    ) -> io::Result<Self> {
        Ok(Self {
            pulse: Pulse::start(keepalives, ties, events)?,
            keyring: Keyring::default(),
            left,
            pieces,
        })
    }

    /// Lets the tunnels know which sizes their paths carry.
    pub(super) fn size(&self, running: &mut RunningTunnels, links: &Links) {
        sizes::apply(running, links, &self.pulse.liveness(), &self.left);
    }

    /// Lets the tunnels know whether their packets are to be split by choice.
    pub(super) fn split(&self, running: &mut RunningTunnels) {
        let splittings = self.pulse.splittings();
        for tunnel in running.values_mut() {
            let endpoint = tunnel.endpoints.remote;
            tunnel.pieces = match splittings.get(&endpoint) {
                Some(splitting) => splitting.choice.pieces,
                None => self.pieces.contains(&endpoint),
            };
        }
    }

    /// Learns what there is to probe.
    pub(super) fn set(
        &mut self,
        config: &Config,
        running: &RunningTunnels,
        links: &Links,
        slots: &Slots,
    ) {
        let owners = slots.owners();
        let mut plan = Plan {
            slots: owners
                .iter()
                .map(|(slot, id)| (id.clone(), *slot))
                .collect(),
            owners,
            keys: self.keyring.follow(running),
            pieces: self.pieces.clone(),
            ..Plan::default()
        };
        for (name, view) in links {
            if let (Some(interface), Some(address)) = (&view.interface, view.address) {
                plan.links
                    .insert(name.clone(), (interface.clone(), address));
            }
        }
        for (name, tunnel) in running {
            plan.tunnels.insert(tunnel.endpoints.remote, name.clone());
            if tunnel.resend == Resend::Auto {
                plan.resend.insert(tunnel.endpoints.remote);
            }
            if tunnel.split == SplitPolicy::Auto {
                plan.splits.insert(tunnel.endpoints.remote);
            }
            for ivc in &tunnel.ivcs {
                if let Some(terms) = sizes::terms(config, links, ivc) {
                    let id = bundle::ident(tunnel, ivc);
                    plan.caps.insert(id.clone(), bundle::cap(ivc));
                    plan.terms.insert(id, terms);
                }
            }
        }
        self.pulse.set(plan);
    }

    /// Waits until another set of IVCs is silent, or the MTU of a path is another.
    pub(super) async fn changed(&mut self) {
        self.pulse.changed().await;
    }

    /// Looks where data flows, as far as that matters for the keepalives.
    pub(super) fn feel(&self, tables: &Tables, slots: &Slots) {
        let sparing = self.pulse.liveness().sparing();
        let pieces = sparing.into_iter().filter_map(|id| {
            let counters = tables.counters(slots.ivc_of(&id)?).ok()?;
            Some((id, counters.tx.pieces + counters.rx.pieces))
        });
        let pieces: Vec<_> = pieces.collect();
        self.pulse.feel(&pieces);
    }

    /// The IVCs that carry no data: over which nothing comes, or has come yet, or which are `impaired`, that is, whose other end does not
    /// work. Where those would be all of a tunnel's, what the other side says does not count.
    pub(super) fn mute(
        &self,
        running: &RunningTunnels,
        impaired: &BTreeSet<IvcId>,
    ) -> BTreeSet<IvcId> {
        let unusable = self.pulse.liveness().unusable(ids(running));
        let mut mute = unusable.clone();
        for tunnel in running.values() {
            let ids = || tunnel.ivcs.iter().map(|ivc| bundle::ident(tunnel, ivc));
            if ids().any(|id| !unusable.contains(&id) && !impaired.contains(&id)) {
                mute.extend(ids().filter(|id| impaired.contains(id)));
            }
        }
        mute
    }

    /// What has been found out of IVCs that matters for the maps' contents.
    pub(super) fn known(&self, running: &RunningTunnels, impaired: &BTreeSet<IvcId>) -> Known {
        let estimates = self.pulse.estimates();
        let far = estimates
            .iter()
            .filter(|(_, gauged)| !gauged.standing.bonded);
        Known {
            silent: self.mute(running, impaired),
            far: far.map(|(id, _)| id.0).collect(),
        }
    }

    /// What keepalives tell of each IVC.
    pub(super) fn reports(&self, running: &RunningTunnels) -> BTreeMap<IvcId, Report> {
        let liveness = self.pulse.liveness();
        let now = pulse::now();
        ids(running)
            .filter_map(|id| Some((id.clone(), liveness.report(&id, now)?)))
            .collect()
    }

    /// What IVCs carry, as far as has been found out.
    pub(super) fn estimates(&self) -> BTreeMap<IvcId, Gauged> {
        self.pulse.estimates()
    }

    /// What comes of splitting the tunnels' packets, by their remote endpoints.
    pub(super) fn splittings(&self) -> BTreeMap<Ipv4Addr, Splitting> {
        self.pulse.splittings()
    }

    /// Who pings.
    pub(super) fn pinger(&self) -> Pinger {
        self.pulse.pinger()
    }

    /// How many keepalives were not believed.
    pub(super) fn rejected(&self) -> u64 {
        self.pulse.rejected()
    }
}

/// What the IVCs of the tunnels are known by.
fn ids(running: &RunningTunnels) -> impl Iterator<Item = IvcId> {
    running.values().flat_map(|tunnel| {
        let ivcs = tunnel.ivcs.iter();
        ivcs.map(|ivc| bundle::ident(tunnel, ivc))
    })
}
