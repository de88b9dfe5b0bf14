//! Each class of a tunnel's packets goes as its policy says.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use withy::config::Resend;

use super::{
    Ipsec, Scenario,
    stage::{PING_LIMIT, Stage, links, play, status, tunnel},
};
use crate::{
    lab::Lab,
    shape::Loss,
    site_config::TunnelSpec,
    traffic::{
        icmp::{Ping, ping},
        pings::within,
        stream::{StreamPlan, StreamReport},
        tcp::Volume,
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::everywhere("copies_survive_what_two_links_lose", copies),
    Scenario::everywhere("flows_stay_on_one_link_while_it_is_there", flows),
    Scenario::everywhere("what_must_not_wait_overtakes_a_transfer", urgent),
];

/// A tunnel with these classes.
fn classes(classes: &'static str) -> TunnelSpec {
    TunnelSpec {
        classes,
        ..TunnelSpec::default()
    }
}

/// Datagrams with this payload in bytes.
fn stream(stage: &Stage<'_>, size: usize, per_second: u32, seconds: u64) -> Result<StreamReport> {
    let plan = StreamPlan {
        size,
        per_second,
        duration: Duration::from_secs(seconds),
    };
    stage.probe("a")?.stream(plan)?.finish()
}

fn copies(_: Ipsec) -> Result<()> {
    const LOST: f64 = 0.05;
    // Whole, split, and not copied.
    const CLASSES: &str = "[{match: {protocol: udp, size: {at_most: 300}}, policy: redundant}, \
                            {match: {protocol: udp, size: {at_least: 1450}}, policy: redundant}]";
    // What copies do, and not what is done about losses otherwise.
    let spec = TunnelSpec {
        resend: Resend::Off,
        ..classes(CLASSES)
    };
    play(
        Lab::paired(&links(&[(10_000, 10), (10_000, 15)])),
        &spec,
        |stage| {
            for site in ["a", "b"] {
                for link in stage.lab.site(site)?.links() {
                    let (mut up, down) = link.shapes();
                    up.loss = Loss::Independent(LOST);
                    link.set_shape(up, down)?;
                }
            }
            // One in twenty is lost on either link, one in four hundred on both; of two pieces, one in ten and one in a hundred.
            for (size, least, most) in [(200, 0.0, 0.01), (1450, 0.0, 0.03), (600, 0.02, 0.1)] {
                let report = stream(stage, size, 250, 10)?;
                let lost = report.loss_ratio();
                println!(
                    "    {size} bytes: {} of {} lost ({:.2}%), {} twice, {} out of order",
                    report.lost(),
                    report.sent,
                    lost * 100.0,
                    report.duplicates,
                    report.reordered
                );
                ensure!(report.duplicates == 0, "copies reach the host");
                ensure!((least..=most).contains(&lost), "{:.2}% lost", lost * 100.0);
            }
            let drops = tunnel_drops(stage)?;
            ensure!(
                drops.is_none_or(|(copied, replayed)| copied > 4_000 && replayed == 0),
                "{drops:?}"
            );
            Ok(())
        },
    )
}

/// How many packets Withy's own engine, where it is the one in use, has refused at `b` as copies and as replays.
fn tunnel_drops(stage: &Stage<'_>) -> Result<Option<(u64, u64)>> {
    let drops = status(&stage.b)?.drops;
    let of = |reason: &str| {
        drops
            .iter()
            .find(|drop| drop.reason == reason)
            .map(|drop| drop.packets)
    };
    Ok(of("esp_copied").zip(of("esp_replayed")))
}

fn flows(_: Ipsec) -> Result<()> {
    const CLASSES: &str = "[{match: {protocol: udp}, policy: sticky}]";
    play(
        Lab::paired(&links(&[(10_000, 5), (5_000, 25)])),
        &classes(CLASSES),
        |stage| {
            let mut used = BTreeSet::new();
            for _ in 0..16 {
                used.insert(one_flow(stage)?);
            }
            ensure!(used.len() == 2, "all flows go by one link");
            lost_link(stage)
        },
    )
}

/// How many packets each IVC of gateway `a` has sent.
fn sent(stage: &Stage<'_>) -> Result<Vec<u64>> {
    Ok(tunnel(&stage.a)?
        .ivcs
        .iter()
        .map(|ivc| ivc.tx.packets)
        .collect())
}

/// Sends a stream; returns the place of the IVC that has carried it all.
fn one_flow(stage: &Stage<'_>) -> Result<usize> {
    const PACKETS: u64 = 100;
    let before = sent(stage)?;
    let report = stream(stage, 100, 200, 1)?;
    let after = sent(stage)?;
    // Processors of the machine may overtake each other, links may not.
    ensure!(
        report.lost() == 0 && report.reordered < 5,
        "{} lost, {} out of order",
        report.lost(),
        report.reordered
    );
    let grown: Vec<_> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .collect();
    println!("    packets by IVC: {grown:?}");
    let carried = grown.iter().position(|grown| *grown > PACKETS);
    let others = grown.iter().filter(|grown| **grown < 5).count();
    ensure!(
        others + 1 == grown.len(),
        "a flow by several links: {grown:?}"
    );
    carried.context("no flow")
}

/// A flow goes on when its link is lost.
fn lost_link(stage: &Stage<'_>) -> Result<()> {
    let before = sent(stage)?;
    let plan = StreamPlan {
        size: 100,
        per_second: 200,
        duration: Duration::from_secs(5),
    };
    let stream = stage.probe("a")?.stream(plan)?;
    thread::sleep(Duration::from_secs(1));
    let now = sent(stage)?;
    let grown = |ivc: &usize| now[*ivc] > before[*ivc] + 50;
    let carrier = (0..now.len()).find(grown).context("no flow")?;
    stage.lab.site("a")?.links()[carrier].cut()?;
    let report = stream.finish()?;
    println!(
        "    its link lost: longest gap {:?}, {} lost",
        report.longest_gap,
        report.lost()
    );
    ensure!(report.longest_gap < Duration::from_secs(1), "{report:?}");
    Ok(())
}

fn urgent(ipsec: Ipsec) -> Result<()> {
    const CLASSES: &str = "[{match: {protocol: icmp}, policy: lowest-latency}]";
    // An emulated machine carries less.
    let rate = match ipsec {
        Ipsec::Kernel => 3_000,
        Ipsec::Missing => 15_000,
    };
    let mut found = Vec::new();
    for spec in [TunnelSpec::default(), classes(CLASSES)] {
        play(
            Lab::paired(&links(&[(2 * rate, 10), (rate, 30)])),
            &spec,
            |stage| {
                found.push(while_loaded(stage)?);
                Ok(())
            },
        )?;
    }
    let [plain, urgent] = &found[..] else {
        bail!("two measurements");
    };
    // There and back by the nearer link, for which an emulated machine takes time of its own.
    let empty = match ipsec {
        Ipsec::Kernel => urgent.idle,
        Ipsec::Missing => Duration::from_millis(20),
    };
    // Behind what a queue may be that bulk leaves.
    ensure!(
        urgent.loaded < empty + Duration::from_millis(15),
        "{urgent:?}"
    );
    ensure!(
        plain.loaded > urgent.loaded + Duration::from_millis(15),
        "{plain:?} without classes"
    );
    ensure!(
        urgent.goodput > plain.goodput / 3.0,
        "transfers get {urgent:?} of {plain:?}"
    );
    Ok(())
}

/// What pings find before and during a transfer.
#[derive(Debug)]
struct Waits {
    /// The median round trip of an idle tunnel.
    idle: Duration,
    /// The median round trip during the transfer.
    loaded: Duration,
    /// What the transfer carries, in bits a second.
    goodput: f64,
}

fn while_loaded(stage: &Stage<'_>) -> Result<Waits> {
    let idle = pings(stage, Duration::from_secs(3))?;
    let transfer = stage.transfer("a", Volume::Time(Duration::from_secs(15)))?;
    let transfer = transfer.connections(12).start()?;
    thread::sleep(Duration::from_secs(3));
    let loaded = pings(stage, Duration::from_secs(10))?;
    let goodput = transfer.finish()?.goodput_bps();
    let waits = Waits {
        idle: within(idle, 50).context("no answer")?,
        loaded: within(loaded.iter().copied(), 50).context("no answer")?,
        goodput,
    };
    println!(
        "    {waits:?}, 95% of the pings within {:?}",
        within(loaded, 95).unwrap_or_default()
    );
    Ok(waits)
}

/// Round trips from host to host, one after the other: more would leave transfers less.
fn pings(stage: &Stage<'_>, duration: Duration) -> Result<Vec<Duration>> {
    let (from, to) = stage.hosts("a")?;
    let (mut times, start) = (Vec::new(), Instant::now());
    while start.elapsed() < duration {
        match ping(from.host(), to.lan().host, 56, true, PING_LIMIT)? {
            Ping::Reply { rtt } => times.push(rtt),
            Ping::Timeout => {}
            other => bail!("{other:?}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(times)
}
