//! The clocks of IVCs that have just got them: nobody has found out yet what these are worth.
//!
//! A clock is a slot's, and slots change their owners when IVCs come and go. What the former one's stands at is no queue of the new one's, whose queue
//! counts as empty until it is known.

use std::{collections::BTreeMap, sync::Arc};

use withy_common::maps::{Endpoint, Ivc, Svc};

/// What is to be added to the clocks of IVCs of which nothing is known, by the remote endpoint and the slot of their counters.
#[derive(Debug, Default)]
pub(super) struct Begun(BTreeMap<(Endpoint, u32), u64>);

impl Begun {
    /// An IVC has a clock now to which `shift` is to be added, in nanoseconds.
    pub(super) fn begin(&mut self, endpoint: Endpoint, counters: u32, shift: u64) {
        self.0.insert((endpoint, counters), shift);
    }

    /// Forgets the IVCs that are no more.
    pub(super) fn retain(&mut self, stated: &BTreeMap<Endpoint, Arc<Svc>>) {
        self.0.retain(|(endpoint, counters), _| {
            let svc = stated.get(endpoint);
            svc.is_some_and(|svc| svc.ivcs.iter().any(|ivc| is_of(ivc, *counters)))
        });
    }

    /// The SVC with these clocks.
    pub(super) fn shifted(&self, endpoint: Endpoint, mut svc: Svc) -> Svc {
        for ivc in svc.ivcs.iter_mut().filter(|ivc| ivc.remote != 0) {
            if let Some(shift) = self.0.get(&(endpoint, ivc.counters)) {
                ivc.shift_ns = *shift;
            }
        }
        svc
    }
}

fn is_of(ivc: &Ivc, counters: u32) -> bool {
    ivc.remote != 0 && ivc.counters == counters
}

/// The slots of an SVC that have another owner than before.
pub(super) fn taken_over(before: Option<&Svc>, svc: &Svc) -> impl Iterator<Item = usize> {
    let owner = |ivc: &Ivc| (ivc.remote, ivc.counters);
    let same = move |slot: usize, ivc: &Ivc| {
        before.is_some_and(|before| owner(&before.ivcs[slot]) == owner(ivc))
    };
    let taken = svc
        .ivcs
        .iter()
        .enumerate()
        .filter(move |(slot, ivc)| ivc.remote != 0 && !same(*slot, ivc));
    taken.map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use withy_common::maps::{MAX_IVCS, Split};

    use super::*;

    fn svc(owners: &[u32]) -> Svc {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (ivc, owner) in ivcs.iter_mut().zip(owners) {
            (ivc.remote, ivc.counters) = (100 + owner, *owner);
        }
        Svc::new(1, 0, Split::Mtu, 0, ivcs)
    }

    #[test]
    fn slots_are_taken_over_when_ivcs_go_and_come() {
        let taken = |before: Option<&[u32]>, now: &[u32]| {
            let before = before.map(svc);
            taken_over(before.as_ref(), &svc(now)).collect::<Vec<_>>()
        };
        assert_eq!(taken(None, &[5, 6]), [0, 1]);
        assert_eq!(taken(Some(&[5, 6]), &[5, 6]), [0; 0]);
        assert_eq!(taken(Some(&[5, 6, 7]), &[6, 7]), [0, 1]);
        assert_eq!(taken(Some(&[5, 6]), &[5, 6, 7]), [2]);
    }

    #[test]
    fn a_new_owner_finds_its_queue_empty() {
        let mut begun = Begun::default();
        begun.begin(9, 6, 77);
        let shifts = |begun: &Begun| begun.shifted(9, svc(&[5, 6])).ivcs.map(|ivc| ivc.shift_ns);
        assert_eq!(shifts(&begun)[..3], [0, 77, 0]);
        begun.retain(&[(9, Arc::new(svc(&[5, 6])))].into());
        assert_eq!(shifts(&begun)[1], 77);
        begun.retain(&[(9, Arc::new(svc(&[5])))].into());
        assert_eq!(shifts(&begun)[1], 0);
    }
}
