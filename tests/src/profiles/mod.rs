//! Bundles of links with a name, from `tests/profiles/bonding.yaml`.
//!
//! The demonstration, the tests and the benches share them, so that their figures can be compared.

mod decode;
mod fields;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab::LinkSpec;

/// The file that comes with this crate, and its text.
const FILE: &str = "tests/profiles/bonding.yaml";
const TEXT: &str = include_str!("../../profiles/bonding.yaml");

/// All profiles, and what they are run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles {
    /// What each is run with.
    pub loads: Vec<Load>,
    /// In the file's order.
    pub profiles: Vec<Profile>,
}

/// Links between two sites.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it stands for, in a few words.
    pub about: String,
    /// The links, as [`Lab::paired`](crate::lab::Lab::paired) takes them. There is at least one,
    /// and they have different names.
    pub links: Vec<LinkSpec>,
}

/// Traffic to run over a profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// TCP with so many connections, each as fast as it can.
    Tcp(usize),
    /// UDP with this part of the payload that all links can carry, from 0 to 1.
    Udp(f64),
}

impl Profiles {
    /// The profiles that come with this crate.
    pub fn bonding() -> Result<Self> {
        decode::parse(TEXT, FILE)
    }

    /// The profile of that name.
    pub fn find(&self, name: &str) -> Result<&Profile> {
        let found = self.profiles.iter().find(|profile| profile.name == name);
        found.with_context(|| {
            let names: Vec<&str> = self.profiles.iter().map(|p| p.name.as_str()).collect();
            format!(
                "there is no profile {name:?}: it is one of {}",
                names.join(", ")
            )
        })
    }
}

impl Profile {
    /// The sum of the links' rates from site `a` to site `b`, in bits a second of Ethernet frames.
    #[must_use]
    pub fn sum_bps(&self) -> u64 {
        self.links.iter().map(|link| link.up.rate_bps).sum()
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(connections) => write!(f, "tcp {connections}"),
            Self::Udp(part) => write!(f, "udp {}%", part * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shape::{Loss, QueueLength};

    #[test]
    fn the_file_that_comes_along_is_valid() {
        let profiles = Profiles::bonding().unwrap();
        assert_eq!(
            profiles.loads,
            [Load::Tcp(1), Load::Tcp(8), Load::Udp(0.9), Load::Udp(0.95)]
        );
        let sums: Vec<_> = profiles
            .profiles
            .iter()
            .map(|profile| (profile.name.as_str(), profile.sum_bps() / 1_000_000))
            .collect();
        let others = [
            ("four-equal", 200),
            ("two-unequal", 100),
            ("dsl-lte-sat", 100),
            ("eight-thin", 40),
            ("lossy", 200),
            ("four-500k", 2),
            ("four-1m", 4),
            ("four-2m", 8),
            ("four-5m", 20),
            ("four-10m", 40),
            ("design-equal", 40),
            ("design-unequal", 28),
            ("design-lossy", 30),
            ("two-lte", 17),
            ("demo-vm", 12),
            ("demo", 40),
        ];
        assert_eq!(sums, others);
    }

    #[test]
    fn a_profile_has_what_its_file_says() {
        let profiles = Profiles::bonding().unwrap();
        let lossy = profiles.find("lossy").unwrap();
        let names: Vec<&str> = lossy.links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["clean0", "clean1", "lossy0", "lossy1"]);
        let losses: Vec<Loss> = lossy.links.iter().map(|link| link.up.loss).collect();
        let one = Loss::Independent(0.01);
        assert_eq!(losses, [Loss::NONE, Loss::NONE, one, one]);

        let lte = &profiles.find("dsl-lte-sat").unwrap().links[1];
        assert_eq!(
            (lte.name.as_str(), lte.mtu, lte.up),
            ("lte", 1500, lte.down)
        );
        assert_eq!(lte.up.latency, Duration::from_millis(45));
        assert_eq!(lte.up.jitter, Duration::from_millis(15));
        assert_eq!(lte.up.queue, QueueLength::Time(Duration::from_millis(100)));

        let problem = profiles.find("lossless").unwrap_err().to_string();
        assert!(problem.contains("design-lossy"), "{problem}");
    }
}
