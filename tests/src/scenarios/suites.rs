//! Every ESP suite and every way to receive.

use anyhow::{Result, ensure};
use withy::config::{Receive, Suite};

use super::{
    Scenario,
    stage::{PING_LIMIT, Stage, fast_links, launch, links, play, rehearse, status},
    transfer::{expect_whole, small_transfers},
};
use crate::{
    lab::{HOST_DEVICE, Lab, Site},
    netns::Route,
    site_config::{TunnelSpec, numbered_host},
    traffic::{
        icmp::{Ping, ping},
        tcp::{Transfer, Volume},
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("five_tunnels_of_five_suites_carry_traffic", all_suites).smoke(),
    Scenario::new("links_receive_by_xdp_and_by_tc", xdp_and_tc),
];

const BYTES: u64 = 300_000;

/// One tunnel for each suite, all between the same gateways at once.
fn all_suites() -> Result<()> {
    let lab = Lab::paired(&links(&[(100_000, 2); Suite::ALL.len()]));
    rehearse(lab, &TunnelSpec::default(), |stage| {
        let (a, b) = stage.hosts("a")?;
        for (here, there) in [(a, b), (b, a)] {
            stage.spec.write_one_a_link((here, there), &Suite::ALL)?;
            number_hosts(here, there)?;
        }
        launch(&mut stage.a)?;
        launch(&mut stage.b)?;
        stage.wait_healthy()?;
        for (number, suite) in (0..).zip(Suite::ALL) {
            for (from, to) in [(a, b), (b, a)] {
                let address = numbered_host(to, number);
                let answer = ping(from.host(), address, 1472, true, PING_LIMIT)?;
                ensure!(matches!(answer, Ping::Reply { .. }), "{suite}: {answer:?}");
                let volume = Volume::Bytes(BYTES);
                let report = Transfer::new(from.host(), to.host(), address, volume).run()?;
                expect_whole(&report, BYTES)?;
            }
            println!("    {suite} carries ping and TCP both ways");
        }
        only_their_own(stage)
    })
}

/// Gives a host an address for each tunnel, from which it reaches the far host's.
fn number_hosts(here: &Site, there: &Site) -> Result<()> {
    for (number, _) in (0..).zip(Suite::ALL) {
        let own = numbered_host(here, number);
        here.host().add_address(HOST_DEVICE, own, 24)?;
        let route = Route::to((numbered_host(there, number), 32), HOST_DEVICE);
        let route = route.via(here.lan().gateway).source(own);
        here.host().set_route(&route)?;
    }
    Ok(())
}

/// Fails unless each tunnel has the suite that it should, and has carried its traffic.
fn only_their_own(stage: &Stage<'_>) -> Result<()> {
    let tunnels = status(&stage.a)?.tunnels;
    let suites: Vec<_> = tunnels
        .iter()
        .filter_map(|tunnel| tunnel.suite.as_deref())
        .collect();
    ensure!(suites == Suite::ALL.map(Suite::name), "{suites:?}");
    for tunnel in &tunnels {
        let bytes: u64 = tunnel.ivcs.iter().map(|ivc| ivc.tx.bytes).sum();
        ensure!(bytes > BYTES, "{} sent {bytes} bytes only", tunnel.name);
    }
    Ok(())
}

fn xdp_and_tc() -> Result<()> {
    let spec = |receive| TunnelSpec {
        receive,
        ..TunnelSpec::default()
    };
    play(Lab::paired(&fast_links()), &spec(Receive::Xdp), |stage| {
        for receive in [Receive::Xdp, Receive::Tc, Receive::Auto] {
            if receive != stage.spec.receive {
                stage.restart_with(spec(receive))?;
            }
            // On devices that the kernel itself makes, `auto` takes TC: XDP would copy each packet.
            let wanted = if receive == Receive::Xdp { "xdp" } else { "tc" };
            for link in status(&stage.a)?.links {
                ensure!(
                    link.receive.as_deref() == Some(wanted),
                    "{} receives by {:?} under {receive}",
                    link.name,
                    link.receive
                );
            }
            println!("    {receive}: {wanted}");
            carries_traffic(stage)?;
        }
        Ok(())
    })
}

fn carries_traffic(stage: &Stage<'_>) -> Result<()> {
    for from in ["a", "b"] {
        stage.expect_ping(from, 1472)?;
    }
    small_transfers(stage, BYTES)
}
