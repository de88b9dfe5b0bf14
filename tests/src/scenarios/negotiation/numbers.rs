//! Different numbers of links on the two sides, and how long they take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Ipsec, PATIENCE, is_complete, launch_and_wait, sites, spec, wait_complete};
use crate::{
    scenarios::{
        stage::{Stage, launch, rehearse, status, wait_status},
        transfer::small_transfers,
    },
    traffic::tcp::Volume,
    wait::wait_until,
};

/// What the first IVC and all of them may take on a machine that is not emulated, in seconds from
/// the moment when the initiator knows its links.
const LIMITS: (f64, f64) = (1.0, 2.0);

pub(super) fn play(ipsec: Ipsec) -> Result<()> {
    // What an emulated machine runs for the first time costs it seconds: the first pair is a rehearsal.
    for (here, there) in [(1, 1), (1, 1), (1, 4), (4, 1), (3, 2), (4, 4)] {
        rehearse(sites(here, there), &spec(), |stage| {
            let ivcs = here.max(there);
            stage.configure()?;
            launch_and_wait(&mut stage.b)?;
            let began = Instant::now();
            launch(&mut stage.a)?;
            let whole = wait_status(&stage.a, PATIENCE, "all IVCs", |status| {
                is_complete(status, ivcs)
            });
            let whole = whole.map(|_| began.elapsed())?;
            wait_complete(stage, ivcs)?;
            let log = stage.a.log()?;
            let first = after_ready(&log, "new keys are in use")?;
            let all = after_ready(&log, "joined")?;
            println!(
                "    {here}x{there}: first IVC after {first:.2} s, all after {all:.2} s; {whole:.2?} from the program's start",
            );
            if ipsec == Ipsec::Missing {
                ensure!(
                    first <= LIMITS.0 && all <= LIMITS.1,
                    "{here}x{there} took too long"
                );
            }
            for from in ["a", "b"] {
                stage.expect_ping(from, 1472)?;
            }
            small_transfers(stage, 1_000_000)?;
            everyone_carries(stage, ivcs)
        })?;
    }
    Ok(())
}

/// Fails unless every IVC has carried data.
fn everyone_carries(stage: &Stage<'_>, ivcs: usize) -> Result<()> {
    let running = stage
        .transfer("a", Volume::Time(Duration::from_mins(1)))?
        .start()?;
    let all = wait_until(PATIENCE, "data on every IVC", || {
        let status = status(&stage.a)?;
        let carrying = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
        Ok(carrying.filter(|ivc| ivc.tx.bytes > 50_000).count() == ivcs)
    });
    running.stop();
    running.finish()?;
    all?;
    Ok(())
}

/// Seconds from the line that says that the links are known to the last line with a text.
fn after_ready(log: &str, text: &str) -> Result<f64> {
    let time = |line: &str| -> Option<f64> {
        let clock = line.split('T').nth(1)?.split('Z').next()?;
        let mut parts = clock.splitn(3, ':').map(str::parse::<f64>);
        Some(parts.next()?.ok()? * 3600.0 + parts.next()?.ok()? * 60.0 + parts.next()?.ok()?)
    };
    let at = |text: &str| log.lines().rfind(|line| line.contains(text)).and_then(time);
    let ready = log
        .lines()
        .find(|line| line.contains("ready"))
        .and_then(time);
    Ok(at(text).with_context(|| format!("no line with {text}"))?
        - ready.context("no line with ready")?)
}
