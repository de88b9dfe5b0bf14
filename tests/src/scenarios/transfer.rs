//! Bytes arrive as they were sent.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Ipsec, Scenario,
    stage::{Stage, fast_links, play, status},
};
use crate::{
    lab::Lab,
    site_config::TunnelSpec,
    traffic::tcp::{Report, Volume},
};

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::everywhere("tcp_20_mb_each_way_at_once", tcp_each_way).smoke()];

const MB: u64 = 1_000_000;

fn tcp_each_way(ipsec: Ipsec) -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            expect_engine(stage, ipsec)?;
            let start = Instant::now();
            let there = stage.transfer("a", Volume::Bytes(20 * MB))?.start()?;
            let back = stage
                .transfer("b", Volume::Bytes(20 * MB))?
                .seed(2)
                .start()?;
            for (way, running) in [("a to b", there), ("b to a", back)] {
                let report = running.finish()?;
                print(way, &report);
                expect_whole(&report, 20 * MB)?;
            }
            println!("    both ways in {:.1} s", start.elapsed().as_secs_f64());
            Ok(())
        },
    )
}

/// Fails unless both gateways have found out what the kernel can do.
pub(super) fn expect_engine(stage: &Stage<'_>, ipsec: Ipsec) -> Result<()> {
    let wanted = match ipsec {
        Ipsec::Kernel => "kernel",
        Ipsec::Missing => "userspace",
    };
    for gateway in [&stage.a, &stage.b] {
        let status = status(gateway)?;
        let reason = status.engine_reason.unwrap_or_default();
        println!("    engine {}: {reason}", status.engine);
        ensure!(
            status.engine == wanted,
            "engine {}: {reason}",
            status.engine
        );
    }
    Ok(())
}

/// Fails unless every byte arrived as it was sent.
pub(super) fn expect_whole(report: &Report, bytes: u64) -> Result<()> {
    let received: u64 = report.connections.iter().map(|c| c.received).sum();
    ensure!(received == bytes, "{received} of {bytes} bytes arrived");
    ensure!(report.contents_equal(), "the contents differ");
    Ok(())
}

/// Sends some TCP each way, one after the other, and checks it.
pub(super) fn small_transfers(stage: &Stage<'_>, bytes: u64) -> Result<()> {
    for from in ["a", "b"] {
        let report = stage
            .transfer(from, Volume::Bytes(bytes))?
            .stall_limit(Duration::from_secs(10))
            .run()?;
        expect_whole(&report, bytes)?;
    }
    Ok(())
}

fn print(way: &str, report: &Report) {
    println!(
        "    {way}: {:.1} Mbit/s, {} segments sent again, contents equal: {}",
        report.goodput_bps() / 1e6,
        report.retransmits(),
        report.contents_equal(),
    );
}
