//! What the IVCs have carried of late.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::bundle::IvcId;

/// How often it is to be noted what has been carried.
pub(super) const STEP: Duration = Duration::from_secs(1);
/// Over how long it is looked at.
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Sent.
    pub(crate) tx: u64,
    /// Received.
    pub(crate) rx: u64,
}

/// Counts at a moment.
type Sample = (Duration, BTreeMap<IvcId, Bytes>);

/// What the IVCs had carried, every now and then.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Sample>);

/// What has been carried in a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// The time.
    pub(crate) time: Duration,
    /// By IVC; those that were not known at its begin are missing.
    pub(crate) ivcs: BTreeMap<IvcId, Bytes>,
}

impl Recent {
    /// Takes note of the bytes that the IVCs have carried in all by `now`.
    pub(super) fn note(&mut self, now: Duration, counts: BTreeMap<IvcId, Bytes>) {
        let old = |sample: &Sample| now.saturating_sub(sample.0) >= WINDOW;
        // The newest of those that are old enough is where the window begins.
        while self.0.get(1).is_some_and(old) {
            self.0.pop_front();
        }
        self.0.push_back((now, counts));
    }

    /// What has been carried since about ten seconds ago, if anything is known of that time. `counts` is what has been carried in all by `now`.
    pub(super) fn carried(
        &self,
        now: Duration,
        counts: &BTreeMap<IvcId, Bytes>,
    ) -> Option<Carried> {
        let (begin, before) = self.0.front()?;
        let time = now.saturating_sub(*begin);
        let ivcs = counts.iter().filter_map(|(id, now)| {
            let before = before.get(id)?;
            // Counters begin anew where an IVC is made anew.
            let bytes = Bytes {
                tx: now.tx.saturating_sub(before.tx),
                rx: now.rx.saturating_sub(before.rx),
            };
            Some((id.clone(), bytes))
        });
        (time >= STEP).then(|| Carried {
            time,
            ivcs: ivcs.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(link: &str) -> IvcId {
        (
            [10, 255, 0, 2].into(),
            link.parse().unwrap(),
            [198, 51, 100, 1].into(),
        )
    }

    fn counts(all: &[(&str, u64, u64)]) -> BTreeMap<IvcId, Bytes> {
        let ivcs = all.iter().copied();
        ivcs.map(|(link, tx, rx)| (id(link), Bytes { tx, rx }))
            .collect()
    }

    #[test]
    fn what_was_carried_before_the_window_does_not_count() {
        let mut recent = Recent::default();
        for second in 0..60 {
            let carried = counts(&[("dsl", 1000 * second, 7), ("lte", 5_000_000, 10 * second)]);
            recent.note(Duration::from_secs(second), carried);
        }
        let now = counts(&[("dsl", 59_000, 7), ("lte", 5_000_000, 590)]);
        let carried = recent.carried(Duration::from_secs(59), &now).unwrap();
        assert_eq!(carried.time, Duration::from_secs(10));
        assert_eq!(carried.ivcs, counts(&[("dsl", 10_000, 0), ("lte", 0, 100)]));
        assert!(recent.0.len() <= 12);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut recent = Recent::default();
        let now = counts(&[("dsl", 5, 6), ("lte", 7, 8)]);
        assert_eq!(recent.carried(Duration::from_secs(9), &now), None);
        recent.note(Duration::from_secs(1), counts(&[("dsl", 3, 9)]));
        assert_eq!(recent.carried(Duration::from_millis(1900), &now), None);
        let carried = recent.carried(Duration::from_secs(3), &now).unwrap();
        assert_eq!(
            carried.ivcs,
            counts(&[("dsl", 2, 0)]),
            "lte is new, dsl has begun to count anew"
        );
    }
}
