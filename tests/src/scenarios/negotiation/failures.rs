//! What breaks under a running tunnel.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use withy::config::PeerAddress;

use super::{
    Ipsec, Load, PATIENCE, begin, is_complete, launch_and_wait, sites, spec, wait_complete,
};
use crate::{
    gateway::Gateway,
    lab::Link,
    middlebox,
    scenarios::stage::{Stage, rehearse, status},
    wait::wait_until,
};

/// The longest gap in a stream of datagrams where another IVC lives.
fn longest_gap(ipsec: Ipsec) -> Duration {
    Duration::from_millis(match ipsec {
        // The machine is emulated.
        Ipsec::Kernel => 800,
        Ipsec::Missing => 400,
    })
}
/// How long a tunnel may take to return after a reboot of the other gateway, its programs' start included.
const RECOVERY: Duration = Duration::from_secs(20);
/// Within what time an IVC over which nothing comes is out, on a machine that is not emulated. The look itself takes its time.
const MISSED: Duration = Duration::from_millis(600);
/// For how long all IVCs must be up before all is well.
const CALM: Duration = Duration::from_secs(1);
/// For how long a middlebox looks for connections: each says something every five seconds.
const WATCH: Duration = Duration::from_secs(6);
/// How often it tries.
const ROUNDS: usize = 3;

/// Something that happens to a stage, and is over when this returns.
type Failure = fn(&mut Stage<'_>) -> Result<()>;

const ALL: [(&str, Failure); 6] = [
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
    ("control connections are reset", reset),
];

pub(super) fn play(ipsec: Ipsec) -> Result<()> {
    rehearse(sites(3, 3), &spec(), |stage| {
        begin(stage, 3)?;
        let mut worst = Vec::new();
        for (what, failure) in ALL {
            let load = Load::start(stage)?;
            thread::sleep(Duration::from_secs(1));
            let failed = failure(stage);
            let back = wait_complete(stage, 3);
            let (gap, _) = load.finish(what)?;
            failed.and(back).context(what)?;
            if gap > longest_gap(ipsec) {
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

/// Has every provider of the initiator reset the control connections.
fn reset(stage: &mut Stage<'_>) -> Result<()> {
    let lost = |stage: &Stage<'_>| -> Result<usize> {
        Ok(stage.a.log()?.matches("the connection of IVC").count())
    };
    let before = lost(stage)?;
    let links = stage.lab.site("a")?.links();
    for _ in 0..ROUNDS {
        let count = middlebox::reset_connections(links, PeerAddress::DEFAULT_PORT, WATCH)?;
        ensure!(count >= links.len(), "only {count} connections were seen");
        // A reset that comes after another segment is too late (RFC 5961), as with any middlebox.
        let noticed = wait_until(Duration::from_secs(2), "the resets to be noticed", || {
            Ok(lost(stage)? >= before + links.len())
        });
        if noticed.is_ok() {
            return Ok(());
        }
    }
    bail!("the resets are not noticed")
}

/// The other gateway loses its power, and boots: nobody says goodbye, and nothing but files is left.
pub(super) fn reboot(_: Ipsec) -> Result<()> {
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        let load = Load::start(stage)?;
        thread::sleep(Duration::from_secs(1));
        let booted = power_cycle(&mut stage.b);
        let back = wait_complete(stage, 2);
        let up = Instant::now();
        // The datagrams show when the tunnel is back; give them a moment.
        thread::sleep(Duration::from_secs(1));
        let (gap, _) = load.finish("reboot")?;
        back?;
        let recovery = up.duration_since(booted?);
        println!("    reboot: all IVCs {recovery:?} after the other daemon's start");
        ensure!(
            recovery <= RECOVERY,
            "the tunnel took {recovery:?} to return"
        );
        ensure!(gap <= RECOVERY, "nothing came for {gap:?}");
        Ok(())
    })
}

/// Returns when the daemon was started again.
fn power_cycle(gateway: &mut Gateway<'_>) -> Result<Instant> {
    let links = gateway.site().links();
    // A machine without power closes no connection.
    links.iter().try_for_each(Link::cut)?;
    gateway.sigkill()?;
    gateway.wait(Duration::from_secs(10))?;
    let output = gateway.run_cli(&["down"])?;
    ensure!(output.status.success(), "withy down: {output:?}");
    links.iter().try_for_each(Link::restore)?;
    let booted = Instant::now();
    launch_and_wait(gateway)?;
    Ok(booted)
}

/// How long it takes until both sides know of a failure, and until all is well again. The figures say something on a
/// machine that is not emulated.
pub(super) fn watch() -> Result<()> {
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        missed(stage)?;
        // The second of them is what has just been measured.
        for (what, failure) in ALL
            .into_iter()
            .filter(|(what, _)| !what.contains("swallows"))
        {
            let (began, before) = (Instant::now(), noticed(stage)?);
            failure(stage).context(what)?;
            wait_until(PATIENCE, "the failure to be noticed", || {
                Ok(noticed(stage)? > before)
            })?;
            settle(stage).context(what)?;
            println!(
                "    {what}: all is well again after {:.1?}",
                began.elapsed().saturating_sub(CALM)
            );
        }
        Ok(())
    })
}

/// How many lines of either log tell that something does not work, be it only for a moment, or has gone.
fn noticed(stage: &Stage<'_>) -> Result<usize> {
    let logs = stage.a.log()? + &stage.b.log()?;
    Ok([" WARN ", "dropped:"]
        .map(|word| logs.matches(word).count())
        .iter()
        .sum())
}

/// Waits until all IVCs have been up for a while: what has just come up may have its moments yet.
fn settle(stage: &Stage<'_>) -> Result<()> {
    let mut since = None;
    let settled = wait_until(PATIENCE, "all IVCs to stay", || {
        let whole = is_complete(&status(&stage.a)?, 2) && is_complete(&status(&stage.b)?, 2);
        let start = *since.get_or_insert_with(Instant::now);
        if !whole {
            since = None;
        }
        Ok(whole && start.elapsed() >= CALM)
    });
    settled.map(|_| ())
}

/// Lets a link swallow everything, and measures when it is out at either side.
fn missed(stage: &Stage<'_>) -> Result<()> {
    for round in 1..=3 {
        settle(stage)?;
        let link = stage.lab.site("a")?.link("wan1")?;
        let cut = Instant::now();
        link.blackhole(true)?;
        let mut out = [None; 2];
        let both = wait_until(PATIENCE, "both sides to miss the link", || {
            for (gateway, out) in [&stage.a, &stage.b].into_iter().zip(&mut out) {
                if out.is_none() && unusable(gateway)? == 1 {
                    *out = Some(cut.elapsed());
                }
            }
            Ok(out.iter().all(Option::is_some))
        });
        link.blackhole(false)?;
        both?;
        let restored = Instant::now();
        wait_complete(stage, 2)?;
        let [here, there] = out.map(Option::unwrap_or_default);
        println!(
            "    silent cut {round}: out after {here:.0?} at the initiator, {there:.0?} at the responder; back after {:.0?}",
            restored.elapsed()
        );
        let worst = here.max(there);
        ensure!(worst <= MISSED, "the link was missed after {worst:?}");
    }
    Ok(())
}

fn unusable(gateway: &Gateway<'_>) -> Result<usize> {
    let status = status(gateway)?;
    let ivcs = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
    Ok(ivcs.filter(|ivc| !ivc.usable).count())
}
