//! Withy's own ESP engine.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use withy::api::status::{SaDirection, SaStatus};

use super::{
    Ipsec, Scenario,
    negotiation::{begin, sites, spec, wait_complete},
    stage::{Stage, fast_links, launch, play, rehearse},
    transfer::small_transfers,
};
use crate::{
    capture::{CapturePlan, Needle},
    gateway::Gateway,
    lab::{HOST_DEVICE, Lab},
    site_config::TunnelSpec,
    traffic::stream::StreamPlan,
    wait::when_calm,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::everywhere(
        "without_its_daemon_the_engine_lets_nothing_through",
        without_daemon,
    ),
    Scenario::everywhere("associations_count_what_they_carry", counters),
];

/// The engine's device.
const DEVICE: &str = "withy1";
const BYTES: u64 = 1_000_000;

fn without_daemon(_: Ipsec) -> Result<()> {
    let spec = TunnelSpec {
        userspace: &["a", "b"],
        ..spec()
    };
    rehearse(sites(2, 2), &spec, |stage| {
        begin(stage, 2)?;
        small_transfers(stage, BYTES)?;
        stage.a.sigkill()?;
        stage.a.wait(Duration::from_secs(10))?;
        nothing_leaves(stage)?;
        launch(&mut stage.a)?;
        wait_complete(stage, 2)?;
        small_transfers(stage, BYTES)?;
        let output = stage.a.run_cli(&["down"])?;
        ensure!(output.status.success(), "withy down: {output:?}");
        let left = stage.a.site().gateway().has_link(DEVICE)?;
        ensure!(!left, "{DEVICE} is still there");
        Ok(())
    })
}

/// Sends datagrams from a site without a daemon, and looks for their destination on all links.
fn nothing_leaves(stage: &Stage<'_>) -> Result<()> {
    let (a, b) = stage.hosts("a")?;
    ensure!(a.gateway().has_link(DEVICE)?, "{DEVICE} is gone");
    let inner = Needle::addresses(a.lan().host, b.lan().host);
    let plan = || CapturePlan::new().needle(inner.clone());
    // Proves that what is looked for can be found at all.
    let control = plan().start(a.host(), HOST_DEVICE)?;
    let mut captures = Vec::new();
    for link in a.links() {
        let (netns, device) = link.provider();
        captures.push(plan().start(netns, device)?);
    }
    let datagrams = stage.probe("a")?.stream(StreamPlan {
        size: 200,
        per_second: 100,
        duration: Duration::from_secs(1),
    })?;
    thread::sleep(Duration::from_secs(1));
    datagrams.stop();
    let report = datagrams.finish()?;
    ensure!(
        report.lost() == report.sent,
        "{} of {} datagrams came through without a daemon",
        report.sent - report.lost(),
        report.sent
    );
    ensure!(
        control.finish()?.found(inner.name()) > Some(0),
        "the control capture sees nothing"
    );
    for capture in captures {
        let found = capture.finish()?.found(inner.name());
        ensure!(found == Some(0), "plain text left: {found:?}");
    }
    Ok(())
}

/// What one gateway has sent by an SA the other has received by it, and both say so.
fn counters(_: Ipsec) -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            small_transfers(stage, BYTES)?;
            let (a, b) = when_calm("SAs that carry nothing", || {
                Ok((associations(&stage.a)?, associations(&stage.b)?))
            })?;
            for (out, inward) in [(&a, &b), (&b, &a)] {
                let find = |all: &[SaStatus], direction| {
                    let found = all.iter().find(|sa| sa.direction == direction);
                    found.and_then(|sa| Some((sa.spi, sa.usage?.packets, sa.usage?.bytes)))
                };
                let sent = find(out, SaDirection::Out).context("no outbound SA")?;
                let received = find(inward, SaDirection::In).context("no inbound SA")?;
                println!(
                    "    SA {:#x}: {} packets, {} bytes sent",
                    sent.0, sent.1, sent.2
                );
                ensure!(
                    sent.0 == received.0 && sent.1 == received.1,
                    "{sent:?} sent, {received:?} received"
                );
                ensure!(
                    sent.2 > BYTES && received.2 > BYTES,
                    "{sent:?} {received:?}"
                );
            }
            Ok(())
        },
    )
}

/// What `withy show sa` tells.
fn associations(gateway: &Gateway<'_>) -> Result<Vec<SaStatus>> {
    #[derive(Deserialize)]
    struct Part {
        security_associations: Vec<SaStatus>,
    }
    let output = gateway.run_cli(&["show", "sa", "--json"])?;
    let part: Part = serde_json::from_str(&output.stdout).with_context(|| output.stderr)?;
    Ok(part.security_associations)
}
