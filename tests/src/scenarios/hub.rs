//! One gateway that many wait upon.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Scenario,
    negotiation::{launch_and_wait, spec},
    stage::{launch, links, program, try_status},
};
use crate::{
    gateway::Gateway,
    lab::{Lab, SiteSpec},
    negotiated_config,
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::native("a_hub_takes_ten_sites", || hub(10)),
    Scenario::native("a_hub_takes_fifty_sites", || hub(50)),
];

/// How long everybody may take: 50 daemons load their programs at once.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a site may take of the hub's memory, in KiB.
const MEMORY: u64 = 1024;
/// `USER_HZ`: how many clock ticks a second has in `/proc`, on every Linux.
const TICKS: u64 = 100;
/// How many sites a second must come up where their daemons run already.
const RATE: f64 = 1.0;

/// Lets real daemons of so many sites, with two links each, open tunnels to one hub; first as they start, and then all
/// at once, when the hub's daemon is another.
fn hub(count: usize) -> Result<()> {
    raise_limit()?;
    let names: Vec<String> = (1..=count).map(|number| format!("s{number}")).collect();
    let mut specs = vec![SiteSpec::new("hub", &links(&[(100_000, 5); 2]))];
    specs.extend(
        names
            .iter()
            .map(|name| SiteSpec::new(name, &links(&[(10_000, 5); 2]))),
    );
    let began = Instant::now();
    let lab = Lab::routed(&specs).build()?;
    println!("    {count} sites: a lab after {:.1?}", began.elapsed());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    negotiated_config::write(&spec(), &lab, &names, "hub")?;

    let program = program()?;
    let mut hub = Gateway::new(&lab, "hub", &program)?;
    launch_and_wait(&mut hub)?;
    let (empty, idle) = (memory(&hub)?, processor(&hub)?);
    let start = Instant::now();
    let mut sites = Vec::new();
    for name in names {
        let mut site = Gateway::new(&lab, name, &program)?;
        launch(&mut site)?;
        sites.push(site);
    }
    let whole = complete(&hub, count);
    let started = start.elapsed();
    let full = memory(&hub)?;
    println!(
        "    {count} sites: all IVCs {started:.1?} after the first daemon's start, {:.1} sites a second; the hub took {:.1?} of a processor",
        per_second(count, started),
        processor(&hub)?.saturating_sub(idle)
    );
    whole.inspect_err(|_| complain(&hub))?;
    let each = full.saturating_sub(empty) / count as u64;
    println!(
        "    {count} sites: the hub takes {full} KiB, without sites {empty} KiB: {each} KiB a site"
    );

    hub.sigkill()?;
    hub.wait(Duration::from_secs(10))?;
    launch_and_wait(&mut hub)?;
    let (start, idle) = (Instant::now(), processor(&hub)?);
    complete(&hub, count).inspect_err(|_| complain(&hub))?;
    let again = start.elapsed();
    let rate = per_second(count, again);
    println!(
        "    {count} sites: all IVCs {again:.1?} after the start of another hub's daemon, {rate:.1} sites a second; it took {:.1?} of a processor",
        processor(&hub)?.saturating_sub(idle)
    );
    ensure!(each <= MEMORY, "a site takes {each} KiB of the hub");
    ensure!(rate >= RATE, "{rate:.2} sites a second come up");
    Ok(())
}

/// Waits until the hub has both IVCs of every site. An initiator whose first attempts took long on a busy machine may
/// have made more.
fn complete(hub: &Gateway<'_>, count: usize) -> Result<()> {
    let mut ivcs = Vec::new();
    let outcome = wait_until(PATIENCE, "all sites", || {
        let status = try_status(hub)?;
        let tunnels = status.iter().flat_map(|status| &status.tunnels);
        ivcs = tunnels
            .filter(|tunnel| tunnel.ivcs.iter().all(|ivc| ivc.usable))
            .map(|tunnel| tunnel.ivcs.len())
            .collect();
        Ok(ivcs.iter().filter(|ivcs| **ivcs >= 2).count() == count)
    });
    outcome.with_context(|| format!("the sites have {ivcs:?} IVCs"))?;
    let surplus = ivcs.iter().filter(|ivcs| **ivcs > 2).count();
    if surplus > 0 {
        println!("    {surplus} of {count} sites have more than two IVCs");
    }
    Ok(())
}

fn complain(hub: &Gateway<'_>) {
    let log = hub.log().unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(100)..];
    eprintln!("--- end of the hub's log ---\n{}", tail.join("\n"));
}

#[expect(clippy::cast_precision_loss, reason = "dozens")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The resident memory of a gateway's daemon in KiB.
fn memory(gateway: &Gateway<'_>) -> Result<u64> {
    let pid = gateway.pid().context("no daemon")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

/// The processor time that a gateway's daemon has had.
fn processor(gateway: &Gateway<'_>) -> Result<Duration> {
    let pid = gateway.pid().context("no daemon")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): the name, in brackets, is the second field; these are the 14th and the 15th.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(1000 * ticks / TICKS))
}

/// A lab of this size has more files open than many a shell allows.
fn raise_limit() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).context("cannot open more files")
}
