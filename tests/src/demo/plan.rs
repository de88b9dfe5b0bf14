//! What is shown: when what happens.

use std::time::Duration;

use crate::lab::LinkSpec;

/// Which of the links is cut.
const VICTIM: usize = 0;

/// How long a stream takes to find its rate, at the start and after something has happened to a link.
const RAMP: Duration = Duration::from_secs(3);

/// How long each link is measured alone.
const ALONE: Duration = Duration::from_secs(10);

/// The shortest transfer through the tunnel that leaves time for everything.
pub const LEAST_DURATION: Duration = Duration::from_secs(27);

/// A stretch of a transfer, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Span {
    pub(super) fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// Without the time that a stream takes to find its rate.
    fn settled(self) -> Self {
        Self {
            from: self.from + RAMP,
            to: self.to,
        }
    }
}

/// What befalls a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// Its interface goes down.
    Cut,
    /// It has half of its rate.
    Halved,
}

/// Something that befalls a link, and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) blow: Blow,
    /// Index in the transfer's links.
    pub(super) link: usize,
    /// Counted from the start.
    pub(super) during: Span,
}

/// A transfer and what happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) duration: Duration,
    /// In order; none overlap.
    pub(super) acts: Vec<Act>,
}

impl Script {
    /// The measurement of a link alone.
    pub(super) const fn alone() -> Self {
        Self {
            duration: ALONE,
            acts: Vec::new(),
        }
    }

    /// The transfer through the tunnel: a ninth of it is without one link, and for two ninths the fastest link whose rate is
    /// not recorded has half of it.
    pub(super) fn bonded(duration: Duration, links: &[LinkSpec]) -> Self {
        let ninths = |from, to| Span {
            from: duration * from / 9,
            to: duration * to / 9,
        };
        let constant = links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.up.trace.is_none());
        let fastest = constant.max_by_key(|(_, link)| link.up.rate_bps);
        let cut = Act {
            blow: Blow::Cut,
            link: VICTIM,
            during: ninths(2, 3),
        };
        let halved = fastest.map(|(link, _)| Act {
            blow: Blow::Halved,
            link,
            during: ninths(5, 7),
        });
        Self {
            duration,
            acts: [cut].into_iter().chain(halved).collect(),
        }
    }

    /// When the stream flows over every link at its whole rate: without its start, the acts, and the moments after.
    pub(super) fn steady(&self) -> Vec<Span> {
        let begins = [Duration::ZERO]
            .into_iter()
            .chain(self.acts.iter().map(|act| act.during.to));
        let ends = self.acts.iter().map(|act| act.during.from);
        begins
            .zip(ends.chain([self.duration]))
            .map(|(from, to)| Span { from, to }.settled())
            .collect()
    }

    /// When the stream has found what is left of a link that is halved, and which link that is.
    pub(super) fn halved(&self) -> Option<(usize, Span)> {
        let act = self.acts.iter().find(|act| act.blow == Blow::Halved)?;
        Some((act.link, act.during.settled()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::figures::tests::links;

    fn span(from: u64, to: u64) -> Span {
        let [from, to] = [from, to].map(Duration::from_secs);
        Span { from, to }
    }

    #[test]
    fn the_steady_time_leaves_out_the_start_and_whatever_happens() {
        let script = Script::bonded(Duration::from_secs(36), &links());
        // Away from 8 s to 12 s, halved from 20 s to 28 s.
        assert_eq!(script.steady(), [span(3, 8), span(15, 20), span(31, 36)]);
        assert_eq!(script.halved(), Some((1, span(23, 28))));
        assert_eq!(Script::alone().steady(), [span(3, 10)]);
        assert_eq!(Script::alone().halved(), None);
    }

    #[test]
    fn the_shortest_duration_leaves_some_time_for_everything() {
        let script = Script::bonded(LEAST_DURATION, &links());
        let halved = script.halved().map(|(_, span)| span);
        for span in script.steady().into_iter().chain(halved) {
            assert!(span.length() >= Duration::from_secs(3), "{span:?}");
        }
    }
}
