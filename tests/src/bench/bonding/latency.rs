//! How long packets take while there is a load.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    bench::{measure::Span, stats},
    lab::{Lab, Link},
    peers::Running,
    traffic::{
        bulk::Flavour,
        pings::{Pinged, Pings},
    },
};

/// A link is used if it brings this part of what it could; keepalives alone do not.
const USED: f64 = 0.1;

/// Round-trip times from host to host, and what they cannot be shorter than on the slowest link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Of the pings that were answered; none if none was.
    pub(super) answered: Option<Answered>,
    /// What part of the pings was not.
    pub(super) lost: f64,
    /// There and back over the used link that has the longest latency, empty; none if no link was used.
    pub(super) base: Option<Duration>,
}

/// Round-trip times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) median: f64,
    /// What 99% do not exceed.
    pub(super) high: f64,
    pub(super) most: f64,
}

/// Pings while a load is on its way.
pub(super) struct Watch<'lab> {
    /// Both ends of each, the sending site's first.
    links: Vec<(&'lab Link, &'lab Link)>,
    /// What they had brought before, in bytes.
    before: Vec<u64>,
    start: Instant,
    pings: Pings,
}

impl<'lab> Watch<'lab> {
    /// Begins to watch; nothing where pings do not take the way of the load.
    pub(super) fn start(lab: &'lab Lab, running: &dyn Running) -> Result<Option<Self>> {
        let flow = running.flow()?;
        if flow.flavour == Flavour::Mptcp {
            return Ok(None);
        }
        let ends = lab.site("a")?.links().iter();
        let links = ends.zip(lab.site("b")?.links()).collect::<Vec<_>>();
        Ok(Some(Self {
            before: received(&links)?,
            links,
            start: Instant::now(),
            pings: Pings::start(&flow.from, flow.address)?,
        }))
    }

    /// What was seen, of the pings that were sent in a time.
    pub(super) fn finish(self, span: Span) -> Result<Latency> {
        let (after, elapsed) = (received(&self.links)?, self.start.elapsed());
        let brought = after.iter().zip(&self.before).map(|(now, then)| now - then);
        let shapes = self.links.iter().map(|(here, _)| here.shapes());
        let base = shapes
            .zip(brought)
            .filter(|((up, _), bytes)| is_used(*bytes, up.rate_bps, elapsed))
            .map(|((up, down), _)| up.latency + down.latency)
            .max();
        Ok(latency(&self.pings.finish()?, span, base))
    }
}

fn received(links: &[(&Link, &Link)]) -> Result<Vec<u64>> {
    let at_end = |(_, there): &(&Link, &Link)| Ok(there.counters()?.rx_bytes);
    links.iter().map(at_end).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement; 2^52 bytes are exact"
)]
fn is_used(bytes: u64, rate_bps: u64, time: Duration) -> bool {
    bytes as f64 * 8.0 >= rate_bps as f64 * time.as_secs_f64() * USED
}

#[expect(clippy::cast_precision_loss, reason = "a few pings")]
fn latency(pings: &[Pinged], span: Span, base: Option<Duration>) -> Latency {
    let meant: Vec<_> = pings
        .iter()
        .filter(|ping| (span.from..span.to).contains(&ping.sent))
        .collect();
    let times: Vec<f64> = meant
        .iter()
        .filter_map(|ping| Some(ping.round_trip?.as_secs_f64()))
        .collect();
    let quantile = |part| stats::quantile(&times, part);
    let answered = || {
        Some(Answered {
            median: quantile(0.5)?,
            high: quantile(0.99)?,
            most: quantile(1.0)?,
        })
    };
    Latency {
        answered: answered(),
        lost: 1.0 - times.len() as f64 / meant.len().max(1) as f64,
        base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pings_of_the_time_that_is_measured_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ping = |sent, round_trip: Option<u64>| Pinged {
            sent: at(sent),
            round_trip: round_trip.map(Duration::from_millis),
        };
        let pings = [
            ping(0, Some(900)),
            ping(100, Some(20)),
            ping(150, None),
            ping(200, Some(40)),
            ping(250, Some(30)),
            ping(300, None),
        ];
        let span = Span {
            from: at(100),
            to: at(300),
        };
        let base = Some(Duration::from_millis(20));
        let found = latency(&pings, span, base);
        let answered = found.answered.unwrap();
        assert!((answered.median - 0.030).abs() < 1e-9, "{found:?}");
        assert!((answered.high - 0.0398).abs() < 1e-9, "{found:?}");
        assert!((answered.most - 0.040).abs() < 1e-9, "{found:?}");
        assert!((found.lost - 0.25).abs() < 1e-9, "{found:?}");
        assert_eq!(found.base, base);
        let nothing = latency(&pings[5..], span, None);
        assert_eq!(nothing.answered, None);
    }

    #[test]
    fn a_link_with_nothing_but_keepalives_is_not_used() {
        let second = Duration::from_secs(1);
        assert!(is_used(62_500, 5_000_000, second));
        assert!(!is_used(62_499, 5_000_000, second));
    }
}
