//! A link that is too far away to be bonded with the others carries flows that nobody else waits for.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Ipsec, Scenario,
    stage::{Stage, links, play, tunnel},
};
use crate::{
    lab::Lab,
    peers::between_hosts,
    shape::Loss,
    site_config::TunnelSpec,
    traffic::{
        bulk::Bulk,
        pings::{Pings, within},
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::anywhere("flows_of_their_own_fill_a_link_that_is_far_away", fill),
    Scenario::native("what_a_link_loses_that_is_far_away_is_sent_again", lossy),
];

/// In kbit/s, and milliseconds.
const LINKS: [(u64, u64); 3] = [(4_000, 10), (4_000, 15), (3_000, 250)];
const STREAMS: u16 = 6;
/// How long streams have to find their ways and rates, and how long they are measured then.
const WARM_UP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(6);
/// What the near links carry of payload at the most, in bits per second: 1406 of 1514 bytes.
const NEAR: f64 = 8e6 * 1406.0 / 1514.0;
/// All but one ping in ten take no longer: three quarters of what one by the far link would.
const AT_MOST: Duration = Duration::from_millis(200);

/// Faster links, of which the last loses some, and what they are to carry more than the near ones do.
const FASTER: [(u64, u64); 3] = [(15_000, 10), (15_000, 15), (15_000, 150)];
const LOSS: f64 = 0.01;
const MORE: f64 = 1.2;

/// How often it is tried: flows share 256 places, and once in a hundred times pings have that of a stream which the far link has for its own.
const ATTEMPTS: u32 = 2;

fn fill(_: Ipsec) -> Result<()> {
    let spec = TunnelSpec {
        stated: false,
        ..TunnelSpec::default()
    };
    play(Lab::paired(&links(&LINKS)), &spec, |stage| {
        for _ in 0..ATTEMPTS {
            let (rate, slow) = measured(stage)?;
            println!(
                "    {:.2} Mbit/s, nine pings in ten within {slow:?}",
                rate / 1e6
            );
            ensure!(
                rate > 1.1 * NEAR,
                "{rate} of {NEAR} bit/s that the near links carry"
            );
            if slow < AT_MOST {
                return Ok(());
            }
        }
        bail!("pings wait for the far link")
    })
}

/// Of one packet in a hundred lost on its way of 300 ms and back a stream recovers so slowly that it would leave the far link idle.
fn lossy() -> Result<()> {
    let spec = TunnelSpec {
        stated: false,
        ..TunnelSpec::default()
    };
    play(Lab::paired(&links(&FASTER)), &spec, |stage| {
        let far = stage.lab.site("a")?.link("wan2")?;
        let (mut up, down) = far.shapes();
        up.loss = Loss::Independent(LOSS);
        far.set_shape(up, down)?;
        let (rate, _) = measured(stage)?;
        let near = NEAR * 15.0 / 4.0;
        println!(
            "    {:.2} Mbit/s, the near links carry {:.2}",
            rate / 1e6,
            near / 1e6
        );
        ensure!(
            rate > MORE * near,
            "{rate} of {near} bit/s that the near links carry"
        );
        Ok(())
    })
}

/// What new streams get, in bits per second, and within which time nine pings in ten are answered beside them.
fn measured(stage: &Stage<'_>) -> Result<(f64, Duration)> {
    let flow = between_hosts(stage.lab)?;
    let bulk = Bulk::start(&flow, STREAMS)?;
    thread::sleep(WARM_UP);
    let pings = Pings::start(&flow.from, flow.address)?;
    let before = bulk.received();
    thread::sleep(MEASURED);
    let received = bulk.received() - before;
    let pinged = pings.finish()?;
    judge(stage)?;
    bulk.finish()?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = received as f64 * 8.0 / MEASURED.as_secs_f64();
    let times = pinged.iter().filter_map(|ping| ping.round_trip);
    Ok((rate, within(times, 90).context("no ping was answered")?))
}

/// The far link has flows of its own, and the others are bonded.
fn judge(stage: &Stage<'_>) -> Result<()> {
    for ivc in &tunnel(&stage.a)?.ivcs {
        println!(
            "    {}: {} of {} bit/s, own flows {:?}",
            ivc.link,
            ivc.share_tx_ratio.unwrap_or_default(),
            ivc.rate_bps,
            ivc.flows
        );
        let far = ivc.link == "wan2";
        ensure!(ivc.flows.is_some_and(|flows| flows > 0) == far, "{ivc:?}");
        ensure!(!far || ivc.share_tx_ratio > Some(0.1), "{ivc:?}");
    }
    Ok(())
}
