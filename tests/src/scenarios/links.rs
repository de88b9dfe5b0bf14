//! The lab's own links, at rates that gateways of today have.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::{
    lab::{Lab, Link, LinkSpec},
    netns::Route,
    shape::{Shape, emulator::Conduct, port::Emulation},
    traffic::{
        flood::Flood,
        tcp::{Transfer, Volume},
        udp::Probe,
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::native("the_labs_links_carry_a_gigabit_in_sum", in_sum),
    Scenario::native("one_of_the_labs_links_carries_a_gigabit", alone),
    Scenario::native("the_labs_links_carry_a_gigabit_of_tcp", tcp),
];

const GIGABIT: u64 = 1_000_000_000;
const LATENCY: Duration = Duration::from_millis(10);

/// What comes before is not measured.
const RAMP: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(3);

/// How often a machine that has no time is given another chance.
const ATTEMPTS: u32 = 4;

/// An emulator that uses more of a processor than that is too slow itself.
const MOST_OF_A_PROCESSOR: f64 = 0.9;

/// Payload of a datagram that fills a frame, and the frame.
const DATAGRAM: usize = 1472;
const FRAME: u64 = 1514;

/// Contents of a segment with timestamps, of such a frame.
const PAYLOAD_OF_FRAME: f64 = 1448.0 / 1514.0;

fn in_sum() -> Result<()> {
    measure(4, 0.98..1.02, flood)
}

fn alone() -> Result<()> {
    measure(1, 0.98..1.02, flood)
}

fn tcp() -> Result<()> {
    // What CUBIC leaves of a link is its own affair.
    measure(4, 0.93..1.02, transfer)
}

/// What a load has measured.
struct Outcome {
    /// Bits a second of frames on each link.
    rates_bps: Vec<f64>,
    conduct: Conduct,
    /// How long it took.
    time: Duration,
    /// Why the links had nothing to carry, if they had not.
    starved: Option<String>,
}

impl Outcome {
    /// Why nothing can be said of the links: the machine had no time for them, or for what sends.
    fn excuse(&self) -> Option<String> {
        let processor = self.conduct.processor.as_secs_f64() / self.time.as_secs_f64();
        let late = !self.conduct.is_honest(LATENCY / 2) && processor < MOST_OF_A_PROCESSOR;
        let busy = late.then(|| "the emulator did not get to run".to_owned());
        busy.or_else(|| self.starved.clone())
    }
}

/// Loads links of a gigabit a second in sum until the machine has time, and judges their rates.
fn measure(
    links: u64,
    wanted: std::ops::Range<f64>,
    load: fn(&Lab) -> Result<Outcome>,
) -> Result<()> {
    let lab = lab(links)?;
    for _ in 0..ATTEMPTS {
        let outcome = load(&lab)?;
        let ratios: Vec<f64> = outcome
            .rates_bps
            .iter()
            .map(|rate| ratio(*rate, links))
            .collect();
        let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.4}")).collect();
        println!(
            "    {} of the rate; {}; {:.1?} of processor time in {:.1?}",
            shown.join(", "),
            outcome.conduct,
            outcome.conduct.processor,
            outcome.time,
        );
        if ratios.iter().all(|ratio| wanted.contains(ratio)) {
            return Ok(());
        }
        let excuse = outcome.excuse();
        let excuse = excuse.with_context(|| format!("{ratios:?} is not within {wanted:?}"))?;
        println!("    does not count: {excuse}");
    }
    println!("    NOT JUDGED: this machine is too busy");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate far below 2^52")]
fn ratio(rate_bps: f64, links: u64) -> f64 {
    rate_bps / (GIGABIT / links) as f64
}

/// Two gateways that reach each of the other's addresses over the link of it.
fn lab(links: u64) -> Result<Lab> {
    let shape = Shape::new(GIGABIT / links, LATENCY);
    let specs: Vec<LinkSpec> = (0..links)
        .map(|link| LinkSpec::new(&format!("wan{link}"), shape))
        .collect();
    let lab = Lab::paired(&specs)
        .emulation(Emulation::Userspace)
        .build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    for (here, there) in a.links().iter().zip(b.links()) {
        for (site, own, other) in [(a, here, there), (b, there, here)] {
            let route = Route::to((other.address(), 32), own.name()).via(own.next_hop());
            site.gateway().set_route(&route)?;
        }
    }
    Ok(lab)
}

/// What a lab's emulator has done since an earlier report.
fn conduct(lab: &Lab, earlier: Option<&Conduct>) -> Result<Conduct> {
    let conduct = lab.conduct()?.context("the links are not the lab's own")?;
    Ok(match earlier {
        Some(earlier) => conduct.since(earlier),
        None => conduct,
    })
}

/// Datagrams, a fifth more than each link carries.
fn flood(lab: &Lab) -> Result<Outcome> {
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let begin = |link: &Link| {
        let per_second = link.shapes().0.rate_bps * 6 / 5 / FRAME / 8;
        Probe::new(a.gateway(), b.gateway(), link.address())
            .flood(DATAGRAM, u32::try_from(per_second)?)
    };
    let floods: Vec<Flood> = b.links().iter().map(begin).collect::<Result<_>>()?;
    thread::sleep(RAMP);
    let (start, before) = (Instant::now(), conduct(lab, None)?);
    let earlier = received(b.links())?;
    let dropped = dropped(b.links());
    thread::sleep(RUN);
    let later = received(b.links())?;
    let outcome = Outcome {
        rates_bps: earlier
            .iter()
            .zip(&later)
            .map(|(earlier, later)| later.rate_since(earlier))
            .collect(),
        conduct: conduct(lab, Some(&before))?,
        time: start.elapsed(),
        starved: starved(&dropped, &self::dropped(b.links())),
    };
    floods.into_iter().try_for_each(Flood::finish)?;
    Ok(outcome)
}

/// Says which links were never full, for which there was nothing to drop.
fn starved(before: &[u64], after: &[u64]) -> Option<String> {
    let idle = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before == after);
    let idle = idle.count();
    (idle > 0).then(|| format!("{idle} links got less than they can carry"))
}

fn dropped(links: &[Link]) -> Vec<u64> {
    let down = |link: &Link| link.losses().map(|(_, down)| down.dropped);
    links.iter().map(|link| down(link).unwrap_or(0)).collect()
}

/// What a gateway had received, and when.
struct Received {
    at: Instant,
    bytes: u64,
}

impl Received {
    #[expect(clippy::cast_precision_loss, reason = "bytes of seconds")]
    fn rate_since(&self, earlier: &Self) -> f64 {
        (self.bytes - earlier.bytes) as f64 * 8.0 / (self.at - earlier.at).as_secs_f64()
    }
}

fn received(links: &[Link]) -> Result<Vec<Received>> {
    links
        .iter()
        .map(|link| {
            Ok(Received {
                bytes: link.counters()?.rx_bytes,
                at: Instant::now(),
            })
        })
        .collect()
}

/// A connection on each link, whose acknowledgements come back by it.
fn transfer(lab: &Lab) -> Result<Outcome> {
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let (start, before) = (Instant::now(), conduct(lab, None)?);
    let dropped = dropped(b.links());
    let running: Vec<_> = b
        .links()
        .iter()
        .map(|link| {
            let volume = Volume::Time(RAMP + RUN);
            Transfer::new(a.gateway(), b.gateway(), link.address(), volume).start()
        })
        .collect::<Result<_>>()?;
    let mut rates_bps = Vec::new();
    for transfer in running {
        let report = transfer.finish()?;
        ensure!(report.contents_equal(), "the contents differ");
        rates_bps.push(report.timeline.goodput_bps_after(RAMP) / PAYLOAD_OF_FRAME);
    }
    Ok(Outcome {
        rates_bps,
        conduct: conduct(lab, Some(&before))?,
        time: start.elapsed(),
        starved: starved(&dropped, &self::dropped(b.links())),
    })
}
