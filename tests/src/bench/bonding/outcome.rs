//! What became of a load, as figures.

use std::time::Duration;

use super::latency::{Answered, Latency};
use crate::{
    bench::{
        figures::{Figures, Metric},
        report::Unit,
    },
    profiles::Load,
};

/// What became of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) load: Load,
    pub(super) traffic: Traffic,
    /// None where pings do not take the way of the load, or were not asked for.
    pub(super) latency: Option<Latency>,
    /// How late the lab's own emulator sent 99% of the frames at most: what it adds to the links' latencies. None where the
    /// kernel emulates the links.
    pub(super) late: Option<Duration>,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Traffic {
    Tcp {
        goodput_bps: f64,
        /// Of what the links carry at most.
        share: f64,
        /// Seconds of processor time of the system's processes for each 10^9 bytes; none where only the kernel works.
        cpu_per_gb: Option<f64>,
    },
    Udp {
        goodput_bps: f64,
        loss: f64,
        /// Of the datagrams that arrived.
        out_of_order: f64,
    },
}

/// A figure: the last part of its name, what it is for people, its unit, its value.
type Figure = (&'static str, &'static str, Unit, f64);

impl Outcome {
    /// Adds it to the figures.
    pub(super) fn note(&self, figures: &mut Figures, place: (&str, &str)) {
        let latency = self.latency.iter().flat_map(Latency::figures);
        let late = self.late.map(|late| {
            let late = late.as_secs_f64() * 1e3;
            ("late", "links late (99%)", Unit::Milliseconds, late)
        });
        let traffic = self.traffic.figures().into_iter();
        for (name, title, unit, value) in traffic.chain(latency).chain(late) {
            let metric = Metric {
                name: format!("{}.{name}", word(self.load)).into(),
                title: format!("{}: {title}", self.load).into(),
                unit,
            };
            figures.add(place, &metric, value);
        }
    }
}

/// How the names of a load's figures begin.
pub(super) fn word(load: Load) -> String {
    match load {
        Load::Tcp(streams) => format!("tcp{streams}"),
        Load::Udp(part) => format!("udp{:.0}", part * 100.0),
    }
}

impl Traffic {
    fn figures(self) -> Vec<Figure> {
        let goodput = |bps: f64| {
            let megabits = bps / 1e6;
            ("goodput", "goodput", Unit::MegabitsPerSecond, megabits)
        };
        match self {
            Self::Tcp {
                goodput_bps,
                share,
                cpu_per_gb,
            } => {
                let mut figures = vec![
                    goodput(goodput_bps),
                    ("share", "of the links", Unit::Share, share),
                ];
                let unit = Unit::SecondsPerGigabyte;
                figures.extend(cpu_per_gb.map(|cpu| ("cpu", "gateways' CPU", unit, cpu)));
                figures
            }
            Self::Udp {
                goodput_bps,
                loss,
                out_of_order,
            } => vec![
                goodput(goodput_bps),
                ("loss", "lost", Unit::Share, loss),
                ("out_of_order", "out of order", Unit::Share, out_of_order),
            ],
        }
    }
}

impl Latency {
    fn figures(&self) -> Vec<Figure> {
        let milliseconds = |name, title, seconds: f64| {
            let value = seconds * 1e3;
            (name, title, Unit::Milliseconds, value)
        };
        let mut figures = Vec::new();
        if let Some(base) = self.base {
            let base = base.as_secs_f64();
            figures.push(milliseconds("rtt.base", "slowest link, empty", base));
        }
        if let Some(Answered { median, high, most }) = self.answered {
            figures.extend([
                milliseconds("rtt.median", "ping", median),
                milliseconds("rtt.p99", "ping, 99%", high),
                milliseconds("rtt.most", "ping, most", most),
            ]);
        }
        figures.push(("rtt.lost", "pings lost", Unit::Share, self.lost));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, titles and values of an outcome.
    fn told(outcome: &Outcome) -> Vec<(String, String, f64)> {
        let mut figures = Figures::default();
        outcome.note(&mut figures, ("p", "x"));
        let rows = figures.measurements().unwrap().into_iter();
        rows.map(|row| (row.name.into_owned(), row.about.into_owned(), row.value))
            .collect()
    }

    fn row(name: &str, title: &str, value: f64) -> (String, String, f64) {
        (name.to_owned(), title.to_owned(), value)
    }

    #[test]
    fn streams_have_a_goodput_and_a_share() {
        let outcome = Outcome {
            load: Load::Tcp(8),
            traffic: Traffic::Tcp {
                goodput_bps: 2e7,
                share: 0.5,
                cpu_per_gb: Some(8.0),
            },
            latency: Some(Latency {
                answered: Some(Answered {
                    median: 0.0625,
                    high: 0.125,
                    most: 0.25,
                }),
                lost: 0.25,
                base: Some(Duration::from_millis(40)),
            }),
            late: Some(Duration::from_micros(1500)),
        };
        assert_eq!(
            told(&outcome),
            [
                row("p/x/tcp8.goodput", "tcp 8: goodput", 20.0),
                row("p/x/tcp8.share", "tcp 8: of the links", 0.5),
                row("p/x/tcp8.cpu", "tcp 8: gateways' CPU", 8.0),
                row("p/x/tcp8.rtt.base", "tcp 8: slowest link, empty", 40.0),
                row("p/x/tcp8.rtt.median", "tcp 8: ping", 62.5),
                row("p/x/tcp8.rtt.p99", "tcp 8: ping, 99%", 125.0),
                row("p/x/tcp8.rtt.most", "tcp 8: ping, most", 250.0),
                row("p/x/tcp8.rtt.lost", "tcp 8: pings lost", 0.25),
                row("p/x/tcp8.late", "tcp 8: links late (99%)", 1.5),
            ]
        );
    }

    #[test]
    fn datagrams_have_their_part_of_the_links_in_the_name() {
        let outcome = Outcome {
            load: Load::Udp(0.95),
            traffic: Traffic::Udp {
                goodput_bps: 1e6,
                loss: 0.01,
                out_of_order: 0.2,
            },
            latency: None,
            late: None,
        };
        assert_eq!(
            told(&outcome),
            [
                row("p/x/udp95.goodput", "udp 95%: goodput", 1.0),
                row("p/x/udp95.loss", "udp 95%: lost", 0.01),
                row("p/x/udp95.out_of_order", "udp 95%: out of order", 0.2),
            ]
        );
    }
}
