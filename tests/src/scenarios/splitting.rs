//! Packets go in pieces where that is worth it, and whole where it is not, by what the links turn out to carry.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use withy::{
    api::status::{SplittingStatus, TunnelStatus},
    config::SplitPolicy,
};

use super::{
    Scenario,
    policies::{PATH_MTU, TCP_HEADERS, sent, told_mss},
    stage::{Stage, links, play, tried, tunnel, wait_status},
};
use crate::{
    gateway::Gateway,
    lab::Lab,
    shape::QueueLength,
    site_config::{TunnelSpec, inner_mtu},
    traffic::{
        stream::{StreamPlan, StreamReport},
        tcp::Volume,
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::native(
    "packets_are_split_by_choice_where_links_are_slow",
    by_choice,
)];

/// What each of four links carries at first, in kbit/s, and their latency: pieces arrive 9 ms sooner than a full packet.
const SLOW: u64 = 1_000;
const LATENCY: Duration = Duration::from_millis(10);
/// What they carry later: 0.6 ms would be saved.
const FAST: u64 = 15_000;

/// Queues are counted in packets, and are to take a hundred milliseconds' worth of pieces.
const QUEUE: QueueLength = QueueLength::Time(Duration::from_millis(400));
/// So many connections fill the links at any time.
const BULK: u16 = 4;
/// How long it may take until it is known what links carry, and until that has been so for long enough.
const FOUND: Duration = Duration::from_secs(20);
/// How often that is tried. A machine that stalls has delays vary, and that wears off while links have little to do.
const ATTEMPTS: u32 = 3;
/// Then they vary by less than this, in seconds: half of what pieces save. And how long that may take.
const STEADY: f64 = 0.0045;
const SETTLED: Duration = Duration::from_secs(30);
/// For how long traffic is watched.
const WATCHED: Duration = Duration::from_secs(4);
/// Longer than anything takes here.
const LONG: Duration = Duration::from_mins(3);
/// Half of what the slow links carry.
const CALM: StreamPlan = StreamPlan {
    size: 1_200,
    per_second: 200,
    duration: WATCHED,
};
/// What a datagram of that size takes on a slow link: 1294 bytes of it.
const WHOLE: Duration = Duration::from_micros(10_350);

fn by_choice() -> Result<()> {
    let spec = TunnelSpec {
        split: SplitPolicy::Auto,
        stated: false,
        ..TunnelSpec::default()
    };
    let latency = u64::try_from(LATENCY.as_millis())?;
    let mut shapes = links(&[(SLOW, latency); 4]);
    for link in &mut shapes {
        (link.up.queue, link.down.queue) = (QUEUE, QUEUE);
    }
    play(Lab::paired(&shapes), &spec, |stage| {
        let at_first = splitting(&tunnel(&stage.a)?)?;
        println!("    at first: {}", at_first.reason);
        ensure!(!at_first.pieces, "nothing is known yet: {at_first:?}");
        // Whoever does not ask for much does not show what links carry.
        search(stage, true)?;
        slow(stage)?;
        for link in stage.lab.site("a")?.links() {
            let (mut up, down) = link.shapes();
            up.rate_bps = FAST * 1000;
            link.set_shape(up, down)?;
        }
        search(stage, false)?;
        let (report, packets, pieces) = calm(stage)?;
        ensure!(report.loss_ratio() < 0.01, "{} lost", report.lost());
        ensure!(
            packets == pieces,
            "{packets} packets in {pieces} pieces over fast links"
        );
        // What fits no link passes all the same.
        stage.expect_ping("a", PATH_MTU - 28)
    })
}

/// What there is little of goes in pieces, and arrives sooner; what waits for others goes whole.
fn slow(stage: &Stage<'_>) -> Result<()> {
    let (report, packets, pieces) = calm(stage)?;
    ensure!(report.loss_ratio() < 0.01, "{} lost", report.lost());
    ensure!(
        pieces > packets * 2,
        "{packets} packets in {pieces} pieces over slow links"
    );
    let delay = report.delay(0.5).context("nothing arrived")?;
    println!("    half of them after {delay:?}");
    ensure!(delay < LATENCY + WHOLE, "no sooner than whole");
    let before = sent(&tunnel(&stage.a)?);
    let transfer = stage.transfer("a", Volume::Time(2 * WATCHED))?;
    let transfer = transfer.connections(BULK).run()?;
    ensure!(transfer.contents_equal(), "the contents differ");
    let (packets, pieces) = since(stage, before)?;
    println!(
        "    bulk: {:.2} Mbit/s, {packets} packets in {pieces} pieces",
        transfer.goodput_bps() / 1e6
    );
    ensure!(
        pieces < packets * 2,
        "bulk of {packets} packets in {pieces} pieces"
    );
    let whole = inner_mtu(stage.spec.suite, PATH_MTU) - TCP_HEADERS;
    ensure!(told_mss(stage)? == whole, "the MSS is not clamped");
    Ok(())
}

fn splitting(tunnel: &TunnelStatus) -> Result<SplittingStatus> {
    tunnel.splitting.clone().context("nothing of splitting")
}

/// Loads the links until A has found out that packets are worth splitting, or not.
fn search(stage: &Stage<'_>, pieces: bool) -> Result<()> {
    tried(ATTEMPTS, || {
        wait_status(&stage.a, SETTLED, "steady delays", |status| {
            let ivcs = &status.tunnels[0].ivcs;
            ivcs.iter()
                .all(|ivc| ivc.jitter_seconds.is_none_or(|jitter| jitter < STEADY))
        })?;
        let load = stage.transfer("a", Volume::Time(LONG))?;
        let load = load.connections(BULK).start()?;
        let chosen = choice(&stage.a, pieces);
        load.stop();
        load.finish()?;
        chosen
    })
}

/// Waits until a gateway has chosen pieces, or whole packets.
fn choice(gateway: &Gateway<'_>, pieces: bool) -> Result<()> {
    let what = if pieces { "pieces" } else { "whole packets" };
    let time = wait_status(gateway, FOUND, what, |status| {
        let splitting = status.tunnels[0].splitting.as_ref();
        splitting.is_some_and(|splitting| splitting.pieces == pieces)
    })?;
    let shown = gateway.run_cli(&["status"])?.stdout;
    let wanted = if pieces {
        "packets in pieces (auto): "
    } else {
        "packets whole (auto): "
    };
    let line = shown.lines().find(|line| line.contains(wanted));
    let line = line.with_context(|| format!("nobody says {wanted}: {shown}"))?;
    println!("    after {time:?}: {}", line.trim());
    Ok(())
}

/// Sends what the links bear easily; returns what arrived, and in how many packets and pieces it went.
fn calm(stage: &Stage<'_>) -> Result<(StreamReport, u64, u64)> {
    let before = sent(&tunnel(&stage.a)?);
    let report = stage.probe("a")?.stream(CALM)?.finish()?;
    let (packets, pieces) = since(stage, before)?;
    println!(
        "    {} datagrams, {} lost: {packets} packets in {pieces} pieces",
        report.received,
        report.lost()
    );
    Ok((report, packets, pieces))
}

/// Packets and pieces that A has sent since.
fn since(stage: &Stage<'_>, (packets, pieces): (u64, u64)) -> Result<(u64, u64)> {
    let now = sent(&tunnel(&stage.a)?);
    Ok((now.0 - packets, now.1 - pieces))
}
