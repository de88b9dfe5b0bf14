//! Which IVCs are bonded: a packet goes by whichever of them it arrives by first, and so all wait for the slowest.

use super::{Confidence, Estimate};

/// A link may delay packets by a second longer if it adds this part to what those that are nearer carry.
const WORTH: f64 = 0.5;
/// For as many seconds of latency more, links that are all further away must carry twice as much as the near ones to be bonded in their stead.
const FAR: f64 = 0.1;
/// And that by so much, whether it is to be or has been so.
const STEADY: f64 = 1.3;

/// What counts of an IVC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<K> {
    key: K,
    /// Against the other side's clock.
    latency: f64,
    rate: f64,
    /// What it is hoped to carry.
    hope: f64,
    room: f64,
}

/// The bonded IVCs: the nearest first.
#[derive(Clone, Debug)]
pub(super) struct Group<K>(Vec<K>);

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Clone> Group<K> {
    /// Finds out which are to be bonded, of those of which something is known.
    pub(super) fn find<'e>(&self, known: impl Iterator<Item = (&'e K, &'e Estimate)>) -> Self
    where
        K: 'e,
    {
        let ivcs = candidates(known);
        let (mut best, mut found) = (0.0, &ivcs[..0]);
        for from in 0..ivcs.len() {
            let group = worth_waiting(&ivcs[from..]);
            let value = self.value(group, ivcs[from].latency - ivcs[0].latency);
            // Nearer ones are taken where it makes little difference.
            if found.is_empty() || value > best * STEADY {
                (best, found) = (value, group);
            }
        }
        Self(found.iter().map(|ivc| ivc.key.clone()).collect())
    }

    /// What a group that is so much further away than the nearest IVC is worth.
    fn value(&self, group: &[Candidate<K>], further: f64) -> f64 {
        let carried: f64 = group.iter().map(|ivc| ivc.rate).sum();
        let before = self.0.first() == group.first().map(|ivc| &ivc.key);
        let steady = if before { STEADY } else { 1.0 };
        carried / (1.0 + further / FAR) * steady
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.0.contains(key)
    }
}

/// Those of which something is known, the nearest first.
fn candidates<'e, K: Ord + Clone + 'e>(
    known: impl Iterator<Item = (&'e K, &'e Estimate)>,
) -> Vec<Candidate<K>> {
    let mut ivcs: Vec<_> = known
        .map(|(key, ivc)| Candidate {
            key: key.clone(),
            latency: ivc.latency,
            rate: ivc.rate,
            hope: match ivc.confidence {
                Confidence::Unknown => f64::INFINITY,
                Confidence::Measured | Confidence::Old => ivc.rate,
            },
            room: ivc.room,
        })
        .collect();
    // What is not known yet may be as fast as any.
    let fastest = ivcs.iter().map(|ivc| ivc.rate).fold(0.0, f64::max);
    for ivc in &mut ivcs {
        ivc.hope = ivc.hope.min(fastest);
    }
    ivcs.sort_by(|a, b| a.latency.total_cmp(&b.latency));
    ivcs
}

/// Those that are not further away than the furthest that is worth to wait for.
fn worth_waiting<K>(ivcs: &[Candidate<K>]) -> &[Candidate<K>] {
    let (mut level, mut sum, mut full) = (0.0, 0.0, f64::INFINITY);
    let mut count = 0;
    for (at, ivc) in ivcs.iter().enumerate() {
        // By then the others' queues have overflowed.
        let late = ivc.latency > full;
        let worth = ivc.hope >= sum * (ivc.latency - level) * WORTH;
        if count == 0 || worth && !late {
            (level, sum, full) = (
                ivc.latency,
                sum + ivc.hope,
                full.min(ivc.latency + ivc.room),
            );
            count = at + 1;
        }
    }
    &ivcs[..count]
}
