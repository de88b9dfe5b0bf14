//! Links that break without a word: how fast they are left, and paths that carry less than the interfaces at their ends.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{HashMap, Map, MapData};
use withy::{
    api::{
        client,
        protocol::{Request, Response},
        status::{IvcState, IvcStatus, MtuSource},
    },
    dataplane::wire,
};
use withy_common::maps::{LAYOUT, Svc};

use super::{
    Scenario,
    stage::{Stage, links, play, rehearse, tunnel, wait_status},
    transfer::small_transfers,
};
use crate::{
    gateway::Gateway,
    lab::{Lab, LabBuilder, SiteSpec},
    site_config::{Keying, TunnelSpec},
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_path_narrower_than_its_links_is_found_out_by_manual_tunnels",
        || narrow(Keying::Manual),
    ),
    Scenario::new(
        "a_path_narrower_than_its_links_is_found_out_when_negotiated",
        || narrow(Keying::Negotiated),
    ),
    Scenario::new("a_silent_or_downed_link_is_left_in_time", times),
];

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than two confirmations of a path's MTU are apart.
const CONFIRMED: Duration = Duration::from_mins(2);

/// What the path of one link carries in the middle, at first and later.
const NARROW: u32 = 1400;
const NARROWER: u32 = 1330;

/// A silent link, and one whose interface goes down, are out of the schedule within these times; an emulated machine has four times as
/// long.
const SILENT_LIMIT: Duration = Duration::from_millis(4 * 300);
const DOWN_LIMIT: Duration = Duration::from_millis(4 * 50);

/// How often each is measured.
const ROUNDS: u32 = 5;

fn sites() -> LabBuilder {
    let links = links(&[(4000, 10); 2]);
    Lab::routed(&[SiteSpec::new("a", &links), SiteSpec::new("b", &links)])
}

fn narrow(keying: Keying) -> Result<()> {
    let spec = TunnelSpec {
        keying,
        ..TunnelSpec::default()
    };
    rehearse(sites(), &spec, |stage| {
        let link = stage.lab.site("a")?.link("wan1")?;
        link.narrow(NARROW)?;
        stage.start()?;
        found(stage, NARROW)?;
        traffic(stage)?;
        // It becomes narrower under way, and nothing says so.
        link.narrow(NARROWER)?;
        let begin = Instant::now();
        found(stage, NARROWER)?;
        println!(
            "    {NARROWER} bytes found {:.1} s after the change",
            begin.elapsed().as_secs_f64()
        );
        traffic(stage)
    })
}

/// Waits until both gateways have found out what each path carries.
fn found(stage: &Stage<'_>, narrow: u32) -> Result<()> {
    for gateway in [&stage.a, &stage.b] {
        let is_narrow = |ivc: &IvcStatus| match gateway.site().name() {
            "a" => ivc.link == "wan1",
            _ => stage
                .lab
                .site("a")
                .and_then(|site| Ok(site.link("wan1")?.address() == ivc.remote))
                .unwrap_or(false),
        };
        let took = wait_status(gateway, CONFIRMED, "the paths' MTUs", |status| {
            let ivcs = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
            let mut count = 0;
            let all = ivcs.clone().all(|ivc| {
                count += 1;
                let wanted = if is_narrow(ivc) { narrow } else { 1500 };
                (ivc.mtu, ivc.mtu_source) == (wanted, MtuSource::Probed)
            });
            all && count >= 2
        })?;
        println!(
            "    {} knows all paths after {:.1} s",
            gateway.site().name(),
            took.as_secs_f64()
        );
    }
    Ok(())
}

fn traffic(stage: &Stage<'_>) -> Result<()> {
    for from in ["a", "b"] {
        // Whichever IVC they take, in one piece or two.
        for size in [1472, 1400, 1372, 1350, 1300, 1200, 56] {
            stage.expect_ping(from, size)?;
        }
    }
    small_transfers(stage, 1_000_000)?;
    for gateway in [&stage.a, &stage.b] {
        for ivc in tunnel(gateway)?.ivcs {
            ensure!(ivc.tx.pieces > 0, "{} carries nothing", ivc.link);
            let measured = ivc.rtt_seconds.context("no round-trip time")?;
            ensure!(
                (0.02..0.5).contains(&measured),
                "{measured} s there and back"
            );
        }
    }
    Ok(())
}

fn times() -> Result<()> {
    let spec = TunnelSpec::default();
    play(Lab::paired(&links(&[(4000, 10); 3])), &spec, |stage| {
        let link = stage.lab.site("a")?.link("wan1")?;
        let watches = [Watch::new(&stage.a)?, Watch::new(&stage.b)?];
        let mut longest = [Duration::ZERO; 4];
        for _ in 0..ROUNDS {
            thread::sleep(Duration::from_secs(1));
            link.blackhole(true)?;
            let times = measure(&watches)?;
            longest[0] = longest[0].max(times[0]);
            longest[1] = longest[1].max(times[1]);
            link.blackhole(false)?;
            back(stage, &watches)?;
            thread::sleep(Duration::from_secs(1));
            link.cut()?;
            let times = measure(&watches)?;
            longest[2] = longest[2].max(times[0]);
            longest[3] = longest[3].max(times[1]);
            link.restore()?;
            back(stage, &watches)?;
        }
        println!(
            "    from a silent cut to being out of the maps: {:?} here, {:?} there; from an interface that \
             goes down: {:?} here, {:?} there",
            longest[0], longest[1], longest[2], longest[3]
        );
        ensure!(
            longest[0].max(longest[1]) <= SILENT_LIMIT,
            "a silent link is used for too long"
        );
        ensure!(longest[2] <= DOWN_LIMIT, "a link that is down is used");
        ensure!(longest[3] <= SILENT_LIMIT, "the other side is not told");
        Ok(())
    })
}

/// What the scheduler of a gateway sees.
struct Watch {
    svcs: HashMap<MapData, u32, Svc>,
    socket: PathBuf,
    /// The address of the far end of the IVC that is watched.
    remote: Ipv4Addr,
}

impl Watch {
    fn new(gateway: &Gateway<'_>) -> Result<Self> {
        let pin = gateway.site().dirs().pins();
        let pin = pin.join(format!("v{LAYOUT}/maps/SVCS"));
        let map = Map::HashMap(MapData::from_pin(pin)?);
        let ivcs = tunnel(gateway)?.ivcs;
        let ivc = ivcs.iter().find(|ivc| ivc.link == "wan1");
        Ok(Self {
            svcs: HashMap::try_from(map)?,
            socket: gateway.site().dirs().run().join("control.sock"),
            remote: ivc.context("no such IVC")?.remote,
        })
    }

    /// Whether pieces may take the IVC.
    fn is_used(&self) -> Result<bool> {
        for entry in &self.svcs {
            let (_, svc) = entry?;
            let mut ivcs = svc.ivcs.iter();
            if ivcs.any(|ivc| ivc.remote == wire(self.remote) && ivc.mtu > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The IVC as the status has it.
    fn ivc(&self) -> Result<IvcStatus> {
        let Response::Status(status) = client::call(&self.socket, &Request::Status)? else {
            bail!("no status");
        };
        let mut ivcs = status.tunnels.into_iter().flat_map(|tunnel| tunnel.ivcs);
        let ivc = ivcs.find(|ivc| ivc.remote == self.remote);
        ivc.context("no such IVC")
    }
}

/// How long it takes from now on until neither gateway uses the IVC.
fn measure(watches: &[Watch; 2]) -> Result<[Duration; 2]> {
    let begin = Instant::now();
    let mut times = [None; 2];
    while times.contains(&None) {
        ensure!(begin.elapsed() < PATIENCE, "the IVC is used for ever");
        for (time, watch) in times.iter_mut().zip(watches) {
            if time.is_none() && !watch.is_used()? {
                *time = Some(begin.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    for watch in watches {
        let ivc = watch.ivc()?;
        ensure!(!ivc.usable && ivc.state != IvcState::Up, "{ivc:?}");
    }
    Ok(times.map(Option::unwrap_or_default))
}

fn back(stage: &Stage<'_>, watches: &[Watch; 2]) -> Result<()> {
    wait_until(PATIENCE, "the IVC's return", || {
        Ok(watches[0].is_used()? && watches[1].is_used()?)
    })?;
    stage.wait_healthy()
}
