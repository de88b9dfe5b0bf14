//! Daemons that die, end and come back, and what they leave behind.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Scenario,
    stage::{Stage, fast_links, launch, links, play, rehearse, wait_status},
    transfer::small_transfers,
};
use crate::{
    gateway::Gateway,
    lab::{Lab, Site},
    site_config::TunnelSpec,
    snapshot::{Scope, Snapshot},
    traffic::{
        stream::{Stream, StreamPlan},
        tcp::{Running, Volume},
    },
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "killed_and_restarted_under_load_loses_and_doubles_nothing",
        killed,
    )
    .smoke(),
    Scenario::new("sigterm_leaves_forwarding_up", sigterm),
    Scenario::new("down_leaves_everything_as_it_was", down).smoke(),
];

/// How long the kernel may take to free what nobody uses any more.
const FREED_LIMIT: Duration = Duration::from_secs(10);

const BYTES: u64 = 300_000;

/// Kills both daemons in turn while datagrams both ways and a TCP stream, together far below what
/// the links carry, go through.
fn killed() -> Result<()> {
    let lab = Lab::paired(&links(&[(4000, 5); 4]));
    play(lab, &TunnelSpec::default(), |stage| {
        let before = [calm(stage.a.site())?, calm(stage.b.site())?];
        let load = Load::start(stage)?;
        let restarts = kill_in_turn(stage);
        load.finish()?;
        restarts?;
        unchanged(stage.a.site(), &before[0])?;
        unchanged(stage.b.site(), &before[1])
    })
}

/// Datagrams both ways, which show every loss, and a TCP stream.
struct Load {
    datagrams: Vec<(&'static str, Stream)>,
    stream: Running,
}

impl Load {
    fn start(stage: &Stage<'_>) -> Result<Self> {
        let plan = StreamPlan {
            size: 1000,
            per_second: 50,
            duration: Duration::from_mins(5),
        };
        let datagrams = ["a", "b"]
            .into_iter()
            .map(|from| Ok((from, stage.probe(from)?.stream(plan)?)))
            .collect::<Result<_>>()?;
        let stream = stage
            .transfer("a", Volume::Time(plan.duration))?
            .pace(1_000_000)
            .start()?;
        Ok(Self { datagrams, stream })
    }

    /// Ends the load and fails if any of it was lost or came twice.
    fn finish(self) -> Result<()> {
        self.stream.stop();
        self.datagrams
            .iter()
            .for_each(|(_, datagrams)| datagrams.stop());
        for (from, datagrams) in self.datagrams {
            let report = datagrams.finish()?;
            let (sent, lost, doubled) = (report.sent, report.lost(), report.duplicates);
            println!(
                "    {lost} of {sent} datagrams from {from} lost, {doubled} doubled, longest gap {:?}",
                report.longest_gap
            );
            ensure!(sent > 100, "there was hardly any load");
            ensure!(lost == 0, "{lost} datagrams from {from} were lost");
            ensure!(doubled == 0, "{doubled} datagrams from {from} came twice");
        }
        let report = self.stream.finish()?;
        // TCP sends again what it only believes lost, too: on a machine that stalls, it does.
        println!(
            "    TCP: contents equal: {}, {} segments sent again",
            report.contents_equal(),
            report.retransmits()
        );
        ensure!(report.contents_equal(), "the contents differ");
        Ok(())
    }
}

fn kill_in_turn(stage: &mut Stage<'_>) -> Result<()> {
    for gateway in [&mut stage.a, &mut stage.b] {
        // The load goes on with a daemon, without one, and with its successor.
        thread::sleep(Duration::from_secs(1));
        gateway.sigkill()?;
        gateway.wait(Duration::from_secs(10))?;
        thread::sleep(Duration::from_secs(1));
        launch(gateway)?;
        let name = gateway.site().name();
        let ready = wait_status(gateway, Duration::from_mins(1), "its return", |status| {
            status.is_healthy()
        })?;
        println!("    the daemon of {name} was killed and is back after {ready:?}");
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Fails unless the namespace is as it was and the kernel has no more objects than before: a new
/// daemon loads its programs anew, so that their numbers change. There may be fewer: what the probes of
/// the first start left is freed some time later.
fn unchanged(site: &Site, before: &Snapshot) -> Result<()> {
    let mut differences = Vec::new();
    let same = wait_until(FREED_LIMIT, "the state before", || {
        let now = observe(site)?;
        // Objects of the whole machine are counted, as their numbers change.
        differences = Snapshot::diff(before, &now);
        differences.retain(|line| !line.contains(" BPF "));
        let (old, new) = (before.counts(), now.counts());
        let grown = new
            .iter()
            .filter(|&(kind, count)| old.get(kind) < Some(count));
        differences.extend(grown.map(|(kind, count)| format!("{count} {kind} now: {old:?}")));
        Ok(differences.is_empty())
    });
    println!("    {} before: {:?}", site.name(), before.counts());
    same.with_context(|| format!("{}:\n{}", site.name(), differences.join("\n")))?;
    Ok(())
}

fn calm(site: &Site) -> Result<Snapshot> {
    Snapshot::when_calm(site, Scope::Machine)
}

/// The namespace's state, and the BPF objects of the whole machine.
fn observe(site: &Site) -> Result<Snapshot> {
    Snapshot::of_gateway(site, Scope::Machine)
}

/// Ends the daemons in an orderly way and uses the tunnel without them.
fn sigterm() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let before = [calm(stage.a.site())?, calm(stage.b.site())?];
            stage.stop()?;
            for gateway in [&stage.a, &stage.b] {
                let output = gateway.run_cli(&["status"])?;
                let code = output.status.code();
                ensure!(
                    code == Some(69),
                    "status without a daemon exits with {code:?}"
                );
            }
            for from in ["a", "b"] {
                stage.expect_ping(from, 1472)?;
            }
            small_transfers(stage, BYTES)?;
            println!("    ping and TCP pass both ways without daemons");
            for gateway in [&mut stage.a, &mut stage.b] {
                launch(gateway)?;
            }
            stage.wait_healthy()?;
            small_transfers(stage, BYTES)?;
            unchanged(stage.a.site(), &before[0])?;
            unchanged(stage.b.site(), &before[1])
        },
    )
}

/// How a daemon comes to its end before everything is removed.
#[derive(Clone, Copy, Debug)]
enum End {
    Term,
    Kill,
    /// `withy down` finds it running.
    Down,
}

fn down() -> Result<()> {
    let lab = Lab::paired(&fast_links());
    rehearse(lab, &TunnelSpec::default(), |stage| {
        let sites = [stage.a.site(), stage.b.site()];
        let before = [calm(sites[0])?, calm(sites[1])?];
        for end in [End::Term, End::Kill, End::Down] {
            stage.start()?;
            small_transfers(stage, BYTES)?;
            for gateway in [&mut stage.a, &mut stage.b] {
                take_down(gateway, end)?;
            }
            for (site, before) in sites.iter().zip(&before) {
                let differences = before.differences_after(site, FREED_LIMIT)?;
                ensure!(
                    differences.is_empty(),
                    "{} after {end:?}:\n{}",
                    site.name(),
                    differences.join("\n")
                );
            }
            println!("    after {end:?}: everything is as it was before");
        }
        Ok(())
    })
}

fn take_down(gateway: &mut Gateway<'_>, end: End) -> Result<()> {
    match end {
        End::Term => super::stage::terminate(gateway)?,
        End::Kill => {
            gateway.sigkill()?;
            gateway.wait(Duration::from_secs(10))?;
        }
        End::Down => {}
    }
    let output = gateway.run_cli(&["down"])?;
    ensure!(output.status.success(), "withy down: {output:?}");
    if matches!(end, End::Down) {
        let status = gateway.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "the daemon ended with {status}");
    }
    Ok(())
}
