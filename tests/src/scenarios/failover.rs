//! Links that go and come back while traffic flows.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use withy::api::status::IvcStatus;

use super::{
    Ipsec, Scenario,
    stage::{Stage, links, play, tunnel},
};
use crate::{
    lab::Lab,
    netns::Netns,
    site_config::TunnelSpec,
    traffic::tcp::{Running, Volume},
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::everywhere(
    "a_cut_link_does_not_stall_the_stream_and_gets_its_share_back",
    cut_and_restore,
)];

/// The links' rate in kbit/s, and the most that the stream may stand still, which takes it longer in an emulated machine.
const fn terms(ipsec: Ipsec) -> (u64, Duration) {
    match ipsec {
        Ipsec::Kernel => (2_000, Duration::from_secs(1)),
        Ipsec::Missing => (20_000, Duration::from_millis(300)),
    }
}

/// Time over which a link's share is measured.
const WINDOW: Duration = Duration::from_secs(2);

/// How much of its share a link must have back, and within which time.
const SHARE_BACK: f64 = 0.8;
const BACK_LIMIT: Duration = Duration::from_secs(6);

fn cut_and_restore(ipsec: Ipsec) -> Result<()> {
    let (rate, longest) = terms(ipsec);
    play(
        Lab::paired(&links(&[(rate, 10); 4])),
        &TunnelSpec::default(),
        |stage| {
            let running = stage
                .transfer("a", Volume::Time(Duration::from_mins(1)))?
                .start()?;
            // The first link is where a scheduler that finds all links equal goes.
            let host = stage.lab.site("a")?.host();
            let before = timeouts(host)?;
            let cuts = ["wan2", "wan0"].map(|link| cut_one(stage, &running, link));
            let timeouts = timeouts(host)? - before;
            running.stop();
            let report = running.finish()?;
            for cut in cuts {
                let at = cut?.saturating_duration_since(report.timeline.start());
                println!("    it was cut {:.1} s after the start", at.as_secs_f64());
            }
            let (gap, began) = report.timeline.longest_gap();
            let began = began.map(|at| at.saturating_duration_since(report.timeline.start()));
            println!(
                "    longest stall {gap:?}, {:.1} s after the start; {} segments sent again, {timeouts} timeouts",
                began.unwrap_or_default().as_secs_f64(),
                report.retransmits()
            );
            ensure!(report.contents_equal(), "the contents differ");
            ensure!(gap <= longest, "the stream stood still for {gap:?}");
            ensure!(
                ipsec == Ipsec::Kernel || timeouts == 0,
                "TCP waited in vain {timeouts} times"
            );
            Ok(())
        },
    )
}

/// How often TCP has waited in vain for an acknowledgement in a namespace.
fn timeouts(netns: &Netns) -> Result<u64> {
    let text = netns.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt")?;
    let mut counts = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = (counts.find(|(name, _)| *name == "TCPTimeouts")).context("no TCPTimeouts")?;
    Ok(count.parse()?)
}

/// Cuts a link under traffic and restores it; returns when it was cut.
fn cut_one(stage: &Stage<'_>, running: &Running, name: &str) -> Result<Instant> {
    // TCP needs a moment to fill the links.
    thread::sleep(Duration::from_secs(2));
    let before = share(stage, name)?;
    let link = stage.lab.site("a")?.link(name)?;
    let cut = Instant::now();
    link.cut()?;
    thread::sleep(Duration::from_millis(500));
    let bytes = running.received();
    let during = share(stage, name)?;
    let flowing = running.received() - bytes;
    link.restore()?;
    let mut after = 0.0;
    let restored = Instant::now();
    let back = wait_until(BACK_LIMIT, "the link's share to return", || {
        after = share(stage, name)?;
        Ok(after >= SHARE_BACK * before)
    });
    println!(
        "    {name}: share {:.0}% before, {:.0}% while cut, {:.0}% within {:.1} s of its return; \
         {flowing} bytes in {WINDOW:?} without it",
        before * 100.0,
        during * 100.0,
        after * 100.0,
        restored.elapsed().as_secs_f64()
    );
    back?;
    ensure!(during == 0.0, "{name} was used while it was cut");
    ensure!(flowing > 0, "nothing arrived while {name} was cut");
    Ok(cut)
}

/// What part of the bytes sent in a while leaves over a link, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
fn share(stage: &Stage<'_>, name: &str) -> Result<f64> {
    let before = tunnel(&stage.a)?.ivcs;
    thread::sleep(WINDOW);
    let after = tunnel(&stage.a)?.ivcs;
    let sent = |ivcs: &[IvcStatus]| ivcs.iter().map(|ivc| ivc.tx.bytes).sum::<u64>();
    let of = |ivcs: &[IvcStatus]| {
        let ivc = ivcs.iter().find(|ivc| ivc.link == name);
        ivc.map(|ivc| ivc.tx.bytes).context("no such IVC")
    };
    let all = sent(&after) - sent(&before);
    ensure!(all > 0, "nothing was sent in {WINDOW:?}");
    Ok((of(&after)? - of(&before)?) as f64 / all as f64)
}
