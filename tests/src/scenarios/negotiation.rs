//! Gateways that find each other's links and agree on keys by themselves.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::api::status::{Status, TunnelState};

use super::{
    Scenario,
    stage::{PING_LIMIT, Stage, launch, links, play, rehearse, status, wait_status},
    transfer::small_transfers,
};
use crate::{
    gateway::Gateway,
    lab::{Lab, LabBuilder, SiteSpec},
    negotiated_config,
    site_config::{Keying, TunnelSpec},
    snapshot::{Scope, Snapshot},
    traffic::{
        icmp::{Ping, ping},
        stream::{Stream, StreamPlan},
        tcp::{Running, Volume},
    },
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("negotiated_links_come_up_in_any_number", numbers).smoke(),
    Scenario::new(
        "negotiated_tunnels_survive_failures_under_traffic",
        failures,
    ),
    Scenario::new("fifty_renewals_of_keys_lose_nothing", renewals),
    Scenario::new("a_wrong_key_is_refused_and_counted", wrong_key),
    Scenario::new("negotiated_tunnels_outlive_their_daemons", restarts),
];

/// How long everything may take on an emulated machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The longest gap in a stream of datagrams where another IVC lives, on an emulated machine.
const LONGEST_GAP: Duration = Duration::from_millis(800);

pub(super) fn spec() -> TunnelSpec {
    TunnelSpec {
        keying: Keying::Negotiated,
        ..TunnelSpec::default()
    }
}

/// Two sites with so many links of 10 ms each, so that there are 20 between them.
pub(super) fn sites(here: usize, there: usize) -> LabBuilder {
    let links = |count| links(&vec![(4000, 10); count]);
    Lab::routed(&[
        SiteSpec::new("a", &links(here)),
        SiteSpec::new("b", &links(there)),
    ])
}

/// Whether every IVC that there should be is up at both ends.
pub(super) fn is_complete(status: &Status, ivcs: usize) -> bool {
    status.problems.is_empty()
        && status
            .tunnels
            .iter()
            .all(|tunnel| tunnel.state == TunnelState::Up && tunnel.ivcs.len() == ivcs)
}

pub(super) fn wait_complete(stage: &Stage<'_>, ivcs: usize) -> Result<()> {
    for gateway in [&stage.a, &stage.b] {
        wait_status(gateway, PATIENCE, "all IVCs", |status| {
            is_complete(status, ivcs)
        })?;
    }
    Ok(())
}

fn numbers() -> Result<()> {
    // What an emulated machine runs for the first time costs it seconds: the first pair is a rehearsal.
    for (here, there) in [(1, 1), (1, 1), (1, 4), (4, 1), (3, 2), (4, 4)] {
        rehearse(sites(here, there), &spec(), |stage| {
            stage.configure()?;
            launch(&mut stage.b)?;
            wait_status(&stage.b, PATIENCE, "a daemon", |_| true)?;
            launch(&mut stage.a)?;
            wait_complete(stage, here.max(there))?;
            for from in ["a", "b"] {
                stage.expect_ping(from, 1472)?;
            }
            small_transfers(stage, 1_000_000)?;
            let log = stage.a.log()?;
            let first = after_ready(&log, "new keys are in use")?;
            let all = after_ready(&log, "joined")?;
            println!("    {here}x{there}: keys after {first:.2} s, all IVCs after {all:.2} s");
            everyone_carries(stage, here.max(there))
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

/// Datagrams both ways and a stream.
pub(super) struct Load {
    datagrams: Vec<(&'static str, Stream)>,
    stream: Running,
}

impl Load {
    pub(super) fn start(stage: &Stage<'_>) -> Result<Self> {
        let plan = StreamPlan {
            size: 200,
            per_second: 100,
            duration: Duration::from_mins(5),
        };
        let datagrams = ["a", "b"]
            .into_iter()
            .map(|from| Ok((from, stage.probe(from)?.stream(plan)?)));
        let stream = stage
            .transfer("a", Volume::Time(plan.duration))?
            .pace(1_000_000);
        Ok(Self {
            datagrams: datagrams.collect::<Result<_>>()?,
            stream: stream.start()?,
        })
    }

    /// Ends the load; returns the longest gap and how many datagrams were lost.
    pub(super) fn finish(self, what: &str) -> Result<(Duration, u64)> {
        self.stream.stop();
        self.datagrams
            .iter()
            .for_each(|(_, datagrams)| datagrams.stop());
        let (mut gap, mut lost) = (Duration::ZERO, 0);
        for (from, datagrams) in self.datagrams {
            let report = datagrams.finish()?;
            println!(
                "    {what}: {} of {} datagrams from {from} lost, longest gap {:?}",
                report.lost(),
                report.sent,
                report.longest_gap
            );
            gap = gap.max(report.longest_gap);
            lost += report.lost();
        }
        ensure!(
            self.stream.finish()?.contents_equal(),
            "{what}: the contents differ"
        );
        Ok((gap, lost))
    }
}

/// Something that happens to a stage, and is over when this returns.
type Failure = fn(&mut Stage<'_>) -> Result<()>;

fn failures() -> Result<()> {
    let all: [(&str, Failure); 5] = [
        ("link down", |stage| {
            let link = stage.lab.site("a")?.link("wan1")?;
            link.cut()?;
            thread::sleep(Duration::from_secs(2));
            link.restore()
        }),
        ("link swallows everything", |stage| {
            let link = stage.lab.site("a")?.link("wan2")?;
            link.blackhole(true)?;
            thread::sleep(Duration::from_secs(2));
            link.blackhole(false)
        }),
        ("initiator's address changes", |stage| {
            stage.lab.site("a")?.link("wan0")?.renumber().map(|_| ())
        }),
        ("responder's address changes", |stage| {
            stage.lab.site("b")?.link("wan1")?.renumber().map(|_| ())
        }),
        ("responder's configured address is lost", |stage| {
            let link = stage.lab.site("b")?.link("wan0")?;
            link.cut()?;
            thread::sleep(Duration::from_secs(2));
            link.restore()
        }),
    ];
    play(sites(3, 3), &spec(), |stage| {
        wait_complete(stage, 3)?;
        let mut worst = Vec::new();
        for (what, failure) in all {
            let load = Load::start(stage)?;
            thread::sleep(Duration::from_secs(1));
            failure(stage)?;
            let back = wait_complete(stage, 3);
            let (gap, _) = load.finish(what)?;
            back.context(what)?;
            if gap > LONGEST_GAP {
                worst.push(format!("{what}: {gap:?}"));
            }
        }
        ensure!(
            worst.is_empty(),
            "the datagrams stopped for too long: {}",
            worst.join(", ")
        );
        Ok(())
    })
}

fn renewals() -> Result<()> {
    play(sites(2, 2), &spec(), |stage| {
        wait_complete(stage, 2)?;
        let load = Load::start(stage)?;
        let renewed = (1..=50).try_for_each(|count| renew(stage, count));
        let (_, lost) = load.finish("50 renewals")?;
        renewed?;
        ensure!(lost == 0, "{lost} datagrams were lost");
        for gateway in [&stage.a, &stage.b] {
            wait_until(PATIENCE, "the old SAs to go", || {
                let states = Snapshot::of_gateway(gateway.site(), Scope::Namespace)?;
                Ok(states.counts().get("XFRM state") == Some(&2))
            })?;
        }
        Ok(())
    })
}

fn renew(stage: &Stage<'_>, count: usize) -> Result<()> {
    let output = stage.a.run_cli(&["rekey", crate::site_config::TUNNEL])?;
    ensure!(output.status.success(), "withy rekey: {output:?}");
    wait_until(PATIENCE, "new keys", || {
        // The first keys are in use since the start.
        Ok(stage.a.log()?.matches("new keys are in use").count() > count)
    })?;
    Ok(())
}

fn wrong_key() -> Result<()> {
    rehearse(sites(1, 1), &spec(), |stage| {
        stage.configure()?;
        launch(&mut stage.b)?;
        // The responder has read its configuration; now the initiator turns out to be another.
        wait_status(&stage.b, PATIENCE, "a daemon", |_| true)?;
        negotiated_config::forget_key(stage.a.site())?;
        stage.configure()?;
        launch(&mut stage.a)?;
        wait_status(&stage.b, PATIENCE, "a refusal", |status| {
            status
                .refusals
                .iter()
                .any(|refusal| refusal.reason == "unknown_key" && refusal.connections > 0)
        })?;
        let tunnels = status(&stage.b)?.tunnels;
        ensure!(
            tunnels.iter().all(|tunnel| tunnel.ivcs.is_empty()),
            "{tunnels:?}"
        );
        let answer = ping(
            stage.lab.site("a")?.host(),
            stage.lab.site("b")?.lan().host,
            56,
            true,
            PING_LIMIT,
        )?;
        ensure!(
            !matches!(answer, Ping::Reply { .. }),
            "a stranger gets through"
        );
        Ok(())
    })
}

fn restarts() -> Result<()> {
    play(sites(2, 2), &spec(), |stage| {
        wait_complete(stage, 2)?;
        let load = Load::start(stage)?;
        let outcome = restart_both(stage);
        let (_, lost) = load.finish("daemons killed")?;
        outcome?;
        ensure!(lost == 0, "{lost} datagrams were lost");
        Ok(())
    })
}

fn restart_both(stage: &mut Stage<'_>) -> Result<()> {
    for gateway in [&mut stage.a, &mut stage.b] {
        kill_and_launch(gateway)?;
        wait_status(gateway, PATIENCE, "its return", |status| {
            is_complete(status, 2)
        })?;
    }
    wait_complete(stage, 2)?;
    // The initiator takes new keys whenever either daemon is another.
    wait_until(PATIENCE, "new keys after the restarts", || {
        Ok(stage.b.log()?.contains("new keys are in use"))
    })?;
    Ok(())
}

fn kill_and_launch(gateway: &mut Gateway<'_>) -> Result<()> {
    thread::sleep(Duration::from_secs(1));
    gateway.sigkill()?;
    gateway.wait(Duration::from_secs(10))?;
    thread::sleep(Duration::from_secs(1));
    launch(gateway)
}
