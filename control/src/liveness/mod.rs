//! Which IVCs carry anything, as far as keepalives tell.
//!
//! Each gateway sends a keepalive on each IVC every [`INTERVAL`]; it says whether the sender hears the
//! other side's on that IVC. One that is not heard for [`WINDOW`], or on which the other side hears
//! nothing, is silent and carries no data until that changes; keepalives go on, so it comes back by itself.
//!
//! ```text
//!            heard, and they hear us
//!   unknown ────────────────────────► live ◄────────────┐
//!      │                               │ nothing for     │ heard, and
//!      │ nothing for GRACE             │ WINDOW, or they │ they hear us
//!      ▼                               ▼ hear nothing    │
//!    silent ◄─────────────────────── silent ─────────────┘
//! ```
//!
//! Where no IVC of a tunnel is live, none counts as silent: then the other side's daemon is down, which
//! must not take the network down, or nothing works anyway.

mod keys;
mod message;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use keys::TunnelKeys;
pub use message::{KeepaliveKey, Message, Rejected};

use crate::bundle::IvcId;

/// The time between two keepalives on an IVC.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// An IVC is silent when nothing was heard for so long: three keepalives, and half a one for delays.
pub const WINDOW: Duration = Duration::from_millis(350);
/// An IVC that was never heard is silent when it has been known for so long.
const GRACE: Duration = Duration::from_secs(1);

/// What is known of each IVC. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Liveness {
    ivcs: BTreeMap<IvcId, Known>,
}

#[derive(Debug)]
struct Known {
    since: Duration,
    heard: Option<Duration>,
    they_hear: bool,
    /// The time in the newest message: older ones are replays.
    newest: u64,
}

impl Liveness {
    /// Learns which IVCs there are.
    pub fn set(&mut self, ids: &BTreeSet<IvcId>, now: Duration) {
        self.ivcs.retain(|id, _| ids.contains(id));
        for id in ids {
            self.ivcs.entry(id.clone()).or_insert(Known {
                since: now,
                heard: None,
                they_hear: false,
                newest: 0,
            });
        }
    }

    /// Takes in a genuine message.
    ///
    /// # Errors
    ///
    /// It is older than another, or of no known IVC.
    pub fn heard(&mut self, id: &IvcId, message: Message, now: Duration) -> Result<(), Rejected> {
        let known = self.ivcs.get_mut(id).ok_or(Rejected::Unknown)?;
        if message.time <= known.newest {
            return Err(Rejected::Replayed);
        }
        known.newest = message.time;
        known.heard = Some(now);
        known.they_hear = message.hears;
        Ok(())
    }

    /// Tells whether the other side has been heard on an IVC lately.
    #[must_use]
    pub fn hears(&self, id: &IvcId, now: Duration) -> bool {
        self.ivcs.get(id).is_some_and(|known| known.hears(now))
    }

    /// Lists the silent IVCs.
    #[must_use]
    pub fn silent(&self, now: Duration) -> BTreeSet<IvcId> {
        let live: BTreeSet<_> = self
            .ivcs
            .iter()
            .filter(|(_, known)| known.is_live(now))
            .map(|((tunnel, ..), _)| *tunnel)
            .collect();
        self.ivcs
            .iter()
            .filter(|(id, known)| live.contains(&id.0) && known.is_silent(now))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

impl Known {
    fn hears(&self, now: Duration) -> bool {
        self.heard
            .is_some_and(|heard| now.saturating_sub(heard) < WINDOW)
    }

    fn is_live(&self, now: Duration) -> bool {
        self.hears(now) && self.they_hear
    }

    fn is_silent(&self, now: Duration) -> bool {
        match self.heard {
            Some(_) => !self.is_live(now),
            None => now.saturating_sub(self.since) >= GRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn id(link: &str) -> IvcId {
        (
            Ipv4Addr::new(10, 255, 0, 2),
            link.parse().unwrap(),
            Ipv4Addr::new(198, 51, 100, 1),
        )
    }

    fn known(links: &[&str]) -> Liveness {
        let mut liveness = Liveness::default();
        liveness.set(&links.iter().map(|link| id(link)).collect(), Duration::ZERO);
        liveness
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn hear(liveness: &mut Liveness, link: &str, hears: bool, at: u64) {
        liveness
            .heard(
                &id(link),
                Message {
                    hears,
                    time: at + 1,
                },
                ms(at),
            )
            .unwrap();
    }

    #[test]
    fn a_link_that_falls_silent_is_out_within_the_window_and_comes_back() {
        let mut liveness = known(&["dsl", "lte"]);
        for at in (0..1000).step_by(100) {
            hear(&mut liveness, "dsl", true, at);
            hear(&mut liveness, "lte", true, at);
            assert!(liveness.silent(ms(at)).is_empty());
        }
        for at in (1000..1300).step_by(100) {
            hear(&mut liveness, "dsl", true, at);
        }
        assert_eq!(liveness.silent(ms(1249)), BTreeSet::new());
        assert_eq!(liveness.silent(ms(1250)), [id("lte")].into());
        hear(&mut liveness, "lte", true, 1300);
        assert_eq!(liveness.silent(ms(1300)), BTreeSet::new());
    }

    #[test]
    fn a_link_that_works_one_way_only_is_out() {
        let mut liveness = known(&["dsl", "lte"]);
        hear(&mut liveness, "dsl", true, 0);
        hear(&mut liveness, "lte", false, 0);
        assert_eq!(liveness.silent(ms(0)), [id("lte")].into());
        assert!(liveness.hears(&id("lte"), ms(0)));
    }

    #[test]
    fn a_link_never_heard_is_out_after_the_grace() {
        let mut liveness = known(&["dsl", "lte"]);
        for at in (0..=1000).step_by(100) {
            hear(&mut liveness, "dsl", true, at);
        }
        assert_eq!(liveness.silent(ms(999)), BTreeSet::new());
        assert_eq!(liveness.silent(ms(1000)), [id("lte")].into());
    }

    #[test]
    fn a_daemon_that_is_down_silences_nothing() {
        let mut liveness = known(&["dsl", "lte"]);
        hear(&mut liveness, "dsl", true, 0);
        hear(&mut liveness, "lte", true, 20);
        assert_eq!(liveness.silent(ms(500)), BTreeSet::new());
    }

    #[test]
    fn replays_are_refused() {
        let mut liveness = known(&["dsl"]);
        let message = Message {
            hears: true,
            time: 7,
        };
        assert_eq!(liveness.heard(&id("dsl"), message, ms(0)), Ok(()));
        assert_eq!(
            liveness.heard(&id("dsl"), message, ms(100)),
            Err(Rejected::Replayed)
        );
        assert_eq!(
            liveness.heard(&id("lte"), message, ms(0)),
            Err(Rejected::Unknown)
        );
    }

    proptest! {
        /// Whatever is heard, a tunnel is never left without an IVC that may carry data.
        #[test]
        fn never_are_all_silent(events in prop::collection::vec((0_usize..4, any::<bool>(), 1_u64..400), 0..60)) {
            let links = ["a", "b", "c", "d"];
            let mut liveness = known(&links);
            let mut at = 0;
            for (link, hears, pause) in events {
                at += pause;
                hear(&mut liveness, links[link], hears, at);
                prop_assert!(liveness.silent(ms(at)).len() < links.len());
                prop_assert!(liveness.silent(ms(at + 5000)).is_empty());
            }
        }
    }
}
