use std::collections::{BTreeMap, btree_map::Entry};

use super::{Key, objects::Object};

/// What the kernel's network configuration should be, as far as it is Withy's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    objects: BTreeMap<Key, Object>,
}

/// Two objects were asked for of which the kernel can hold only one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the kernel cannot hold both \"{first}\" and \"{second}\"")]
pub struct Contradiction {
    /// The one that was there.
    pub first: Box<Object>,
    /// The one that came later.
    pub second: Box<Object>,
}

impl Desired {
    /// Nothing at all: what `withy down` wants.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds an object. Adding it twice is the same as adding it once.
    ///
    /// # Errors
    ///
    /// There is another object with the same key; it stays.
    pub fn add(&mut self, object: Object) -> Result<(), Contradiction> {
        let object = as_stored(object);
        match self.objects.entry(object.key()) {
            Entry::Vacant(vacant) => {
                vacant.insert(object);
                Ok(())
            }
            Entry::Occupied(there) if *there.get() == object => Ok(()),
            Entry::Occupied(there) => Err(Contradiction {
                first: Box::new(there.get().clone()),
                second: Box::new(object),
            }),
        }
    }

    /// Whether an object with this key is wanted.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    /// All objects, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }
}

/// Brings an object into the form in which the kernel keeps it, so that it compares as equal when
/// it is read back: networks without host bits, metrics within their limits.
fn as_stored(mut object: Object) -> Object {
    match &mut object {
        Object::Route(route) => {
            route.destination = route.destination.trunc();
            route.metrics = route.metrics.as_stored();
        }
        Object::Rule(rule) => rule.from = rule.from.trunc(),
        Object::Policy(policy) => {
            policy.source = policy.source.trunc();
            policy.destination = policy.destination.trunc();
        }
        Object::Bundle(_)
        | Object::Sysctl(_)
        | Object::Address(_)
        | Object::Association(_)
        | Object::Pacer(_) => {}
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::objects::{Sysctl, SysctlPath};

    #[test]
    fn one_key_holds_one_object() {
        let forwarding = |value| {
            let path = SysctlPath::new("net/ipv4/ip_forward").expect("legal");
            Object::Sysctl(Sysctl::exactly(path, value))
        };
        let mut desired = Desired::empty();
        assert_eq!(desired.add(forwarding(1)), Ok(()));
        assert_eq!(desired.add(forwarding(1)), Ok(()));
        let error = desired.add(forwarding(0)).expect_err("two values");
        assert_eq!(
            error.to_string(),
            "the kernel cannot hold both \"sysctl net/ipv4/ip_forward = 1\" and \
             \"sysctl net/ipv4/ip_forward = 0\""
        );
        assert_eq!(desired.iter().count(), 1);
    }
}
