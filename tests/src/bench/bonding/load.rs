//! One load through a system, and what part of the links it got.

use std::time::Duration;

use anyhow::Result;

use crate::{
    bench::{
        figures::{Figures, Metric},
        measure::{self, DATAGRAM},
        report::Unit,
    },
    peers::Running,
    profiles::{Load, Profile},
    shape::ETHERNET_HEADER,
    traffic::bulk::Flavour,
};

/// What streams have to find their rates: on the slowest satellite link, several round trips.
const WARM: Duration = Duration::from_secs(2);

/// IPv4 and TCP headers with timestamps, in bytes.
const TCP_HEADERS: u32 = 20 + 20 + 12;

/// IPv4 and UDP headers, in bytes.
const UDP_HEADERS: u32 = 20 + 8;

/// What all links together carry at most, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Payload of TCP in segments that fill plain packets: the sum of rate * (MTU - 52) / (MTU + 14) over the links.
    tcp_bps: f64,
    /// Payload of the datagrams that are sent: the sum of the rates * D / (D + 28 + 14).
    udp_bps: f64,
}

impl Share {
    #[expect(clippy::cast_precision_loss, reason = "rates of a few Gbit/s")]
    pub(super) fn of(profile: &Profile) -> Self {
        let tcp = profile.links.iter().map(|link| {
            let (payload, frame) = (link.mtu - TCP_HEADERS, link.mtu + ETHERNET_HEADER);
            link.up.rate_bps as f64 * f64::from(payload) / f64::from(frame)
        });
        let datagram = f64::from(DATAGRAM);
        let frame = datagram + f64::from(UDP_HEADERS + ETHERNET_HEADER);
        Self {
            tcp_bps: tcp.sum(),
            udp_bps: profile.sum_bps() as f64 * datagram / frame,
        }
    }
}

/// What became of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Tcp {
        streams: usize,
        goodput_bps: f64,
        /// Of what the links carry at most.
        share: f64,
    },
    Udp {
        /// Of the links' rates.
        part: f64,
        loss: f64,
        /// Of the datagrams that arrived.
        out_of_order: f64,
    },
    /// How late the lab's own emulator sent 99% of the frames at most: what it adds to the links' latencies.
    Links { late: Duration },
}

/// Whether a system carries such a load.
pub(super) fn bears(running: &dyn Running, load: Load) -> bool {
    let only_tcp = running
        .flow()
        .is_ok_and(|flow| flow.flavour == Flavour::Mptcp);
    !only_tcp || matches!(load, Load::Tcp(_))
}

/// Runs a load for `time`.
pub(super) fn run(
    running: &dyn Running,
    share: &Share,
    load: Load,
    time: Duration,
) -> Result<Outcome> {
    match load {
        Load::Tcp(streams) => {
            let count = u16::try_from(streams)?;
            let tcp = measure::tcp(running, count, (WARM, time), 0.0)?;
            Ok(Outcome::Tcp {
                streams,
                goodput_bps: tcp.goodput_bps,
                share: tcp.goodput_bps / share.tcp_bps,
            })
        }
        Load::Udp(part) => {
            let report = measure::udp(&running.flow()?, share.udp_bps * part, time)?;
            #[expect(clippy::cast_precision_loss, reason = "a count of datagrams")]
            let out_of_order = report.reordered as f64 / report.received.max(1) as f64;
            Ok(Outcome::Udp {
                part,
                loss: report.loss_ratio(),
                out_of_order,
            })
        }
    }
}

impl Outcome {
    /// Adds it to the figures.
    pub(super) fn note(&self, figures: &mut Figures, place: (&str, &str)) {
        let mut add = |name: String, title: String, unit, value| {
            let metric = Metric {
                name: name.into(),
                title: title.into(),
                unit,
            };
            figures.add(place, &metric, value);
        };
        match *self {
            Self::Tcp {
                streams,
                goodput_bps,
                share,
            } => {
                let title = format!("TCP {streams}");
                let name = format!("tcp{streams}.goodput");
                add(
                    name,
                    title.clone(),
                    Unit::MegabitsPerSecond,
                    goodput_bps / 1e6,
                );
                let name = format!("tcp{streams}.share");
                add(name, format!("{title}, of the links"), Unit::Share, share);
            }
            Self::Udp {
                part,
                loss,
                out_of_order,
            } => {
                let (title, name) = (format!("{}", Load::Udp(part)), (part * 100.0).round());
                let (lost, late) = (format!("udp{name}.loss"), format!("udp{name}.out_of_order"));
                add(lost, format!("{title}: lost"), Unit::Share, loss);
                add(
                    late,
                    format!("{title}: out of order"),
                    Unit::Share,
                    out_of_order,
                );
            }
            Self::Links { late } => add(
                "links.late".to_owned(),
                "links late (99%)".to_owned(),
                Unit::Milliseconds,
                late.as_secs_f64() * 1e3,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lab::LinkSpec, shape::Shape};

    #[test]
    fn headers_do_not_count_as_capacity() {
        let link = |mtu| {
            let shape = Shape::new(10_000_000, Duration::ZERO);
            LinkSpec::new("wan", shape).mtu(mtu)
        };
        let profile = Profile {
            name: "odd".into(),
            about: String::new(),
            links: vec![link(1500), link(1000)],
        };
        let share = Share::of(&profile);
        let tcp = 1e7 * 1448.0 / 1514.0 + 1e7 * 948.0 / 1014.0;
        assert!((share.tcp_bps - tcp).abs() < 1.0, "{share:?}");
        assert!(
            (share.udp_bps - 2e7 * 1200.0 / 1242.0).abs() < 1.0,
            "{share:?}"
        );
    }

    #[test]
    fn outcomes_have_the_names_of_their_loads() {
        let mut figures = Figures::default();
        let tcp = Outcome::Tcp {
            streams: 8,
            goodput_bps: 2e7,
            share: 0.5,
        };
        let udp = Outcome::Udp {
            part: 0.9,
            loss: 0.01,
            out_of_order: 0.2,
        };
        let links = Outcome::Links {
            late: Duration::from_micros(1500),
        };
        for outcome in [tcp, udp, links] {
            outcome.note(&mut figures, ("p", "x"));
        }
        let told: Vec<_> = figures
            .measurements()
            .unwrap()
            .into_iter()
            .map(|row| (row.name.into_owned(), row.about.into_owned(), row.value))
            .collect();
        let row = |name: &str, title: &str, value| (name.to_owned(), title.to_owned(), value);
        assert_eq!(
            told,
            [
                row("p/x/tcp8.goodput", "TCP 8", 20.0),
                row("p/x/tcp8.share", "TCP 8, of the links", 0.5),
                row("p/x/udp90.loss", "udp 90%: lost", 0.01),
                row("p/x/udp90.out_of_order", "udp 90%: out of order", 0.2),
                row("p/x/links.late", "links late (99%)", 1.5),
            ]
        );
    }
}
