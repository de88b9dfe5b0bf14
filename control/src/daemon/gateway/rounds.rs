//! The step from what is to what should be, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tracing::{debug, info};

use super::{
    super::{DaemonError, attachments},
    Gateway, now,
};
use crate::{
    api::event::What,
    bundle,
    dataplane::{Attached, DataplaneError},
    kernel::{facts::LinkFacts, netlink::NetlinkError},
    link,
    reconcile::{
        Desired, ReconcileError,
        objects::{InterfaceName, Object, Sysctl},
    },
    vpn::{self, Path},
};

type Facts = BTreeMap<InterfaceName, LinkFacts>;

impl Gateway {
    /// Brings everything to the stated condition as far as possible; returns how long it took.
    pub(in crate::daemon) async fn converge(&mut self) -> Duration {
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
    pub(in crate::daemon) async fn glance(&mut self) {
        let mut problems = BTreeSet::new();
        if let Err(error) = self.look().await {
            debug!(%error, "cannot look at the links");
        } else if let Err(error) = self.fill_tables(&mut problems) {
            debug!(%error, "cannot let the scheduler know");
        }
    }

    /// Tells whether the programs are where they were attached, and the settings what they were set to.
    pub(in crate::daemon) fn stands(&self) -> bool {
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

    /// Lets the scheduler know of that; returns whether the kernel's routes must follow.
    pub(in crate::daemon) fn follow(&mut self) -> bool {
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
