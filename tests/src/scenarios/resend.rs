//! What links lose is sent again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use withy::config::Resend;

use super::{
    Scenario,
    stage::{Stage, links, play, status},
};
use crate::{
    gateway::Gateway,
    lab::Lab,
    shape::Loss,
    site_config::TunnelSpec,
    traffic::stream::{StreamPlan, StreamReport},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::native(
    "what_a_link_loses_is_sent_again",
    send_again,
)];

/// What the second link loses.
const LOSS: f64 = 0.02;

fn send_again() -> Result<()> {
    let without = lost(Resend::Off)?;
    ensure!(
        without > LOSS / 4.0,
        "nothing is lost: the scenario shows nothing"
    );
    let with = lost(Resend::Auto)?;
    ensure!(with < 0.001, "{:.2}% lost", with * 100.0);
    Ok(())
}

/// The share of a stream's datagrams that is lost, over two links of which one loses some.
fn lost(resend: Resend) -> Result<f64> {
    let spec = TunnelSpec {
        resend,
        userspace: &["a", "b"],
        ..TunnelSpec::default()
    };
    let mut share = 0.0;
    play(Lab::paired(&links(&[(10_000, 10); 2])), &spec, |stage| {
        let link = stage.lab.site("a")?.link("wan1")?;
        let (mut up, down) = link.shapes();
        up.loss = Loss::Independent(LOSS);
        link.set_shape(up, down)?;
        // That the link loses comes to light while there is data.
        stream(stage, 3)?;
        let report = stream(stage, 5)?;
        share = report.loss_ratio();
        let counted = |gateway, event| event_of(gateway, event);
        let (asked, came) = (counted(&stage.b, "asked")?, counted(&stage.b, "came")?);
        println!(
            "    {resend}: {} of {} datagrams lost, longest gap {:?}, {asked} asked for, {came} came",
            report.lost(),
            report.sent,
            report.longest_gap,
        );
        ensure!((asked > 0) == (resend == Resend::Auto), "{asked} asked for");
        Ok(())
    })?;
    Ok(share)
}

/// How many packets a gateway says something has happened to.
fn event_of(gateway: &Gateway<'_>, event: &str) -> Result<u64> {
    let events = status(gateway)?.resends;
    let found = events.iter().find(|resend| resend.event == event);
    Ok(found.context("no such event")?.packets)
}

/// Half of what both links carry.
fn stream(stage: &Stage<'_>, seconds: u64) -> Result<StreamReport> {
    stage
        .probe("a")?
        .stream(StreamPlan {
            size: 1_000,
            per_second: 1_200,
            duration: Duration::from_secs(seconds),
        })?
        .finish()
}
