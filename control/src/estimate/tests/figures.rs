//! What came of a simulation.

use std::collections::VecDeque;

use super::{
    link::{MS, Model, Time},
    senders::Source,
    world::{Figures, PERIOD, World},
};

/// How far back it is looked whether a packet was overtaken.
const MEMORY: usize = 400;

/// A world at its end.
pub(super) struct Outcome {
    pub(super) world: World,
    models: Vec<Model>,
}

impl Outcome {
    pub(super) fn new(mut world: World, models: &[Model]) -> Self {
        // Those that are held are noted when they leave.
        world.packets.sort_by_key(|packet| packet.0);
        Self {
            world,
            models: models.to_vec(),
        }
    }

    fn periods(&self, link: usize, from: Time, until: Time) -> &[Figures] {
        let periods = &self.world.figures[link];
        let end = ((until / PERIOD) as usize).min(periods.len());
        &periods[((from / PERIOD) as usize).min(end)..end]
    }

    /// How much of what the links could carry arrived, from 0 to 1.
    pub(super) fn part(&self, from: Time, until: Time) -> f64 {
        let links = 0..self.models.len();
        let arrived = links.flat_map(|link| self.periods(link, from, until));
        let arrived: u64 = arrived.map(|figures| figures.bytes).sum();
        let could = self.models.iter().map(|model| model.capacity(from, until));
        arrived as f64 / could.sum::<f64>()
    }

    /// How much arrived by one of them, in Mbit/s.
    pub(super) fn rate(&self, link: usize, from: Time, until: Time) -> f64 {
        let arrived = self.periods(link, from, until).iter();
        let arrived: u64 = arrived.map(|figures| figures.bytes).sum();
        arrived as f64 * 8e3 / (until - from) as f64
    }

    /// How long packets waited for others on a link at most, in milliseconds.
    pub(super) fn waits(&self, link: usize, from: Time, until: Time) -> u64 {
        let waits = self
            .periods(link, from, until)
            .iter()
            .map(|figures| figures.waits / MS);
        waits.max().unwrap_or(0)
    }

    /// For how long some packets waited longer than so many milliseconds on a link, in milliseconds.
    pub(super) fn waits_longer(&self, than: u64, link: usize, from: Time, until: Time) -> u64 {
        let long = |figures: &&Figures| figures.waits > than * MS;
        let periods = self.periods(link, from, until).iter().filter(long);
        periods.count() as u64 * PERIOD / MS
    }

    /// Of the longest that packets waited in each period on any link, so many hundredths are below this, in milliseconds.
    pub(super) fn waits_below(&self, hundredths: usize, from: Time, until: Time) -> u64 {
        let links = 0..self.models.len();
        let periods = links.flat_map(|link| self.periods(link, from, until));
        let mut waits: Vec<_> = periods.map(|figures| figures.waits / MS).collect();
        waits.sort_unstable();
        waits
            .get(waits.len() * hundredths / 100)
            .copied()
            .unwrap_or(0)
    }

    /// After how many milliseconds of a load that began at `from` the links carried nine tenths of what they can for the first time.
    pub(super) fn reached(&self, from: Time, until: Time) -> Option<u64> {
        let step = 4 * PERIOD;
        let steps = (from..until).step_by(step as usize);
        let reached = steps
            .into_iter()
            .find(|at| self.part(*at, at + step) >= 0.9)?;
        Some((reached + step - from) / MS)
    }

    /// By how many packets that were sent later all but a hundredth of those sent from a moment on were overtaken at most.
    pub(super) fn overtaken(&self, from: Time) -> usize {
        let packets = &self.world.packets;
        let packets = &packets[packets.partition_point(|packet| packet.0 < from)..];
        let mut order: Vec<_> = (0..packets.len()).collect();
        order.sort_by_key(|number| (packets[*number].1, *number));
        let (mut before, mut newest) = (VecDeque::new(), 0);
        let mut overtaken: Vec<_> = order
            .into_iter()
            .map(|number| {
                newest = newest.max(number);
                let by = if number == newest {
                    0
                } else {
                    before.iter().filter(|earlier| **earlier > number).count()
                };
                before.push_back(number);
                if before.len() == MEMORY {
                    before.pop_front();
                }
                by
            })
            .collect();
        overtaken.sort_unstable();
        overtaken
            .get(overtaken.len() * 99 / 100)
            .copied()
            .unwrap_or(0)
    }

    /// How often TCP took what was late for lost, and how often it slowed down.
    pub(super) fn mistakes(&self) -> (u64, u64) {
        let tcp = self.world.sources.iter().filter_map(|source| match source {
            Source::Stream(tcp) => Some((tcp.spurious, tcp.cuts)),
            Source::Constant { .. } => None,
        });
        tcp.fold((0, 0), |sum, tcp| (sum.0 + tcp.0, sum.1 + tcp.1))
    }
}
