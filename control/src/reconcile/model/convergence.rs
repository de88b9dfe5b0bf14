//! From wherever the kernel is, the steps lead to where it should be, and harm nothing.

use proptest::{prelude::*, sample::Index};

use super::{generate::configuration, *};
use crate::reconcile::{Verdict, diff};

/// Something that happens behind Withy's back.
#[derive(Clone, Debug)]
enum Mishap {
    /// An object of Withy's is removed.
    Lost(Index),
    /// A bundle device is taken down.
    Down(Index),
    /// A setting that Withy has changed is changed again.
    Changed(Index),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        any::<Index>().prop_map(Mishap::Lost),
        any::<Index>().prop_map(Mishap::Down),
        any::<Index>().prop_map(Mishap::Changed),
    ]
}

impl Kernel {
    /// A kernel with things of others in it that are like Withy's.
    fn with_foreign(objects: &Desired) -> Self {
        let mut kernel = Self::default();
        for (key, object) in objects.iter() {
            let mut object = object.clone();
            match &mut object {
                Object::Route(route) if route.preferred_source.is_none() => route.table = 77,
                Object::Rule(rule) => rule.priority += 1000,
                Object::Association(association) => {
                    association.spi = Spi::new(association.spi.get() + 1000).expect("legal");
                }
                Object::Policy(policy) => {
                    policy.destination = "172.16.0.0/12".parse().expect("legal");
                }
                _ => continue,
            }
            // Bundle devices come and go, and others' things with them.
            let on_foreign_device = match &object {
                Object::Route(route) => route
                    .device()
                    .is_none_or(|device| FOREIGN_DEVICES.contains(&device.as_str())),
                _ => true,
            };
            assert_ne!(object.key(), *key);
            if on_foreign_device {
                kernel.foreign.insert(object.key(), object);
            }
        }
        kernel
    }

    fn happen(&mut self, mishap: &Mishap) {
        match mishap {
            Mishap::Lost(index) if !self.ours.is_empty() => {
                let key = index
                    .get(&self.ours.keys().cloned().collect::<Vec<_>>())
                    .clone();
                self.ours.remove(&key);
            }
            Mishap::Down(index) if !self.bundles.is_empty() => {
                let name = index
                    .get(&self.bundles.keys().cloned().collect::<Vec<_>>())
                    .clone();
                self.bundles
                    .entry(name)
                    .and_modify(|bundle| bundle.near.up = false);
            }
            Mishap::Changed(index) if !self.settings.is_empty() => {
                let path = index
                    .get(&self.settings.keys().cloned().collect::<Vec<_>>())
                    .clone();
                self.settings.insert(path, "7".to_owned());
            }
            _ => {}
        }
    }

    /// Applies all steps; none may fail. Returns the states after each.
    fn run(&mut self, steps: &[Step]) -> Vec<Self> {
        steps
            .iter()
            .map(|step| {
                assert_eq!(self.apply(step), Ok(()), "{step} among {steps:#?}");
                self.clone()
            })
            .collect()
    }
}

/// The place of a step in the order of making.
fn stage(step: &Step) -> u8 {
    match step {
        Step::Create(object) | Step::Update(object) | Step::Recreate(object) => object.stage(),
        Step::Remove(Key::Bundle(_)) => 0,
        Step::Remove(Key::Sysctl(_)) => 1,
        Step::Remove(Key::Address(_)) => 2,
        Step::Remove(Key::Route { .. }) => 3,
        Step::Remove(Key::Rule(_)) => 4,
        Step::Remove(Key::Association { .. }) => 5,
        Step::Remove(Key::Policy { .. }) => 7,
        Step::Remove(Key::Pacer(_)) => 8,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_configuration_is_reached_from_every_other(
        foreign in configuration(),
        first in configuration(),
        mishaps in prop::collection::vec(mishap(), 0..6),
        second in configuration(),
    ) {
        let mut kernel = Kernel::with_foreign(&foreign);
        let (others, settings) = (kernel.foreign.clone(), kernel.settings.clone());
        kernel.run(&diff(&first, &kernel.observe(&first)));
        prop_assert_eq!(diff(&first, &kernel.observe(&first)), []);
        for mishap in &mishaps {
            kernel.happen(mishap);
        }

        kernel.run(&diff(&second, &kernel.observe(&second)));
        let leftover = diff(&second, &kernel.observe(&second));
        // The record of a setting whose interface has gone is forgotten in the next round.
        prop_assert!(leftover.iter().all(|step| matches!(step, Step::Remove(Key::Sysctl(_)))));
        kernel.run(&leftover);
        prop_assert_eq!(diff(&second, &kernel.observe(&second)), []);
        for (key, object) in second.iter() {
            let seen = kernel.observe(&second);
            prop_assert_eq!(seen.objects[key].compare(object), Verdict::Satisfied);
        }
        prop_assert_eq!(&kernel.foreign, &others);

        kernel.run(&diff(&Desired::empty(), &kernel.observe(&Desired::empty())));
        prop_assert!(kernel.ours.is_empty() && kernel.bundles.is_empty());
        prop_assert!(kernel.originals.is_empty());
        prop_assert_eq!(&kernel.foreign, &others);
        for (path, value) in &kernel.settings {
            prop_assert_eq!(value, settings.get(path).map_or(DEFAULT_SETTING, |value| value));
        }
    }

    #[test]
    fn what_stays_is_never_missing_on_the_way(first in configuration(), second in configuration()) {
        let mut kernel = Kernel::default();
        kernel.run(&diff(&first, &kernel.observe(&first)));
        let before = kernel.observe(&second);
        let steps = diff(&second, &before);
        // Removing an interface takes what is on it; other than that, only what cannot be changed
        // in place goes, and comes back in the same step.
        let replaces_device = steps.iter().any(|step| {
            matches!(step, Step::Recreate(Object::Bundle(_)) | Step::Remove(Key::Bundle(_)))
        });
        let bundles: Vec<InterfaceName> = kernel.bundles.keys().cloned().collect();
        let kept: Vec<Key> = kernel
            .ours
            .iter()
            .filter(|(key, object)| {
                let on_bundle = bundles.iter().any(|name| see(object).lives_on(key, name));
                second.contains(key) && !(replaces_device && on_bundle)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for state in kernel.run(&steps) {
            for key in &kept {
                prop_assert!(state.ours.contains_key(key), "{} in {:#?}", key, steps);
            }
        }
    }

    #[test]
    fn making_goes_up_the_stages_and_removing_down(
        first in configuration(),
        second in configuration(),
    ) {
        let mut kernel = Kernel::default();
        kernel.run(&diff(&first, &kernel.observe(&first)));
        let steps = diff(&second, &kernel.observe(&second));
        let obstacles =
            steps.iter().take_while(|step| matches!(step, Step::Remove(Key::Bundle(_)))).count();
        let rest = &steps[obstacles..];
        let (made, removed): (Vec<&Step>, Vec<&Step>) =
            rest.iter().partition(|step| !matches!(step, Step::Remove(_)));
        prop_assert!(rest.iter().take(made.len()).eq(made.iter().copied()), "{:#?}", steps);
        prop_assert!(made.is_sorted_by_key(|step| stage(step)), "{:#?}", steps);
        prop_assert!(removed.iter().rev().is_sorted_by_key(|step| stage(step)));
    }
}
