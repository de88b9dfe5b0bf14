//! Withy's own ESP engine.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Ipsec, Scenario,
    negotiation::{begin, sites, spec, wait_complete},
    stage::{Stage, launch, rehearse},
    transfer::small_transfers,
};
use crate::{
    capture::{CapturePlan, Needle},
    lab::HOST_DEVICE,
    site_config::TunnelSpec,
    traffic::stream::StreamPlan,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::anywhere(
    "without_its_daemon_the_engine_lets_nothing_through",
    without_daemon,
)];

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
