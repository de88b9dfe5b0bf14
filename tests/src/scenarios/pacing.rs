//! What has to wait waits in the gateway, not in the modem.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::config::Pacing;

use super::{
    Scenario,
    stage::{Stage, links, play, rehearse, status, tunnel, wait_status},
};
use crate::{
    gateway::Gateway,
    lab::{Lab, LinkSpec},
    netns::Netns,
    shape::QueueLength,
    site_config::TunnelSpec,
    snapshot::{Scope, Snapshot},
    traffic::{bursts::BurstPlan, tcp::Volume},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_short_queue_behind_the_gateway_loses_nothing_of_bursts",
        bursts,
    )
    .smoke(),
    Scenario::new("a_queueing_discipline_set_by_hand_stays_as_it_is", by_hand).smoke(),
    Scenario::native("links_are_not_paced_where_the_kernel_has_no_fq", without_fq),
];

/// How long the daemon may take to see what has become of an interface.
const PATIENCE: Duration = Duration::from_secs(20);

/// 48 ms of the link, in a moment; 40% of what it carries in all.
const BURSTS: BurstPlan = BurstPlan {
    size: 1000,
    datagrams: 40,
    every: Duration::from_millis(120),
    bursts: 50,
};

/// How often a figure is taken before it counts as missed: an emulated machine that stalls lets go at once what should have left meanwhile.
const ATTEMPTS: u32 = 3;

/// So many TCP streams fill a link whatever becomes of one.
const STREAMS: u16 = 4;

/// How much of what streams get without pacing they must get with it: of a rate that is stated 97% is used, and the link is to have something to do
/// while the emulated machine stalls.
const NO_LESS: f64 = 0.95;

/// What came of one way to send.
#[derive(Clone, Copy, Debug)]
struct Found {
    loss: f64,
    goodput: f64,
}

/// Links whose modems have room for 20 packets.
fn narrow(rates: &[(u64, u64)]) -> Vec<LinkSpec> {
    let mut specs = links(rates);
    for spec in &mut specs {
        for shape in [&mut spec.up, &mut spec.down] {
            shape.queue = QueueLength::Packets(20);
        }
    }
    specs
}

fn bursts() -> Result<()> {
    let run = |pacing, least| -> Result<Found> {
        let spec = TunnelSpec {
            pacing,
            ..TunnelSpec::default()
        };
        let mut found = None;
        play(Lab::paired(&narrow(&[(8000, 10)])), &spec, |stage| {
            found = Some(send(stage, pacing, least)?);
            Ok(())
        })?;
        found.context("nothing was sent")
    };
    let plain = run(Pacing::Off, 0.0)?;
    let least = NO_LESS * plain.goodput;
    let paced = run(Pacing::Auto, least)?;
    ensure!(plain.loss > 0.1, "bursts harm nobody: {plain:?}");
    ensure!(paced.loss < 0.01, "{paced:?}");
    ensure!(paced.goodput >= least, "{paced:?}, {plain:?}");
    Ok(())
}

/// Sends bursts, and then TCP streams, which should get so many bits a second at least.
fn send(stage: &Stage<'_>, pacing: Pacing, least: f64) -> Result<Found> {
    let paced = pacing == Pacing::Auto;
    for gateway in [&stage.a, &stage.b] {
        wait_status(gateway, PATIENCE, "the pace", |status| {
            status
                .links
                .iter()
                .all(|link| link.unpaced.is_none() == paced)
        })?;
    }
    let mut loss = 1.0_f64;
    for _ in 0..if paced { ATTEMPTS } else { 1 } {
        let report = stage.probe("a")?.bursts(BURSTS)?;
        println!(
            "    pacing {pacing}: {report:?}, {:.1}% lost",
            report.loss_ratio() * 100.0
        );
        loss = loss.min(report.loss_ratio());
        if loss < 0.01 {
            break;
        }
    }
    let mut goodput = 0.0_f64;
    for _ in 0..if paced { ATTEMPTS } else { 1 } {
        let report = stage
            .transfer("a", Volume::Time(Duration::from_secs(10)))?
            .connections(STREAMS)
            .run()?;
        ensure!(report.contents_equal(), "the contents differ");
        goodput = goodput.max(report.goodput_bps());
        println!(
            "    pacing {pacing}: {:.3} Mbit/s, {} segments sent again, {} kbit/s thought to be carried",
            report.goodput_bps() / 1e6,
            report.retransmits(),
            tunnel(&stage.a)?.ivcs[0].rate_bps / 1_000,
        );
        if goodput >= least {
            break;
        }
    }
    Ok(Found { loss, goodput })
}

/// Runs `tc` in a gateway's namespace: what a hand does, and independent of the code under test.
fn tc(netns: &Netns, args: &[&str]) -> Result<String> {
    let output = netns.enter(|| Ok(Command::new("tc").args(args).output()?))?;
    ensure!(output.status.success(), "tc {args:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// What is at the root of an interface.
fn root(netns: &Netns, device: &str) -> Result<String> {
    let queues = tc(netns, &["qdisc", "show", "dev", device, "root"])?;
    Ok(queues.lines().next().unwrap_or_default().to_owned())
}

/// Waits until a link is paced, or is not, for a reason that begins so.
fn wait_reason(gateway: &Gateway<'_>, link: usize, reason: Option<&str>) -> Result<()> {
    wait_status(gateway, PATIENCE, "another reason", |status| {
        let unpaced = status.links[link].unpaced.as_deref();
        match (unpaced, reason) {
            (Some(unpaced), Some(reason)) => unpaced.starts_with(reason),
            (unpaced, reason) => unpaced == reason,
        }
    })?;
    Ok(())
}

fn by_hand() -> Result<()> {
    let lab = Lab::paired(&links(&[(5000, 10), (5000, 10)]));
    rehearse(lab, &TunnelSpec::default(), |stage| {
        let site = stage.a.site();
        let netns = site.gateway();
        tc(
            netns,
            &[
                "qdisc", "add", "dev", "wan0", "root", "pfifo", "limit", "77",
            ],
        )?;
        let before = Snapshot::when_calm(site, Scope::Namespace)?;
        let others = root(netns, "wan0")?;
        stage.start()?;
        wait_reason(
            &stage.a,
            0,
            Some("the interface has a queueing discipline pfifo"),
        )?;
        wait_reason(&stage.a, 1, None)?;
        ensure!(root(netns, "wan0")? == others, "it is another");
        let own = root(netns, "wan1")?;
        ensure!(
            own.contains("qdisc fq 5749:") && own.contains("flow_limit 10000p"),
            "{own}"
        );
        change_hands(stage)?;
        let output = stage.a.run_cli(&["down"])?;
        ensure!(output.status.success(), "withy down: {output:?}");
        stage.a.wait(PATIENCE)?;
        let differences = before.differences_after(site, PATIENCE)?;
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    })
}

/// What a hand does to Withy's own queueing discipline while the daemon runs.
fn change_hands(stage: &Stage<'_>) -> Result<()> {
    let netns = stage.a.site().gateway();
    // An fq is used if it can be.
    let fq = [
        "qdisc", "replace", "dev", "wan1", "root", "handle", "7:", "fq",
    ];
    tc(netns, &fq)?;
    wait_reason(
        &stage.a,
        1,
        Some("the interface has an fq with flow_limit 100"),
    )?;
    tc(netns, &[&fq[..], &["flow_limit", "2000"]].concat())?;
    wait_reason(&stage.a, 1, None)?;
    ensure!(
        root(netns, "wan1")?.contains("qdisc fq 7:"),
        "it is another"
    );
    stage.expect_ping("a", 1000)?;
    // Where nobody has put one any more, Withy's own comes back.
    tc(netns, &["qdisc", "del", "dev", "wan1", "root"])?;
    wait_status(&stage.a, PATIENCE, "its own", |_| {
        root(netns, "wan1").is_ok_and(|root| root.contains("qdisc fq 5749:"))
    })?;
    wait_reason(&stage.a, 1, None)
}

fn without_fq() -> Result<()> {
    play(
        Lab::paired(&links(&[(5000, 10)])),
        &TunnelSpec::default(),
        |stage| {
            let found = status(&stage.a)?;
            let reason = found.links[0].unpaced.as_deref();
            ensure!(reason == Some("this kernel has no fq"), "{reason:?}");
            ensure!(found.problems.is_empty(), "{:?}", found.problems);
            Ok(())
        },
    )
}
