//! One load through a system, and what part of the links it got.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    ceiling::Parcel,
    latency::Watch,
    outcome::{Outcome, Traffic},
};
use crate::{
    bench::measure::{self, DATAGRAM, Span},
    lab::{Lab, Link, LinkSpec},
    peers::Running,
    profiles::{Load, Profile},
    traffic::bulk::Flavour,
};

/// What is measured in which loads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long each goes on before anything counts.
    pub(super) warm_up: Duration,
    /// How long it is measured.
    pub(super) measured: Duration,
}

/// A system that is up, between sites whose links are those of the profile.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) running: &'a dyn Running,
    pub(super) profile: &'a Profile,
}

impl Stage<'_> {
    /// Whether the system carries such a load.
    pub(super) fn bears(&self, load: Load) -> bool {
        let flow = self.running.flow();
        let only_tcp = flow.is_ok_and(|flow| flow.flavour == Flavour::Mptcp);
        !only_tcp || matches!(load, Load::Tcp(_))
    }

    /// Runs a load, with pings beside it where `pings` says so.
    pub(super) fn run(&self, load: Load, times: Times, pings: bool) -> Result<Outcome> {
        let before = self.lab.conduct()?;
        let watch = if pings {
            Watch::start(self.lab, self.running)?
        } else {
            None
        };
        let (traffic, span) = match load {
            Load::Tcp(streams) => self.tcp(streams, times)?,
            Load::Udp(part) => self.udp(part, times)?,
        };
        let latency = watch.map(|watch| watch.finish(span)).transpose()?;
        let late = match before.zip(self.lab.conduct()?) {
            None => None,
            Some((before, after)) => {
                let conduct = after.since(&before);
                ensure!(
                    conduct.missed == 0,
                    "the links did not keep up with their frames: {conduct}"
                );
                conduct.lateness(0.99)
            }
        };
        Ok(Outcome {
            load,
            traffic,
            latency,
            late,
        })
    }

    fn tcp(&self, streams: usize, times: Times) -> Result<(Traffic, Span)> {
        let count = u16::try_from(streams)?;
        let times = (times.warm_up, times.measured);
        let stretch = measure::tcp(self.running, count, times, 0.0)?;
        let (flow, span) = (self.running.flow()?, stretch.span);
        let parcel = Parcel::of_stream(flow.flavour, self.running.envelope(), stretch.segment);
        let room = parcel.room_bits(&self.links()?, span) / (span.to - span.from).as_secs_f64();
        let goodput_bps = stretch.tcp.goodput_bps;
        let traffic = Traffic::Tcp {
            goodput_bps,
            share: goodput_bps / room,
            cpu_per_gb: stretch.tcp.processes_per_gb,
        };
        Ok((traffic, span))
    }

    fn udp(&self, part: f64, times: Times) -> Result<(Traffic, Span)> {
        let parcel = Parcel::of_datagrams(self.running.envelope());
        let payload_bps = parcel.rate_bps(&self.profile.links) * part;
        let times = (times.warm_up, times.measured);
        let (report, span) = measure::udp(&self.running.flow()?, payload_bps, times)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of datagrams")]
        let [received, reordered] = [report.received, report.reordered].map(|count| count as f64);
        let bits = received * f64::from(DATAGRAM) * 8.0;
        let udp = Traffic::Udp {
            goodput_bps: bits / times.1.as_secs_f64(),
            loss: report.loss_ratio(),
            out_of_order: reordered / received.max(1.0),
        };
        Ok((udp, span))
    }

    /// The sending site's links, each with what it is to be.
    fn links(&self) -> Result<Vec<(&Link, &LinkSpec)>> {
        let site = self.lab.site("a")?;
        let specs = self.profile.links.iter();
        specs
            .map(|spec| Ok((site.link(&spec.name)?, spec)))
            .collect()
    }
}
