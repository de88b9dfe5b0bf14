//! The tunnel is the sum of its links.
//!
//! "Alone" is what the same stream gets through a tunnel over that one link: with the same
//! encryption, headers and scheduler, so that the ratio tells what bonding costs and nothing else.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{
    Scenario,
    stage::{Stage, links, play, tried},
};
use crate::{lab::Lab, site_config::TunnelSpec, traffic::tcp::Volume};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "four_equal_links_add_up_to_95_percent_for_one_stream",
        equal,
    )
    .smoke(),
    Scenario::new(
        "unequal_links_add_up_to_85_percent_for_one_stream_and_93_for_four",
        unequal,
    ),
];

/// Slow start takes the first half second of it.
const RUN: Duration = Duration::from_secs(12);

/// How often a figure is taken before it counts as missed. An emulated machine that has to wait for its
/// processor stalls senders, links and gateways alike: that only ever takes away from a figure.
const ATTEMPTS: u32 = 4;

/// And in how many labs, of unequal links: what a lab gets in an emulated machine hangs together. One stream got 72 to 76% of them three times running
/// in one lab, and 97% at once in another; why is not known.
const LABS: u32 = 3;

/// Rates in kbit/s and latencies in milliseconds.
const EQUAL: [(u64, u64); 4] = [(2000, 10); 4];
const UNEQUAL: [(u64, u64); 4] = [(1000, 5), (2000, 20), (3000, 40), (6000, 15)];

/// Contents, and the frame of a link that carries them: a segment of 1406 bytes with timestamps
/// in AES-GCM and Ethernet.
const PAYLOAD_OF_FRAME: (f64, f64) = (1394.0, 1514.0);

fn equal() -> Result<()> {
    let alone = alone(&EQUAL)?;
    play(
        Lab::paired(&links(&EQUAL)),
        &TunnelSpec::default(),
        |stage| expect(stage, 1, &alone, 0.95),
    )
}

fn unequal() -> Result<()> {
    let alone = alone(&UNEQUAL)?;
    for (streams, least) in [(1, 0.85), (4, 0.93)] {
        tried(LABS, || {
            play(
                Lab::paired(&links(&UNEQUAL)),
                &TunnelSpec::default(),
                |stage| expect(stage, streams, &alone, least),
            )
        })?;
    }
    Ok(())
}

/// Runs streams through the tunnel and compares with the sum of the links.
fn expect(stage: &Stage<'_>, streams: u16, alone: &[f64], least: f64) -> Result<()> {
    let sum: f64 = alone.iter().sum();
    let mut best = 0.0_f64;
    for _ in 0..ATTEMPTS {
        let tunnel = goodput(stage, streams)?;
        let ratio = tunnel / sum;
        println!(
            "    {streams} stream(s): {:.3} Mbit/s of {:.3}, {:.1}%, at least {:.0}% wanted",
            tunnel / 1e6,
            sum / 1e6,
            ratio * 100.0,
            least * 100.0
        );
        best = best.max(ratio);
        if best >= least {
            return Ok(());
        }
    }
    bail!(
        "{streams} stream(s) got at most {:.1}% in {ATTEMPTS} runs",
        best * 100.0
    )
}

fn goodput(stage: &Stage<'_>, streams: u16) -> Result<f64> {
    let report = stage
        .transfer("a", Volume::Time(RUN))?
        .connections(streams)
        .run()?;
    ensure!(report.contents_equal(), "the contents differ");
    println!(
        "    {streams} stream(s): {} segments sent again, longest gap {:?}",
        report.retransmits(),
        report.longest_gap()
    );
    Ok(report.goodput_bps())
}

/// What one stream gets over each of the links, in bits a second. A link that does badly alone would
/// make the tunnel look good, so a round in which one does is repeated.
fn alone(shapes: &[(u64, u64)]) -> Result<Vec<f64>> {
    tried(ATTEMPTS, || alone_once(shapes))
}

/// One round: each link in a lab of its own, one after the other. All at once they take more of an
/// emulated machine than all links together do as one, and get less than they could alone. Equal links get
/// the same.
fn alone_once(shapes: &[(u64, u64)]) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for (index, &shape) in shapes.iter().enumerate() {
        let alike = shapes[..index].iter().position(|&other| other == shape);
        rates.push(match alike {
            Some(alike) => rates[alike],
            None => over_one(shape)?,
        });
    }
    for (&(rate, latency), alone) in shapes.iter().zip(&rates) {
        #[expect(clippy::cast_precision_loss, reason = "a rate of a few Mbit/s")]
        let limit = rate as f64 * 1e3 * PAYLOAD_OF_FRAME.0 / PAYLOAD_OF_FRAME.1;
        println!(
            "    {rate} kbit/s, {latency} ms alone: {:.3} Mbit/s of {:.3} that headers leave",
            alone / 1e6,
            limit / 1e6
        );
        ensure!(
            *alone >= 0.9 * limit,
            "{rate} kbit/s alone: {alone:.0} of {limit:.0} bit/s"
        );
    }
    Ok(rates)
}

fn over_one(shape: (u64, u64)) -> Result<f64> {
    let mut rate = 0.0;
    play(
        Lab::paired(&links(&[shape])),
        &TunnelSpec::default(),
        |stage| {
            rate = goodput(stage, 1)?;
            Ok(())
        },
    )?;
    Ok(rate)
}
