//! Links that are taken out of the configuration, while something may be under way on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    config::{Config, Link, LinkName},
    vpn::RunningTunnels,
};

/// How long they stay at most: longer than it takes to leave IVCs in order.
const LIMIT: Duration = Duration::from_secs(3);

/// Links on their way out, with the time when they leave at the latest. They are out of use.
#[derive(Debug, Default)]
pub(super) struct Departing(BTreeMap<LinkName, (Link, Instant)>);

impl Departing {
    /// Learns of a configuration in the place of another. A link whose interface another link takes is gone at once.
    pub(super) fn learn(&mut self, old: &Config, new: &Config, now: Instant) {
        let lost = old.links.iter().map(|(name, link)| {
            let entry = (link.clone(), now + LIMIT);
            (name.clone(), entry)
        });
        // Those that are leaving already keep their time.
        for (name, entry) in lost {
            self.0.entry(name).or_insert(entry);
        }
        let taken = |link: &Link| {
            new.links
                .values()
                .any(|other| other.interface == link.interface)
        };
        self.0
            .retain(|name, (link, _)| !new.links.contains_key(name) && !taken(link));
    }

    /// Forgets those on which there is no IVC any more, or for which it is time; returns whether there were any.
    pub(super) fn expire(&mut self, running: &RunningTunnels, now: Instant) -> bool {
        let before = self.0.len();
        let used: BTreeSet<_> = running
            .values()
            .flat_map(|tunnel| tunnel.ivcs.iter().map(|ivc| &ivc.link))
            .collect();
        self.0
            .retain(|name, (_, until)| now < *until && used.contains(name));
        self.0.len() != before
    }

    /// Returns a configuration with these links.
    pub(super) fn join(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let links = self.0.iter();
        config
            .links
            .extend(links.map(|(name, (link, _))| (name.clone(), link.clone())));
        config
    }

    /// The links among which `out_of_use` and these are.
    pub(super) fn and(&self, out_of_use: &BTreeSet<LinkName>) -> BTreeSet<LinkName> {
        self.0.keys().chain(out_of_use).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::{self, Setting},
        vpn::{IvcMtu, Running, RunningIvc},
    };

    /// A configuration with links, each of an interface.
    fn config(links: &[(&str, &str)]) -> Config {
        let link = |(name, interface): &(&str, &str)| {
            format!("  {name}: {{interface: {interface}, rate: 1 Mbit/s, latency: 1 ms}}\n")
        };
        let text = format!(
            "gateway: {{name: a, lan: [lan0]}}\nlinks:\n{}bundles: {{}}\ntunnels: {{}}\n",
            links.iter().map(link).collect::<String>()
        );
        config::parse(&text, "test", Path::new("")).unwrap().config
    }

    /// A tunnel with an IVC on each link.
    fn running(config: &Config) -> RunningTunnels {
        let ivc = |(name, link): (&LinkName, &Link)| RunningIvc {
            link: name.clone(),
            remote: [198, 51, 100, 1].into(),
            rate: link.rate.up,
            latency: link.latency,
            mtu: IvcMtu::Fixed(config::Mtu::new(1500).unwrap()),
        };
        let tunnel = Running {
            ivcs: config.links.iter().map(ivc).collect(),
            ..Running::bare([10, 255, 0, 1].into(), [10, 255, 0, 2].into())
        };
        assert_eq!(config.links["dsl"].mtu, Setting::Auto);
        [("t".parse().unwrap(), tunnel)].into()
    }

    fn names(config: &Config) -> Vec<&str> {
        config.links.keys().map(LinkName::as_str).collect()
    }

    /// A configuration with two links, the one with the first of them that takes its place, and when.
    fn without_lte() -> (Config, Config, Instant, Departing) {
        let (old, new) = (
            config(&[("dsl", "eth1"), ("lte", "eth2")]),
            config(&[("dsl", "eth1")]),
        );
        let now = Instant::now();
        let mut departing = Departing::default();
        departing.learn(&old, &new, now);
        (old, new, now, departing)
    }

    #[test]
    fn a_lost_link_stays_out_of_use_until_its_ivcs_are_gone() {
        let (old, new, now, mut departing) = without_lte();
        assert_eq!(names(&departing.join(&new)), ["dsl", "lte"]);
        assert_eq!(
            departing.and(&BTreeSet::new()),
            ["lte".parse().unwrap()].into()
        );
        assert!(!departing.expire(&running(&old), now));
        assert!(departing.expire(&running(&new), now));
        assert_eq!(names(&departing.join(&new)), ["dsl"]);
    }

    #[test]
    fn a_lost_link_does_not_stay_for_ever() {
        let (old, new, now, mut departing) = without_lte();
        departing.learn(&departing.join(&new), &new, now + LIMIT / 2);
        assert!(departing.expire(&running(&old), now + LIMIT));
    }

    #[test]
    fn what_another_link_needs_is_free_at_once() {
        let old = config(&[("dsl", "eth1"), ("lte", "eth2")]);
        let mut departing = Departing::default();
        let renamed = config(&[("dsl", "eth1"), ("mobile", "eth2")]);
        departing.learn(&old, &renamed, Instant::now());
        assert_eq!(departing.join(&renamed), renamed);
        // Taken out and put back.
        let new = config(&[("dsl", "eth1")]);
        departing.learn(&old, &new, Instant::now());
        departing.learn(&new, &old, Instant::now());
        assert_eq!(departing.and(&BTreeSet::new()), BTreeSet::new());
    }
}
