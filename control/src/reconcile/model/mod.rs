//! A kernel of a few hundred lines, to which steps are applied in property tests.
//!
//! It knows what the real one does: what needs what, what vanishes with what, and that a key holds
//! one object.

mod convergence;
mod generate;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BundleEnd, Desired, Key, Observed, Seen, SeenAssociation, SeenBundle, SeenKey, SeenPacer,
    SeenSysctl, Step, objects::*,
};
use crate::api::status::SaUsage;

/// Interfaces that are always there and belong to others.
const FOREIGN_DEVICES: [&str; 2] = ["eth0", "eth1"];
/// What a setting is before anyone changes it.
const DEFAULT_SETTING: &str = "0";

/// What the kernel holds.
#[derive(Clone, Debug, Default)]
struct Kernel {
    bundles: BTreeMap<InterfaceName, SeenBundle>,
    /// Withy's objects, except bundle devices and settings.
    ours: BTreeMap<Key, Object>,
    /// Those of others, by the same keys.
    foreign: BTreeMap<Key, Object>,
    settings: BTreeMap<SysctlPath, String>,
    originals: BTreeMap<SysctlPath, String>,
}

/// Why a step failed.
#[derive(Debug, PartialEq)]
enum Refusal {
    Exists,
    Missing,
    NoDevice,
    NoSource,
}

impl Kernel {
    fn observe(&self, desired: &Desired) -> Observed {
        let mut objects: BTreeMap<Key, Seen> = self
            .bundles
            .iter()
            .map(|(name, bundle)| (Key::Bundle(name.clone()), Seen::Bundle(bundle.clone())))
            .collect();
        objects.extend(
            self.ours
                .iter()
                .map(|(key, object)| (key.clone(), see(object))),
        );
        let wanted = desired.iter().filter_map(|(key, _)| match key {
            Key::Sysctl(path) => Some(path),
            _ => None,
        });
        for path in wanted.chain(self.originals.keys()) {
            let seen = SeenSysctl {
                current: self.read(path),
                original: self.originals.get(path).cloned(),
            };
            objects.insert(Key::Sysctl(path.clone()), Seen::Sysctl(seen));
        }
        Observed { objects }
    }

    fn apply(&mut self, step: &Step) -> Result<(), Refusal> {
        match step {
            Step::Create(object) | Step::Update(object @ Object::Sysctl(_)) => self.create(object),
            Step::Update(Object::Bundle(bundle)) => {
                let seen = self.bundles.get_mut(&bundle.name).ok_or(Refusal::Missing)?;
                *seen = configured(bundle);
                Ok(())
            }
            Step::Update(object) => {
                self.ours.remove(&object.key()).ok_or(Refusal::Missing)?;
                self.create(object)
            }
            Step::Recreate(object) => {
                self.remove(&object.key())?;
                self.create(object)
            }
            Step::Remove(key) => self.remove(key),
        }
    }

    fn create(&mut self, object: &Object) -> Result<(), Refusal> {
        match object {
            Object::Bundle(bundle) => {
                if self.has_device(&bundle.name) || self.has_device(&bundle.peer) {
                    return Err(Refusal::Exists);
                }
                self.bundles.insert(bundle.name.clone(), configured(bundle));
                return Ok(());
            }
            Object::Sysctl(sysctl) => {
                let before = self.read(&sysctl.path).ok_or(Refusal::Missing)?;
                self.originals.entry(sysctl.path.clone()).or_insert(before);
                self.settings
                    .insert(sysctl.path.clone(), sysctl.value.text());
                return Ok(());
            }
            Object::Address(Address { device, .. }) | Object::Pacer(Pacer { device })
                if !self.has_device(device) =>
            {
                return Err(Refusal::NoDevice);
            }
            Object::Route(route) => {
                if route
                    .device()
                    .is_some_and(|device| !self.has_device(device))
                {
                    return Err(Refusal::NoDevice);
                }
                let source = route.preferred_source;
                if source.is_some_and(|source| !self.addresses().contains(&source)) {
                    return Err(Refusal::NoSource);
                }
            }
            _ => {}
        }
        let key = object.key();
        if self.ours.contains_key(&key) || self.foreign.contains_key(&key) {
            return Err(Refusal::Exists);
        }
        self.ours.insert(key, object.clone());
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), Refusal> {
        match key {
            Key::Bundle(name) => {
                let bundle = self.bundles.remove(name).ok_or(Refusal::Missing)?;
                self.device_is_gone(name);
                if let Some((peer, _)) = bundle.peer {
                    self.device_is_gone(&peer);
                }
            }
            Key::Sysctl(path) => {
                let original = self.originals.remove(path).ok_or(Refusal::Missing)?;
                if self.settings.contains_key(path) {
                    self.settings.insert(path.clone(), original);
                }
            }
            _ => {
                self.ours.remove(key).ok_or(Refusal::Missing)?;
            }
        }
        Ok(())
    }

    /// Takes away what lives on an interface.
    fn device_is_gone(&mut self, device: &InterfaceName) {
        let stays = |key: &Key, object: &Object| match object {
            Object::Route(route) => route.device() != Some(device),
            _ => !key.lives_on(device),
        };
        self.ours.retain(|key, object| stays(key, object));
        self.foreign.retain(|key, object| stays(key, object));
        self.settings.retain(|path, _| !path.belongs_to(device));
    }

    fn has_device(&self, device: &InterfaceName) -> bool {
        FOREIGN_DEVICES.contains(&device.as_str())
            || self.bundles.iter().any(|(name, bundle)| {
                name == device || bundle.peer.as_ref().is_some_and(|(peer, _)| peer == device)
            })
    }

    fn addresses(&self) -> BTreeSet<std::net::Ipv4Addr> {
        self.ours
            .keys()
            .chain(self.foreign.keys())
            .filter_map(|key| match key {
                Key::Address(address) => Some(address.address.addr()),
                _ => None,
            })
            .collect()
    }

    /// Reads a setting; those of interfaces exist as long as the interface.
    fn read(&self, path: &SysctlPath) -> Option<String> {
        let text = path.to_string();
        let device = text
            .strip_prefix("net/ipv4/conf/")
            .and_then(|rest| rest.split('/').next());
        let exists = device.is_none_or(|device| {
            InterfaceName::new(device).is_ok_and(|device| self.has_device(&device))
        });
        let value = self
            .settings
            .get(path)
            .map_or(DEFAULT_SETTING, String::as_str);
        exists.then(|| value.to_owned())
    }
}

/// Gathers objects; of those with equal keys the first stays.
fn objects_of(objects: impl IntoIterator<Item = Object>) -> Desired {
    let mut desired = Desired::empty();
    for object in objects {
        // A contradiction leaves the first.
        let _ = desired.add(object);
    }
    desired
}

fn configured(bundle: &BundleDevice) -> SeenBundle {
    let end = BundleEnd {
        mtu: bundle.mtu.bytes(),
        up: true,
        arp: false,
        aliased: true,
        link_local: false,
    };
    SeenBundle {
        near: end,
        peer: Some((bundle.peer.clone(), end)),
    }
}

fn see(object: &Object) -> Seen {
    match object {
        Object::Address(_) => Seen::Address,
        Object::Rule(_) => Seen::Rule,
        Object::Pacer(_) => Seen::Pacer(SeenPacer { as_made: true }),
        Object::Route(route) => Seen::Route(route.clone()),
        Object::Policy(policy) => Seen::Policy(Some(policy.clone())),
        Object::Association(association) => Seen::Association(SeenAssociation {
            source: association.source,
            reqid: association.reqid,
            key: SeenKey::Known(association.key.clone()),
            direction: Some(association.direction),
            position: Position::default(),
            usage: SaUsage::default(),
        }),
        Object::Bundle(_) | Object::Sysctl(_) => unreachable!("kept elsewhere"),
    }
}
