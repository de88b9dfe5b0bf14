//! What is shown: when what happens.

use std::time::Duration;

/// Which of the links is cut.
const VICTIM: usize = 0;

/// How long a stream takes to find its rate, at the start and after a link is back.
const RAMP: Duration = Duration::from_secs(3);

/// How long each link is measured alone.
const ALONE: Duration = Duration::from_secs(10);

/// The shortest transfer through the tunnel that leaves time for everything.
pub const LEAST_DURATION: Duration = Duration::from_secs(20);

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
}

/// The cut of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Index in the transfer's links.
    pub(super) link: usize,
    /// While the link is away, counted from the start.
    pub(super) away: Span,
}

/// A transfer and what happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) duration: Duration,
    pub(super) cut: Option<Cut>,
}

impl Script {
    /// The measurement of a link alone.
    pub(super) const fn alone() -> Self {
        Self {
            duration: ALONE,
            cut: None,
        }
    }

    /// The transfer through the tunnel: a sixth of it is without one link.
    pub(super) fn bonded(duration: Duration) -> Self {
        let from = duration * 2 / 5;
        let to = from + duration / 6;
        Self {
            duration,
            cut: Some(Cut {
                link: VICTIM,
                away: Span { from, to },
            }),
        }
    }

    /// When the stream flows over every link: without its start, the cut, and the moments after.
    pub(super) fn steady(&self) -> Vec<Span> {
        let until = |to| Span { from: RAMP, to };
        match self.cut {
            None => vec![until(self.duration)],
            Some(cut) => vec![
                until(cut.away.from),
                Span {
                    from: cut.away.to + RAMP,
                    to: self.duration,
                },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_time_leaves_out_the_start_and_the_cut() {
        let seconds = Duration::from_secs;
        assert_eq!(
            Script::bonded(seconds(30)).steady(),
            [
                Span {
                    from: seconds(3),
                    to: seconds(12)
                },
                Span {
                    from: seconds(20),
                    to: seconds(30)
                },
            ]
        );
        assert_eq!(
            Script::alone().steady(),
            [Span {
                from: seconds(3),
                to: seconds(10)
            }]
        );
    }

    #[test]
    fn the_shortest_duration_leaves_some_steady_time_on_both_sides_of_the_cut() {
        for span in Script::bonded(LEAST_DURATION).steady() {
            assert!(span.length() >= Duration::from_secs(4), "{span:?}");
        }
    }
}
