use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};

use super::{
    Desired, Key, Observed, Seen, SeenKey, SeenPacer, SeenSysctl, Step, diff,
    objects::{BundleDevice, EspKey, Object, Position, SecurityAssociation, Spi},
};
use crate::kernel::{
    netlink::{Netlink, NetlinkError, find_addresses, find_bundles},
    sysctl::{SysctlError, Sysctls},
};

/// How far the sequence numbers of a security association are moved on when it is made anew with
/// the same key: more packets than can have left since they were last read. The other side takes
/// a leap of less than 2^32 (RFC 4303 appendix A2.2).
const SEQUENCE_LEAP: u64 = 1 << 24;

/// Brings the kernel's configuration to what it should be, and knows how to find out what it is.
///
/// It must be used from threads in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Reconciler {
    netlink: Netlink,
    sysctls: Sysctls,
    /// Keys and sequence numbers of the associations that were seen and are wanted. One that
    /// someone else removes continues where it was: the other side would take lower numbers for
    /// replays.
    positions: BTreeMap<(Ipv4Addr, Spi), (EspKey, Position)>,
}

/// Observation is impossible.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Settings cannot be read.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// One step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A setting cannot be changed.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// A step with the reason why it failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {error}")]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// The reason.
    #[source]
    pub error: StepError,
}

impl Failure {
    /// Whether the kernel has no queueing discipline that keeps departure times ("Specified qdisc kind is unknown").
    #[must_use]
    pub fn is_for_want_of_fq(&self) -> bool {
        let missing = |error: &NetlinkError| error.refused_with(rustix::io::Errno::NOENT);
        matches!(&self.step, Step::Create(Object::Pacer(_)))
            && matches!(&self.error, StepError::Netlink(error) if missing(error))
    }
}

/// What became of the steps.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were done, in order.
    pub applied: Vec<Step>,
    /// Those that failed. They stop no others, and are tried again with the next reconciliation.
    pub failed: Vec<Failure>,
}

impl Reconciler {
    /// Connects to the kernel, inside a tokio runtime with I/O enabled, and reads the record of
    /// changed settings from the state directory.
    ///
    /// # Errors
    ///
    /// A socket cannot be opened, or the state directory cannot be used.
    pub fn open(state_directory: &Path) -> Result<Self, ReconcileError> {
        Ok(Self {
            netlink: Netlink::open()?,
            sysctls: Sysctls::open(state_directory)?,
            positions: BTreeMap::new(),
        })
    }

    /// The connection to the kernel.
    #[must_use]
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Reads what there is.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub async fn observe(&mut self, desired: &Desired) -> Result<Observed, ReconcileError> {
        let netlink = &self.netlink;
        let links = netlink.links().await?;
        let mut objects = BTreeMap::new();
        for (name, bundle) in find_bundles(&links) {
            objects.insert(Key::Bundle(name), Seen::Bundle(bundle));
        }
        for address in find_addresses(&netlink.ipv4_addresses().await?, &links) {
            objects.insert(Key::Address(address), Seen::Address);
        }
        for route in netlink.routes(&links).await? {
            objects.insert(Object::Route(route.clone()).key(), Seen::Route(route));
        }
        for rule in netlink.rules().await? {
            objects.insert(Key::Rule(rule), Seen::Rule);
        }
        for ((destination, spi), seen) in netlink.associations().await? {
            if let SeenKey::Known(key) = &seen.key {
                self.positions
                    .insert((destination, spi), (key.clone(), seen.position));
            }
            objects.insert(
                Key::Association { destination, spi },
                Seen::Association(seen),
            );
        }
        for queue in netlink.root_queues().await? {
            if let (true, Some(link)) = (queue.is_ours(), links.get(&queue.index)) {
                let as_made = queue.is_as_made();
                objects.insert(
                    Key::Pacer(link.name.clone()),
                    Seen::Pacer(SeenPacer { as_made }),
                );
            }
        }
        for (key, policy) in netlink.policies().await? {
            objects.insert(key, Seen::Policy(policy));
        }
        self.observe_sysctls(desired, &mut objects)?;
        Ok(Observed { objects })
    }

    /// Computes the steps to what should be, and takes none.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub async fn plan(&mut self, desired: &Desired) -> Result<Vec<Step>, ReconcileError> {
        let observed = self.observe(desired).await?;
        Ok(diff(desired, &observed))
    }

    /// Brings the kernel's configuration to what should be. With [`Desired::empty`] it removes
    /// everything that Withy ever made, and restores all settings.
    ///
    /// # Errors
    ///
    /// A table cannot be read. Steps that fail are no error here: see [`Outcome`].
    pub async fn reconcile(&mut self, desired: &Desired) -> Result<Outcome, ReconcileError> {
        let steps = self.plan(desired).await?;
        Ok(self.apply(steps).await)
    }

    /// Makes or repairs the bundle device and changes nothing else, so that programs can be
    /// attached to it before anything is routed into it.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub async fn ensure_bundle(
        &mut self,
        bundle: &BundleDevice,
    ) -> Result<Outcome, ReconcileError> {
        let mut desired = Desired::empty();
        // The first object cannot contradict another.
        let _ = desired.add(Object::Bundle(bundle.clone()));
        let mut steps = self.plan(&desired).await?;
        steps.retain(|step| matches!(step.key(), Key::Bundle(_)));
        Ok(self.apply(steps).await)
    }

    fn observe_sysctls(
        &self,
        desired: &Desired,
        objects: &mut BTreeMap<Key, Seen>,
    ) -> Result<(), ReconcileError> {
        let wanted = desired.iter().filter_map(|(key, _)| match key {
            Key::Sysctl(path) => Some(path),
            _ => None,
        });
        for path in wanted.chain(self.sysctls.originals().keys()) {
            let seen = SeenSysctl {
                current: self.sysctls.read(path)?,
                original: self.sysctls.originals().get(path).cloned(),
            };
            objects.insert(Key::Sysctl(path.clone()), Seen::Sysctl(seen));
        }
        Ok(())
    }

    async fn apply(&mut self, steps: Vec<Step>) -> Outcome {
        let mut outcome = Outcome::default();
        for step in steps {
            let result = match &step {
                Step::Create(object) => self.create(object).await,
                Step::Update(object) => self.update(object).await,
                Step::Recreate(object) => match self.remove(&object.key()).await {
                    Ok(()) => self.create(object).await,
                    error => error,
                },
                Step::Remove(key) => self.remove(key).await.map(|()| self.forget(key)),
            };
            match result {
                Ok(()) => outcome.applied.push(step),
                Err(error) => outcome.failed.push(Failure { step, error }),
            }
        }
        outcome
    }

    async fn create(&mut self, object: &Object) -> Result<(), StepError> {
        match object {
            Object::Bundle(bundle) => self.netlink.create_bundle(bundle).await?,
            Object::Sysctl(sysctl) => self.sysctls.set(sysctl)?,
            Object::Address(address) => self.netlink.add_address(address).await?,
            Object::Route(route) => self.netlink.add_route(route).await?,
            Object::Rule(rule) => self.netlink.add_rule(rule).await?,
            Object::Association(association) => {
                let position = self.position_for(association);
                self.netlink.add_association(association, position).await?;
            }
            Object::Policy(policy) => self.netlink.add_policy(policy).await?,
            Object::Pacer(pacer) => self.netlink.add_pacer(pacer).await?,
        }
        Ok(())
    }

    async fn update(&mut self, object: &Object) -> Result<(), StepError> {
        match object {
            Object::Bundle(bundle) => self.netlink.configure_bundle(bundle).await?,
            Object::Route(route) => self.netlink.replace_route(route).await?,
            Object::Policy(policy) => self.netlink.replace_policy(policy).await?,
            Object::Pacer(pacer) => self.netlink.change_pacer(pacer).await?,
            // A setting is changed as it is set; the others have nothing that could differ.
            Object::Sysctl(_) | Object::Address(_) | Object::Rule(_) | Object::Association(_) => {
                self.create(object).await?;
            }
        }
        Ok(())
    }

    async fn remove(&mut self, key: &Key) -> Result<(), StepError> {
        let netlink = &self.netlink;
        match key {
            Key::Bundle(name) => netlink.remove_bundle(name).await?,
            Key::Sysctl(path) => self.sysctls.restore(path)?,
            Key::Address(address) => netlink.remove_address(address).await?,
            Key::Route {
                table,
                destination,
                priority,
            } => {
                netlink
                    .remove_route(*table, *destination, *priority)
                    .await?;
            }
            Key::Rule(rule) => netlink.remove_rule(rule).await?,
            Key::Association { destination, spi } => {
                netlink.remove_association(*destination, *spi).await?;
            }
            Key::Policy {
                direction,
                source,
                destination,
            } => {
                netlink
                    .remove_policy(*direction, *source, *destination)
                    .await?;
            }
            Key::Pacer(device) => netlink.remove_pacer(device).await?,
        }
        Ok(())
    }

    /// Drops what was remembered of an association that is no longer wanted.
    fn forget(&mut self, key: &Key) {
        if let Key::Association { destination, spi } = key {
            self.positions.remove(&(*destination, *spi));
        }
    }

    /// Where an association begins: at zero, unless one with the same key was seen before.
    fn position_for(&self, association: &SecurityAssociation) -> Position {
        match self
            .positions
            .get(&(association.destination, association.spi))
        {
            Some((key, last)) if *key == association.key => Position {
                sent: if last.sent == 0 {
                    0
                } else {
                    last.sent + SEQUENCE_LEAP
                },
                received: last.received,
            },
            _ => Position::default(),
        }
    }
}
