//! Packets that overtake each other on their links arrive as they were sent.

use std::time::Duration;

use anyhow::{Result, ensure};
use withy::config::Resequence;

use super::{
    Scenario,
    stage::{Stage, links, play},
};
use crate::{
    lab::Lab,
    site_config::TunnelSpec,
    traffic::stream::{StreamPlan, StreamReport},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::native(
    "packets_that_overtake_each_other_are_put_back_in_order",
    put_back,
)];

/// By how much the second link's latency varies: nobody can predict when a packet arrives there.
const JITTER: Duration = Duration::from_millis(15);

fn put_back() -> Result<()> {
    let without = reordered(Resequence::Off)?;
    ensure!(
        without > 0.1,
        "nothing overtakes: the scenario shows nothing"
    );
    for policy in [Resequence::On, Resequence::Auto] {
        let with = reordered(policy)?;
        // The first packets tell `auto` that there is something to do.
        ensure!(with < 0.01, "{policy}: {:.2}% out of order", with * 100.0);
    }
    Ok(())
}

/// The share of a stream's datagrams that comes out of order, over two links of which one's latency varies.
fn reordered(resequence: Resequence) -> Result<f64> {
    let spec = TunnelSpec {
        resequence,
        ..TunnelSpec::default()
    };
    let mut share = 0.0;
    play(Lab::paired(&links(&[(10_000, 5); 2])), &spec, |stage| {
        let link = stage.lab.site("a")?.link("wan1")?;
        let (mut up, mut down) = link.shapes();
        for shape in [&mut up, &mut down] {
            shape.latency += JITTER;
            shape.jitter = JITTER;
        }
        link.set_shape(up, down)?;
        let report = stream(stage)?;
        share = share_of(&report);
        println!(
            "    {resequence}: {} of {} datagrams out of order, {} lost",
            report.reordered,
            report.received,
            report.lost()
        );
        // Jitter that begins with the load looks like a queue at first, and queues are kept short.
        ensure!(report.loss_ratio() < 0.03, "{} lost", report.lost());
        Ok(())
    })?;
    Ok(share)
}

/// Three quarters of what both links carry.
fn stream(stage: &Stage<'_>) -> Result<StreamReport> {
    stage
        .probe("a")?
        .stream(StreamPlan {
            size: 1_000,
            per_second: 1_750,
            duration: Duration::from_secs(4),
        })?
        .finish()
}

#[expect(clippy::cast_precision_loss, reason = "a measurement; 2^52 are exact")]
fn share_of(report: &StreamReport) -> f64 {
    report.reordered as f64 / report.received.max(1) as f64
}
