//! Whether a link's packets leave at its rate.
//!
//! A scheduler knows when each piece could begin to leave its link; a queueing discipline that keeps departure times (`fq`) holds it until
//! then. So what has to wait waits in this machine, not in a modem whose queue may be short, or long. Where there is none, pieces
//! leave in bursts, as long as the virtual queue lets them be.

use std::fmt;

use crate::{
    config::{self, Setting},
    kernel::netlink::RootQueue,
    reconcile::objects::Pacer,
};

/// What the kernel puts at the root of an interface by default, and Withy may replace.
const DEFAULTS: [&str; 5] = ["noqueue", "pfifo_fast", "mq", "fq_codel", "fq"];

/// The stated rate, in bits a second, from which on packets leave as they come.
///
/// One `fq` stands for all queues of a card and has one lock, so processors that send by several links at once wait for each other, and hand their packets to
/// whichever of them holds it: packets overtake each other. In an emulated machine eight streams over four links without limits got 0.7 with it, with the kernel's
/// ESP, of what they get without.
const FAST_BPS: u64 = 2_000_000_000;

/// How a link's packets leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// At the times that the scheduler says: the interface has what keeps them.
    Paced {
        /// Whether Withy has put it there.
        own: bool,
    },
    /// As they come, until the kernel's default is replaced.
    Awaited,
    /// As they come, as configured.
    Off,
    /// As they come: what the link is said to carry is more than what bursts matter for.
    Fast,
    /// As they come: this kernel has nothing that keeps departure times.
    Unsupported,
    /// As they come: somebody has given the interface a queueing discipline of this kind.
    Foreign(String),
    /// As they come: somebody has given the interface an `fq` that holds so few packets of a flow that it would drop some.
    Narrow(u32),
    /// There is no interface, or nothing is known of its queue.
    Unknown,
}

impl Pacing {
    /// Judges by what is at the root of the link's interface; `supported` tells whether the kernel is thought to have what it takes.
    #[must_use]
    pub fn of(link: &config::Link, queue: Option<&RootQueue>, supported: bool) -> Self {
        if link.pacing == config::Pacing::Off {
            return Self::Off;
        }
        if matches!(link.rate.up, Setting::Fixed(rate) if rate.bits_per_second() >= FAST_BPS) {
            return Self::Fast;
        }
        let Some(queue) = queue else {
            return Self::Unknown;
        };
        match (&*queue.kind, queue.major, queue.limits) {
            ("fq", Pacer::MAJOR, _) => Self::Paced { own: true },
            (kind, 0, _) if DEFAULTS.contains(&kind) && supported => Self::Awaited,
            (kind, 0, _) if DEFAULTS.contains(&kind) => Self::Unsupported,
            ("fq", _, Some((_, flow))) if flow >= Pacer::LEAST_FLOW_LIMIT => {
                Self::Paced { own: false }
            }
            ("fq", _, limits) => Self::Narrow(limits.map_or(0, |(_, flow)| flow)),
            (kind, ..) => Self::Foreign(kind.to_owned()),
        }
    }

    /// Whether packets leave at the times that the scheduler says.
    #[must_use]
    pub const fn is_paced(&self) -> bool {
        matches!(self, Self::Paced { .. })
    }

    /// Whether Withy's own queueing discipline is to be at the interface.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Paced { own: true } | Self::Awaited)
    }
}

/// Why packets leave as they come; nothing where they do not.
impl fmt::Display for Pacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paced { .. } => Ok(()),
            Self::Awaited => f.write_str("fq is about to be set up"),
            Self::Off => f.write_str("off, as configured"),
            Self::Fast => f.write_str("the link is too fast for that to matter"),
            Self::Unsupported => f.write_str("this kernel has no fq"),
            Self::Foreign(kind) => write!(
                f,
                "the interface has a queueing discipline {kind}, set by hand"
            ),
            Self::Narrow(flow) => write!(
                f,
                "the interface has an fq with flow_limit {flow}, set by hand: {} or more are needed",
                Pacer::LEAST_FLOW_LIMIT
            ),
            Self::Unknown => f.write_str("no queue is known of the interface"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kind: &str, major: u16, flow: Option<u32>) -> RootQueue {
        RootQueue {
            index: 1,
            kind: kind.to_owned(),
            major,
            limits: flow.map(|flow| (10_000, flow)),
        }
    }

    fn link(settings: &str) -> config::Link {
        let text = format!(
            "gateway: {{name: a, lan: [lan0]}}\nlinks: {{a: {{interface: eth1, {settings}}}}}\nbundles: {{}}\ntunnels: {{}}\n"
        );
        let loaded = config::parse(&text, "test", std::path::Path::new("")).unwrap();
        loaded.config.links.into_values().next().unwrap()
    }

    #[test]
    fn only_the_kernels_defaults_are_replaced() {
        let own = Pacing::Paced { own: true };
        let theirs = Pacing::Paced { own: false };
        let cases = [
            (queue("noqueue", 0, None), true, Pacing::Awaited),
            (queue("mq", 0, None), true, Pacing::Awaited),
            (queue("fq", 0, Some(100)), true, Pacing::Awaited),
            (queue("fq_codel", 0, None), false, Pacing::Unsupported),
            (queue("fq", 0x5749, Some(10_000)), true, own.clone()),
            // Somebody has changed its limits; they are about to be changed back.
            (queue("fq", 0x5749, Some(100)), false, own),
            (
                queue("fq_codel", 0x8001, None),
                true,
                Pacing::Foreign("fq_codel".to_owned()),
            ),
            (
                queue("htb", 1, None),
                true,
                Pacing::Foreign("htb".to_owned()),
            ),
            (
                queue("htb", 0x5749, None),
                true,
                Pacing::Foreign("htb".to_owned()),
            ),
            // The default of who has set it as such.
            (
                queue("cake", 0, None),
                true,
                Pacing::Foreign("cake".to_owned()),
            ),
            (queue("fq", 0x8001, Some(1_000)), true, theirs.clone()),
            (queue("fq", 0x8001, Some(1_000)), false, theirs),
            (queue("fq", 0x8001, Some(100)), true, Pacing::Narrow(100)),
        ];
        for (queue, supported, expected) in cases {
            let found = Pacing::of(&link("pacing: auto"), Some(&queue), supported);
            assert_eq!(found, expected, "{queue:?}");
            assert_eq!(
                Pacing::of(&link("pacing: off"), Some(&queue), supported),
                Pacing::Off
            );
            assert_eq!(found.to_string().is_empty(), found.is_paced(), "{found:?}");
        }
        assert_eq!(
            Pacing::of(&link("pacing: auto"), None, true),
            Pacing::Unknown
        );
    }

    #[test]
    fn a_link_of_gigabits_is_not_paced() {
        let cases = [
            ("rate: {up: 1999 Mbit/s, down: 1 Gbit/s}", Pacing::Awaited),
            ("rate: {up: 2 Gbit/s, down: 1 Gbit/s}", Pacing::Fast),
            ("rate: {up: 1 Gbit/s, down: 2 Gbit/s}", Pacing::Awaited),
            (
                "rate: {up: 2 Gbit/s, down: 2 Gbit/s}, pacing: off",
                Pacing::Off,
            ),
        ];
        for (settings, expected) in cases {
            let found = Pacing::of(&link(settings), Some(&queue("mq", 0, None)), true);
            assert_eq!(found, expected, "{settings}");
            assert!(expected == Pacing::Awaited || !found.is_own());
        }
        assert!(!Pacing::Fast.to_string().is_empty());
    }
}
