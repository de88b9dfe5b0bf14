//! What operators change on gateways that negotiate, under traffic.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::api::status::LinkState;

use super::{
    Ipsec, Scenario,
    negotiation::{Load, PATIENCE, begin, is_complete, sites, spec, wait_complete},
    stage::{Stage, launch, play, rehearse, status, tunnel, wait_status},
    transfer::small_transfers,
};
use crate::{gateway::Gateway, site_config::TUNNEL, traffic::stream::StreamPlan};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("links_are_taken_out_of_use_and_back_without_loss", links),
    Scenario::new("a_reload_touches_only_what_differs", reload),
    // An emulated machine that stalls takes longer than packets that are under way are waited for.
    Scenario::native(
        "a_link_that_a_reload_removes_takes_no_packet_along",
        removal,
    ),
    Scenario::anywhere("a_gateway_that_is_taken_down_says_so", down),
];

/// The exit status for a bad configuration, of `sysexits.h`.
const BAD_CONFIGURATION: i32 = 78;

/// Runs a command that must succeed.
fn run(gateway: &Gateway<'_>, args: &[&str]) -> Result<String> {
    let output = gateway.run_cli(args)?;
    ensure!(output.status.success(), "withy {args:?}: {output:?}");
    Ok(output.stdout)
}

fn links() -> Result<()> {
    play(sites(2, 2), &spec(), |stage| {
        wait_complete(stage, 2)?;
        let load = Load::start(stage)?;
        let outcome = both_sides(stage);
        let (_, lost) = load.finish("a link out of use and back, at either side")?;
        outcome?;
        ensure!(lost == 0, "{lost} datagrams were lost");
        let output = stage.a.run_cli(&["link", "down", "wan7"])?;
        ensure!(
            output
                .stderr
                .contains("there is no link wan7; there are wan0, wan1"),
            "{output:?}"
        );
        Ok(())
    })
}

fn both_sides(stage: &Stage<'_>) -> Result<()> {
    for (here, there) in [(&stage.a, &stage.b), (&stage.b, &stage.a)] {
        run(here, &["link", "down", "wan1"])?;
        for gateway in [here, there] {
            wait_status(gateway, PATIENCE, "one IVC less", |status| {
                status.tunnels.iter().all(|tunnel| {
                    // The other side's second link takes the place at this side's first.
                    tunnel.ivcs.iter().filter(|ivc| ivc.usable).count() == tunnel.ivcs.len()
                }) && status.problems.is_empty()
            })?;
        }
        let found = status(here)?.links[1].state;
        ensure!(found == LinkState::Disabled, "wan1 is {found:?}");
        let used = tunnel(here)?.ivcs;
        ensure!(used.iter().all(|ivc| ivc.link == "wan0"), "{used:?}");
        run(here, &["link", "up", "wan1"])?;
        wait_complete(stage, 2)?;
    }
    Ok(())
}

fn reload() -> Result<()> {
    play(sites(2, 2), &spec(), |stage| {
        wait_complete(stage, 2)?;
        let load = Load::start(stage)?;
        let outcome = reload_thrice(stage);
        let (_, lost) = load.finish("three reloads")?;
        outcome?;
        ensure!(lost == 0, "{lost} datagrams were lost");
        Ok(())
    })
}

fn reload_thrice(stage: &Stage<'_>) -> Result<()> {
    let file = stage.a.site().dirs().etc().join("withy.yaml");
    let path = file.to_str().context("an odd path")?;
    let text = fs::read_to_string(&file)?;
    let renewals =
        || -> Result<usize> { Ok(stage.a.log()?.matches("new keys are in use").count()) };

    let before = renewals()?;
    ensure!(run(&stage.a, &["diff", path])?.is_empty(), "a difference");
    ensure!(run(&stage.a, &["reload"])? == "nothing has changed\n");
    fs::write(
        &file,
        text.replace("bundle: all", "bundle: all\n    queue: 80 ms"),
    )?;
    let diff = stage.a.run_cli(&["diff", path])?;
    ensure!(
        diff.status.code() == Some(1) && diff.stdout.contains("+    queue: 80 ms"),
        "{diff:?}"
    );
    let changes = run(&stage.a, &["reload"])?;
    ensure!(changes == format!("tunnel {TUNNEL} changed\n"), "{changes}");
    ensure!(renewals()? == before, "the keys were renewed for nothing");

    fs::write(&file, text.replace("bundle: all", "bundle: none"))?;
    let bad = stage.a.run_cli(&["reload"])?;
    ensure!(
        bad.status.code() == Some(BAD_CONFIGURATION) && bad.stderr.contains("there is no bundle"),
        "{bad:?}"
    );

    // Another suite, at one side after the other: the first renewal is refused, which harms nobody.
    let other = "chacha20-poly1305";
    for gateway in [&stage.a, &stage.b] {
        let file = gateway.site().dirs().etc().join("withy.yaml");
        let own = fs::read_to_string(&file)?.replace("bundle: none", "bundle: all");
        let suites = own.find("suites: [").context("no suites")?;
        let end = own[suites..].find(']').context("no end of suites")? + suites;
        let with_other = format!("{}suites: [{other}{}", &own[..suites], &own[end..]);
        fs::write(&file, with_other)?;
        run(gateway, &["reload"])?;
    }
    for gateway in [&stage.a, &stage.b] {
        wait_status(gateway, PATIENCE, "the other suite", |status| {
            is_complete(status, 2)
                && status
                    .tunnels
                    .iter()
                    .all(|tunnel| tunnel.suite.as_deref() == Some(other))
        })?;
    }
    Ok(())
}

/// Takes a link out of the file, and puts it back.
fn removal() -> Result<()> {
    play(sites(2, 2), &spec(), |stage| {
        wait_complete(stage, 2)?;
        // What has just come up may have its moments yet.
        small_transfers(stage, 500_000)?;
        without_a_link(stage)
    })
}

fn without_a_link(stage: &Stage<'_>) -> Result<()> {
    let file = stage.a.site().dirs().etc().join("withy.yaml");
    let text = fs::read_to_string(&file)?;
    let begin = text.find("  wan1:").context("no wan1")?;
    let end = text.find("bundles:").context("no bundles")?;
    let without = [&text[..begin], &text[end..]].concat();
    fs::write(&file, without.replace("[wan0, wan1]", "[wan0]"))?;
    // Some are under way at any time, and a machine that stalls does not fill a link's queue with them.
    let plan = StreamPlan {
        size: 200,
        per_second: 100,
        duration: Duration::from_mins(1),
    };
    let streams = ["a", "b"].map(|from| stage.probe(from).and_then(|probe| probe.stream(plan)));
    run(&stage.a, &["reload"])?;
    let left = wait_status(&stage.a, PATIENCE, "a link less", |status| {
        // The other side's second link takes the place at this side's first.
        status.links.len() == 1 && is_complete(status, 2)
    });
    for stream in streams {
        let stream = stream?;
        stream.stop();
        let report = stream.finish()?;
        let (lost, sent) = (report.lost(), report.sent);
        println!("    {lost} of {sent} datagrams lost with a link");
        ensure!(lost == 0, "{lost} datagrams lost");
    }
    left?;
    // It was kept for what was under way.
    let log = stage.a.log()?;
    ensure!(log.contains("link wan1 out of use"), "{log}");
    fs::write(&file, text)?;
    run(&stage.a, &["reload"])?;
    wait_complete(stage, 2)
}

fn down(_: Ipsec) -> Result<()> {
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        run(&stage.b, &["down"])?;
        stage.b.wait(Duration::from_secs(10))?;
        wait_status(&stage.a, Duration::from_secs(2), "the news", |status| {
            status.tunnels.iter().all(|tunnel| tunnel.local.is_none())
        })?;
        let log = stage.a.log()?;
        ensure!(log.contains("the gateway is taken down"), "{log}");
        launch(&mut stage.b)?;
        wait_complete(stage, 2)
    })
}
