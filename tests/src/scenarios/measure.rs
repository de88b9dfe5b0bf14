//! What gateways tell of their links is what these are.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use withy::api::status::{DropStatus, IvcStatus, ProbesOnly, RateSource, TunnelStatus};

use super::{
    Ipsec, Scenario,
    negotiation::{begin, sites, spec},
    stage::{Stage, links, play, rehearse, status, tunnel},
};
use crate::{
    gateway::Gateway,
    lab::Lab,
    site_config::{TUNNEL, TunnelSpec},
    traffic::tcp::Volume,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::anywhere("pings_tell_how_long_each_link_takes", pings),
    Scenario::native(
        "the_status_tells_what_is_known_of_each_link",
        known_of_links,
    ),
    Scenario::anywhere("speedtests_tell_what_links_carry", speedtests),
];

/// How much longer than the links an answer may take: gateways have other things to do, too.
fn patience(ipsec: Ipsec) -> f64 {
    match ipsec {
        Ipsec::Missing => 0.004,
        // The machine is emulated.
        Ipsec::Kernel => 0.025,
    }
}

fn pings(ipsec: Ipsec) -> Result<()> {
    let slack = patience(ipsec);
    let shapes = links(&[(10_000, 10), (5_000, 30)]);
    play(Lab::paired(&shapes), &TunnelSpec::default(), |stage| {
        // The way out of this link takes longer than the way back.
        let link = stage.lab.site("a")?.link("wan1")?;
        let (mut up, down) = link.shapes();
        up.latency += Duration::from_millis(20);
        link.set_shape(up, down)?;
        let found = ping(&stage.a, &[])?;
        near(&found, 0, "rtt_min_seconds", 0.02, slack)?;
        near(&found, 1, "rtt_min_seconds", 0.08, slack)?;
        near(&found, 1, "out_lag_seconds", 0.04, slack)?;
        near(&found, 1, "back_lag_seconds", 0.02, slack)?;
        // Seen from the other side it is the other way round.
        let found = ping(&stage.b, &[])?;
        near(&found, 1, "out_lag_seconds", 0.02, slack)?;
        near(&found, 1, "back_lag_seconds", 0.04, slack)?;
        hopeless(stage)
    })?;
    // 10 ms out of one link, and 10 ms into the other's.
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        for gateway in [&stage.a, &stage.b] {
            let found = ping(gateway, &["--link", "wan1"])?;
            ensure!(found.len() == 1, "{found:?}");
            near(&found, 0, "rtt_min_seconds", 0.04, slack)?;
        }
        Ok(())
    })
}

/// Pings ten times; returns what comes of it, by IVC.
fn ping(gateway: &Gateway<'_>, more: &[&str]) -> Result<Vec<Value>> {
    let args = [
        "ping",
        TUNNEL,
        "--count",
        "10",
        "--interval",
        "100ms",
        "--json",
    ];
    let output = gateway.run_cli(&[&args, more].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let lines = output.stdout.lines();
    let values: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (summary, pings) = values.split_last().context("nothing was told")?;
    let ivcs = summary["ivcs"].as_array().context("no summary")?.clone();
    ensure!(pings.len() == 10 * ivcs.len(), "{} pings", pings.len());
    for ivc in &ivcs {
        let counts = (ivc["sent"].as_u64(), ivc["answered"].as_u64());
        println!(
            "    {} to {}: {:?} sent and answered, {} to {} s, {} and {} s slower",
            ivc["link"],
            ivc["remote"],
            counts,
            ivc["rtt_min_seconds"],
            ivc["rtt_max_seconds"],
            ivc["out_lag_seconds"],
            ivc["back_lag_seconds"]
        );
        ensure!(counts == (Some(10), Some(10)), "{ivc}");
    }
    Ok(ivcs)
}

/// Fails unless a figure is what it should be, or longer by no more than the slack.
fn near(ivcs: &[Value], place: usize, key: &str, wanted: f64, slack: f64) -> Result<()> {
    let found = ivcs.get(place).and_then(|ivc| ivc[key].as_f64());
    let found = found.with_context(|| format!("no {key}"))?;
    let near = (wanted - slack / 4.0..=wanted + slack).contains(&found);
    ensure!(near, "{key} of IVC {place} is {found} s, not {wanted} s");
    Ok(())
}

/// Pings that go nowhere, and what cannot be pinged.
fn hopeless(stage: &Stage<'_>) -> Result<()> {
    stage.lab.site("a")?.link("wan1")?.blackhole(true)?;
    let fast = ["--count", "3", "--interval", "50ms"];
    let output = stage
        .a
        .run_cli(&[&["ping", TUNNEL, "--link", "wan1"], &fast[..]].concat())?;
    ensure!(
        output.status.code() == Some(1) && output.stdout.matches("no answer").count() == 3,
        "{output:?}"
    );
    let output = stage.a.run_cli(&[&["ping", TUNNEL], &fast[..]].concat())?;
    ensure!(
        output.status.success() && output.stdout.contains("100%"),
        "{output:?}"
    );
    for (args, complaint) in [
        (&["ping", "rome"][..], "there is no tunnel rome; there are"),
        (
            &["ping", TUNNEL, "--link", "wan7"],
            "no IVC over a link wan7",
        ),
        (
            &["ping", TUNNEL, "--interval", "1ms"],
            "the interval is from 50ms",
        ),
    ] {
        let output = stage.a.run_cli(args)?;
        ensure!(
            output.status.code() == Some(1) && output.stderr.contains(complaint),
            "{output:?}"
        );
    }
    Ok(())
}

/// How long the transfer goes on before it is looked: longer than what counts as recent.
const LOAD: Duration = Duration::from_secs(14);

fn known_of_links() -> Result<()> {
    // The third adds too little to be worth waiting for.
    let shapes = links(&[(10_000, 5), (20_000, 15), (300, 600)]);
    play(Lab::paired(&shapes), &TunnelSpec::default(), |stage| {
        // What it has carried and not found out yet is forgotten.
        let before = tunnel(&stage.a)?;
        describe("before", &before);
        for (ivc, cap) in before.ivcs.iter().zip([10_000_000, 20_000_000, 300_000]) {
            ensure!(ivc.rate_cap_bps == Some(cap), "{ivc:?}");
            ensure!(ivc.rate_source == RateSource::Stated, "{ivc:?}");
        }
        let link = stage.lab.site("a")?.link("wan1")?;
        let (mut up, down) = link.shapes();
        up.rate_bps /= 2;
        link.set_shape(up, down)?;
        let transfer = stage.transfer("a", Volume::Time(LOAD + Duration::from_secs(4)))?;
        let running = transfer.start()?;
        thread::sleep(LOAD);
        let loaded = tunnel(&stage.a)?;
        let received = tunnel(&stage.b)?;
        let report = running.finish()?;
        describe("loaded", &loaded);
        describe("at the other gateway", &received);
        println!("    {:.2} Mbit/s", report.goodput_bps() / 1e6);
        judge(&loaded, &received)
    })
}

fn judge(loaded: &TunnelStatus, received: &TunnelStatus) -> Result<()> {
    let [one, two, slow] = &loaded.ivcs[..] else {
        anyhow::bail!("{} IVCs", loaded.ivcs.len());
    };
    ensure!(two.rate_source == RateSource::Measured, "{two:?}");
    for (ivc, mbit) in [(one, 10.0), (two, 10.0)] {
        between("rate", mbits(ivc), mbit * 0.88, mbit * 1.05)?;
        between("share", share(ivc)?, 0.42, 0.58)?;
        between("queue", ivc.queue_seconds.context("no queue")?, 0.0, 0.2)?;
        between(
            "jitter",
            ivc.jitter_seconds.context("no jitter")?,
            0.0,
            0.02,
        )?;
        ensure!(ivc.probes_only.is_none(), "{ivc:?}");
    }
    between("lag", two.lag_seconds.context("no lag")?, 0.007, 0.016)?;
    between("lag", slow.lag_seconds.context("no lag")?, 0.57, 0.63)?;
    ensure!(slow.probes_only == Some(ProbesOnly::TooSlow), "{slow:?}");
    ensure!(slow.tx.bytes < 200_000 && share(slow)? < 0.01, "{slow:?}");
    let recent = loaded.recent.context("nothing recent")?;
    between("recent time", recent.seconds, 9.0, 12.0)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = recent.tx_bytes as f64 * 8.0 / recent.seconds / 1e6;
    between("recent rate", rate, 16.0, 20.5)?;
    // What one sends the other receives.
    for (here, there) in loaded.ivcs.iter().zip(&received.ivcs) {
        let there = there.share_rx_ratio.context("no share")?;
        between(
            "the other's share",
            there,
            share(here)? - 0.03,
            share(here)? + 0.03,
        )?;
    }
    let order = received.order.as_ref().context("no order")?;
    let counts = order.counts.context("the engine keeps no count")?;
    ensure!(
        order.policy == "auto" && counts.in_order > 1000,
        "{order:?}"
    );
    Ok(())
}

fn describe(when: &str, tunnel: &TunnelStatus) {
    for ivc in &tunnel.ivcs {
        println!(
            "    {when}, {}: {:.2} Mbit/s ({:?}), lag {:?} s, queue {:?} s, jitter {:?} s, shares {:?} and {:?}, {:?}",
            ivc.link,
            mbits(ivc),
            ivc.rate_source,
            ivc.lag_seconds,
            ivc.queue_seconds,
            ivc.jitter_seconds,
            ivc.share_tx_ratio,
            ivc.share_rx_ratio,
            ivc.probes_only
        );
    }
    println!("    {when}: {:?}, {:?}", tunnel.recent, tunnel.order);
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn mbits(ivc: &IvcStatus) -> f64 {
    ivc.rate_bps as f64 / 1e6
}

fn share(ivc: &IvcStatus) -> Result<f64> {
    ivc.share_tx_ratio.context("no share")
}

fn between(what: &str, found: f64, least: f64, most: f64) -> Result<()> {
    ensure!(
        (least..=most).contains(&found),
        "{what}: {found}, not {least} to {most}"
    );
    Ok(())
}

/// What links carry up and down, in Mbit/s.
const RATES: [(f64, f64); 2] = [(6.0, 3.0), (2.0, 4.0)];

/// Which part of what links carry is to be found at least: headers beneath IP and caution take some.
fn part(ipsec: Ipsec) -> f64 {
    match ipsec {
        Ipsec::Missing => 0.88,
        // An emulated machine that stalls leaves links idle.
        Ipsec::Kernel => 0.6,
    }
}

fn speedtests(ipsec: Ipsec) -> Result<()> {
    let least = part(ipsec);

    let mut shapes = links(&[(6_000, 10), (2_000, 20)]);
    for (link, (_, down)) in shapes.iter_mut().zip([(0, 3_000_000), (0, 4_000_000)]) {
        link.down.rate_bps = down;
    }
    play(Lab::paired(&shapes), &TunnelSpec::default(), |stage| {
        let before = dropped(stage)?;
        let all = speedtest(&stage.a, &[])?;
        let sum = |way: fn(&(f64, f64)) -> f64| RATES.iter().map(way).sum::<f64>();
        carries(
            &all,
            least,
            &[("down", sum(|rate| rate.1)), ("up", sum(|rate| rate.0))],
        )?;
        for (ivc, (_, down)) in ivcs(&all[0])?.iter().zip(RATES) {
            between(
                "a link's part",
                number(ivc, "rate_bps")? / 1e6,
                0.9 * least * down,
                down,
            )?;
        }
        let one = speedtest(&stage.a, &["--link", "wan1"])?;
        carries(&one, least, &[("down", RATES[1].1), ("up", RATES[1].0)])?;
        // Up from here is down from there.
        carries(
            &speedtest(&stage.b, &["--down"])?,
            least,
            &[("down", sum(|rate| rate.0))],
        )?;
        one_at_a_time(stage)?;
        quiet(stage)?;
        let after = dropped(stage)?;
        println!("    dropped before: {before:?}, after: {after:?}");
        ensure!(after == before, "filler was dropped");
        Ok(())
    })
}

fn speedtest(gateway: &Gateway<'_>, more: &[&str]) -> Result<Vec<Value>> {
    let args = ["speedtest", TUNNEL, "--seconds", "9", "--json"];
    let output = gateway.run_cli(&[&args, more].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let lines = output.stdout.lines();
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn ivcs(speed: &Value) -> Result<&Vec<Value>> {
    speed["ivcs"].as_array().context("no IVCs")
}

fn number(value: &Value, key: &str) -> Result<f64> {
    value[key]
        .as_f64()
        .with_context(|| format!("no {key}: {value}"))
}

/// Fails unless so many Mbit/s are found each way, or this part at least, with few losses and short queues.
fn carries(found: &[Value], least: f64, wanted: &[(&str, f64)]) -> Result<()> {
    ensure!(found.len() == wanted.len(), "{found:?}");
    for (speed, (direction, mbit)) in found.iter().zip(wanted) {
        println!("    {direction}, {mbit} Mbit/s: {speed}");
        ensure!(speed["direction"] == *direction, "{speed}");
        between(
            "the rate",
            number(speed, "rate_bps")? / 1e6,
            least * mbit,
            *mbit,
        )?;
        between("the time", number(speed, "seconds")?, 4.5, 6.5)?;
        for ivc in ivcs(speed)? {
            between("the loss", number(ivc, "loss_ratio")?, 0.0, 0.03)?;
            let idle = number(ivc, "rtt_idle_seconds")?;
            between(
                "the delay",
                number(ivc, "rtt_loaded_seconds")?,
                idle,
                idle + 0.2,
            )?;
        }
    }
    Ok(())
}

/// Who comes second is told so, at either gateway.
fn one_at_a_time(stage: &Stage<'_>) -> Result<()> {
    let up = ["speedtest", TUNNEL, "--up", "--seconds", "8"];
    let down = ["speedtest", TUNNEL, "--down", "--seconds", "3"];
    let (first, own, others) = thread::scope(|scope| {
        let first = scope.spawn(|| stage.b.run_cli(&up));
        // What is there before there is load takes half a second.
        thread::sleep(Duration::from_secs(3));
        let own = stage.b.run_cli(&down);
        let others = stage.a.run_cli(&down);
        (first.join(), own, others)
    });
    let first = first.map_err(|_| anyhow::anyhow!("it panicked"))??;
    ensure!(first.status.success(), "{first:?}");
    print!("{}", first.stdout);
    for (output, complaint) in [
        (own?, "another speedtest is under way"),
        (others?, "the other gateway is busy with another speedtest"),
    ] {
        ensure!(
            output.status.code() == Some(1) && output.stderr.contains(complaint),
            "{output:?}"
        );
    }
    Ok(())
}

/// What both gateways have dropped. Nothing is too much for the scheduler, and nothing gets as far as IPsec.
fn dropped(stage: &Stage<'_>) -> Result<Vec<DropStatus>> {
    let mut all = Vec::new();
    for gateway in [&stage.a, &stage.b] {
        let drops = status(gateway)?.drops.into_iter();
        all.extend(drops.filter(|drop| drop.packets > 0));
    }
    Ok(all)
}

/// Nothing is left of the load.
fn quiet(stage: &Stage<'_>) -> Result<()> {
    let sent = |gateway: &Gateway<'_>| -> Result<u64> {
        Ok(tunnel(gateway)?.ivcs.iter().map(|ivc| ivc.tx.bytes).sum())
    };
    thread::sleep(Duration::from_secs(2));
    for gateway in [&stage.a, &stage.b] {
        let before = sent(gateway)?;
        thread::sleep(Duration::from_secs(1));
        ensure!(sent(gateway)? == before, "there is load yet");
    }
    stage.expect_ping("a", 1000)
}
