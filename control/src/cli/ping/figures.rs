//! What the pings of each IVC come to.

use std::collections::BTreeMap;

use comfy_table::Cell;
use serde::Serialize;

use super::show;
use crate::api::ping::{Pinged, PingedIvc};

/// How wide the name of an IVC is taken to be.
const NAME: usize = 22;

/// The pings so far.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<PingedIvc, Ivc>);

/// Those of an IVC.
#[derive(Debug, Default)]
struct Ivc {
    sent: u32,
    trips: Vec<f64>,
    /// The smallest times of the ways out and back.
    out: Option<f64>,
    back: Option<f64>,
}

/// What an IVC's pings come to. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    ivc: PingedIvc,
    sent: u32,
    answered: usize,
    rtt_min_seconds: Option<f64>,
    rtt_median_seconds: Option<f64>,
    rtt_max_seconds: Option<f64>,
    /// By how much the way out is longer than the fastest IVC's.
    out_lag_seconds: Option<f64>,
    back_lag_seconds: Option<f64>,
}

impl Figures {
    /// Takes in what has become of a ping.
    pub(super) fn note(&mut self, ping: &Pinged) {
        let ivc = self.0.entry(ping.ivc.clone()).or_default();
        ivc.sent += u32::from(ping.sent);
        ivc.trips.extend(ping.rtt_seconds);
        least(&mut ivc.out, ping.out_seconds);
        least(&mut ivc.back, ping.back_seconds);
    }

    /// What has become of a ping that has been noted, for people.
    pub(super) fn line(&self, ping: &Pinged) -> String {
        let name = name(&ping.ivc);
        let what = match ping.rtt_seconds {
            None if ping.sent => "no answer".to_owned(),
            None => "not sent, for the link does not work".to_owned(),
            Some(trip) => format!("{:>7}{}", show::time(Some(trip)), self.waits(ping)),
        };
        format!("{:>4}  {name:<NAME$}  {what}\n", ping.number)
    }

    /// By how much the ways out and back were longer than they have been.
    fn waits(&self, ping: &Pinged) -> String {
        let ivc = self.0.get(&ping.ivc);
        let beyond =
            |now: Option<f64>, least: fn(&Ivc) -> Option<f64>| Some(now? - ivc.and_then(least)?);
        let out = beyond(ping.out_seconds, |ivc| ivc.out);
        let back = beyond(ping.back_seconds, |ivc| ivc.back);
        match (out, back) {
            (Some(_), Some(_)) => format!(
                ", waited {} out, {} back",
                show::time(out),
                show::time(back)
            ),
            _ => String::new(),
        }
    }

    /// Whether nothing has come back.
    pub(super) fn is_hopeless(&self) -> bool {
        self.0.values().all(|ivc| ivc.trips.is_empty())
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        let fastest = |way: fn(&Ivc) -> Option<f64>| {
            let ways = self.0.values().filter_map(way);
            ways.reduce(f64::min)
        };
        let (out, back) = (fastest(|ivc| ivc.out), fastest(|ivc| ivc.back));
        let lag = |way: Option<f64>, fastest: Option<f64>| Some(way? - fastest?);
        let summary = |(shown, ivc): (&PingedIvc, &Ivc)| {
            let mut trips = ivc.trips.clone();
            trips.sort_by(f64::total_cmp);
            Summary {
                ivc: shown.clone(),
                sent: ivc.sent,
                answered: trips.len(),
                rtt_min_seconds: trips.first().copied(),
                rtt_median_seconds: median(&trips),
                rtt_max_seconds: trips.last().copied(),
                out_lag_seconds: lag(ivc.out, out),
                back_lag_seconds: lag(ivc.back, back),
            }
        };
        self.0.iter().map(summary).collect()
    }

    /// The end, for people.
    pub(super) fn table(&self, terminal: bool) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let header = [
            "IVC",
            "sent",
            "lost",
            "least",
            "median",
            "most",
            "slower\nout",
            "slower\nback",
        ];
        let mut table = show::table(&header, terminal);
        for ivc in self.summaries() {
            table.add_row(vec![
                Cell::new(name(&ivc.ivc)),
                show::number(ivc.sent.to_string()),
                show::number(show::percent(ivc.lost())),
                show::number(show::time(ivc.rtt_min_seconds)),
                show::number(show::time(ivc.rtt_median_seconds)),
                show::number(show::time(ivc.rtt_max_seconds)),
                show::number(show::time(ivc.out_lag_seconds)),
                show::number(show::time(ivc.back_lag_seconds)),
            ]);
        }
        format!(
            "\n{table}\n\
             The gateways' clocks differ, so how long one way takes is not known: \"slower\"\n\
             is in comparison with the fastest of these IVCs, \"waited\" with the shortest\n\
             time on the same way so far.\n"
        )
    }
}

impl Summary {
    /// The part that was not answered.
    #[expect(clippy::cast_precision_loss, reason = "a part")]
    fn lost(&self) -> Option<f64> {
        (self.sent > 0).then(|| 1.0 - self.answered as f64 / f64::from(self.sent))
    }
}

/// The median of what is sorted.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn least(of: &mut Option<f64>, new: Option<f64>) {
    *of = [*of, new].into_iter().flatten().reduce(f64::min);
}

fn name(ivc: &PingedIvc) -> String {
    show::ivc_name(&ivc.link, ivc.remote, ivc.remote_link.as_deref())
}
