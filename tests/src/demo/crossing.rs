//! A transfer from host to host through a tunnel, in a lab of its own, reported as it goes.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use withy::api::status::{DropStatus, Status};

use super::{
    gateways::{Gateways, status},
    plan::{Script, Span},
    stage::{Change, Stage},
    wire::Wire,
};
use crate::{
    lab::{Lab, LinkSpec},
    shape::emulator::Conduct,
    site_config::TunnelSpec,
    traffic::tcp::{Report, Running, Transfer, Volume},
};

/// Time between two reports.
const TICK: Duration = Duration::from_millis(250);

/// A transfer before it starts.
#[derive(Clone, Debug)]
pub(super) struct Crossing {
    /// The links of the tunnel.
    pub(super) links: Vec<LinkSpec>,
    pub(super) script: Script,
    pub(super) tunnel: TunnelSpec,
}

/// What a transfer tells while it is under way.
#[derive(Debug)]
pub(super) enum News {
    /// The tunnel is up.
    Ready,
    /// How far it is.
    Sample(Sample),
    /// Something has befallen a link, or has passed.
    Changed(Change),
    /// It is over.
    Done(Result<Box<Crossed>>),
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// When they were read, counted from the start.
    pub(super) at: Duration,
    /// Contents that reached the receiving host, in bytes.
    pub(super) contents: u64,
    /// What each link brought to its gateway, in bytes.
    pub(super) links: Vec<u64>,
}

/// What became of a transfer.
#[derive(Debug)]
pub(super) struct Crossed {
    /// Bits a second of contents while all links were up.
    pub(super) steady_bps: f64,
    /// What each link brought meanwhile, in bytes.
    pub(super) steady_links: Vec<u64>,
    /// While one of the links had half of its rate; nothing where that was not part of it.
    pub(super) halved: Option<Halved>,
    /// All reports.
    pub(super) samples: Vec<Sample>,
    pub(super) report: Report,
    /// The sending gateway, when the transfer was over.
    pub(super) status: Status,
    /// What `withy status` printed there.
    pub(super) shown: String,
    /// What both gateways dropped.
    pub(super) drops: Vec<DropStatus>,
    /// How much later than it should a timer woke this program up, on average: what a machine does
    /// to everything in it that has no time for it.
    pub(super) lateness: Duration,
    /// How the lab's own emulator kept its times; none where the kernel emulates the links.
    pub(super) conduct: Option<Conduct>,
}

/// What a transfer got while a link had half of its rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Halved {
    /// The link's index.
    pub(super) link: usize,
    /// Bits a second of contents.
    pub(super) bps: f64,
    /// What each link brought meanwhile, in bytes.
    pub(super) links: Vec<u64>,
}

impl Crossing {
    /// Makes the lab on a thread of its own and starts the transfer once the returned sender says
    /// so; without a word from it, nothing is transferred.
    pub(super) fn begin(self, post: impl Fn(News) + Send + 'static) -> Result<Sender<()>> {
        let (go, starter) = channel();
        // A lab moves its thread into another mount namespace.
        thread::Builder::new()
            .name("crossing".into())
            .spawn(move || {
                let crossed = self.cross(&post, &starter);
                post(News::Done(crossed.map(Box::new)));
            })?;
        Ok(go)
    }

    fn cross(&self, post: &impl Fn(News), starter: &Receiver<()>) -> Result<Crossed> {
        let lab = Lab::paired(&self.links).build()?;
        let gateways = Gateways::start(&lab, &self.tunnel)?;
        post(News::Ready);
        starter
            .recv()
            .context("the other tunnels did not come up")?;

        let (from, to) = (lab.site("a")?, lab.site("b")?);
        let mut wire = Wire::open(to.gateway())?;
        let volume = Volume::Time(self.script.duration);
        let running = Transfer::new(from.host(), to.host(), to.lan().host, volume).start()?;
        let samples = self.follow(&lab, &running, &mut wire, post)?;
        let report = running.finish()?;
        let (here, there) = (status(&gateways.a)?, status(&gateways.b)?);
        let steady = self.script.steady();
        Ok(Crossed {
            steady_bps: bps(&report, &steady),
            steady_links: self.brought(&samples, &steady),
            halved: self.script.halved().map(|(link, span)| Halved {
                link,
                bps: bps(&report, &[span]),
                links: self.brought(&samples, &[span]),
            }),
            report,
            shown: gateways.a.run_cli(&["status"])?.stdout,
            drops: add_up(&[&here.drops, &there.drops]),
            lateness: lateness(&samples),
            conduct: lab.conduct()?,
            samples,
            status: here,
        })
    }

    /// Reports, and plays the script.
    fn follow(
        &self,
        lab: &Lab,
        running: &Running,
        wire: &mut Wire,
        post: &impl Fn(News),
    ) -> Result<Vec<Sample>> {
        let names: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
        let start = running.timeline().start();
        let begun = wire.received(&names)?;
        let mut stage = Stage::new(lab, &self.links, &self.script.acts);
        let mut samples = Vec::new();
        for tick in 1.. {
            thread::sleep((start + TICK * tick).saturating_duration_since(Instant::now()));
            let totals = wire.received(&names)?;
            let sample = Sample {
                at: start.elapsed(),
                contents: running.received(),
                links: totals
                    .iter()
                    .zip(&begun)
                    .map(|(now, then)| now - then)
                    .collect(),
            };
            let at = sample.at;
            samples.push(sample.clone());
            post(News::Sample(sample));
            if at >= self.script.duration || running.is_finished() {
                break;
            }
            for change in stage.play(at)? {
                post(News::Changed(change));
            }
        }
        Ok(samples)
    }

    /// What each link brought in these times, in bytes.
    fn brought(&self, samples: &[Sample], spans: &[Span]) -> Vec<u64> {
        let total = |at: Duration, link: usize| {
            let sample = samples.iter().rfind(|sample| sample.at <= at);
            sample.map_or(0, |sample| sample.links[link])
        };
        (0..self.links.len())
            .map(|link| {
                spans
                    .iter()
                    .map(|span| total(span.to, link) - total(span.from, link))
                    .sum()
            })
            .collect()
    }
}

/// Bits a second of contents in these times.
fn bps(report: &Report, spans: &[Span]) -> f64 {
    let start = report.timeline.start();
    let length: Duration = spans.iter().map(|span| span.length()).sum();
    let bits: f64 = spans
        .iter()
        .map(|span| {
            let rate = report
                .timeline
                .goodput_bps_between(start + span.from, start + span.to);
            rate * span.length().as_secs_f64()
        })
        .sum();
    bits / length.as_secs_f64()
}

/// How late the reports were taken, on average.
fn lateness(samples: &[Sample]) -> Duration {
    let late = (1..)
        .zip(samples)
        .map(|(tick, sample)| sample.at.saturating_sub(TICK * tick));
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    late.sum::<Duration>() / count.max(1)
}

/// Adds lists of drops up by reason, leaving out what did not happen.
fn add_up(lists: &[&[DropStatus]]) -> Vec<DropStatus> {
    let mut sum: Vec<DropStatus> = Vec::new();
    for drop in lists
        .iter()
        .copied()
        .flatten()
        .filter(|drop| drop.packets > 0)
    {
        match sum.iter_mut().find(|known| known.reason == drop.reason) {
            Some(known) => known.packets += drop.packets,
            None => sum.push(drop.clone()),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::figures::tests::links;

    fn sample(milliseconds: u64, links: [u64; 4]) -> Sample {
        Sample {
            at: Duration::from_millis(milliseconds),
            contents: 0,
            links: links.to_vec(),
        }
    }

    #[test]
    fn only_what_came_in_the_steady_time_counts_for_the_shares() {
        let crossing = Crossing {
            links: links(),
            script: Script::bonded(Duration::from_secs(36), &links()),
            tunnel: TunnelSpec::default(),
        };
        // Steady from 3 s to 8 s, from 15 s to 20 s, and from 31 s on, after 5 s with half of the second link.
        let samples = [
            sample(2_750, [10, 20, 30, 0]),
            sample(3_250, [500, 500, 500, 500]),
            sample(8_000, [1_010, 2_020, 3_030, 4]),
            sample(14_900, [1_010, 9_000, 9_000, 900]),
            sample(19_900, [1_110, 9_200, 9_300, 1_300]),
            sample(22_900, [2_000, 9_500, 9_400, 1_300]),
            sample(27_900, [2_100, 9_700, 9_700, 1_400]),
            sample(30_900, [3_000, 10_000, 10_000, 1_500]),
            sample(35_900, [3_001, 10_002, 10_003, 1_504]),
            sample(36_100, [99_999, 99_999, 99_999, 99_999]),
        ];
        let steady = crossing.brought(&samples, &crossing.script.steady());
        assert_eq!(steady, [1_101, 2_202, 3_303, 408]);
        let (link, span) = crossing.script.halved().unwrap();
        assert_eq!(link, 1);
        assert_eq!(crossing.brought(&samples, &[span]), [100, 200, 300, 100]);
    }

    #[test]
    fn lateness_is_what_reports_come_after_their_time() {
        let samples = [
            sample(250, [0; 4]),
            sample(520, [0; 4]),
            sample(760, [0; 4]),
        ];
        assert_eq!(lateness(&samples), Duration::from_millis(10));
        assert_eq!(lateness(&[]), Duration::ZERO);
    }

    #[test]
    fn drops_are_added_up_by_reason() {
        let drop = |reason: &str, packets| DropStatus {
            reason: reason.to_owned(),
            packets,
        };
        let here = [drop("tx_queue_full", 2), drop("tx_no_svc", 0)];
        let there = [drop("rx_unknown", 1), drop("tx_queue_full", 3)];
        assert_eq!(
            add_up(&[&here, &there]),
            [drop("tx_queue_full", 5), drop("rx_unknown", 1)]
        );
    }
}
