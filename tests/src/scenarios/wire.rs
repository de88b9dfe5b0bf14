//! What the providers see.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Ipsec, Scenario,
    stage::{Stage, play, slow_links},
    transfer::expect_whole,
};
use crate::{
    capture::{CapturePlan, Needle, Tally},
    lab::{HOST_DEVICE, Lab, Link},
    site_config::{TunnelSpec, endpoint},
    traffic::tcp::Volume,
};

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::everywhere("only_esp_between_own_addresses_on_the_wire", only_esp).smoke()];

/// Strewn into the transfer.
const MARKER: &[u8] = b"withy scenario: never in cleartext";
const BYTES: u64 = 1_000_000;

const ESP: u8 = 50;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;

/// Watches a transfer, an echo of every kind of size and a ping on both sides of every provider.
fn only_esp(_: Ipsec) -> Result<()> {
    play(
        Lab::paired(&slow_links()),
        &TunnelSpec::default(),
        |stage| {
            let (a, b) = stage.hosts("a")?;
            let mut captures = Vec::new();
            for link in a.links().iter().chain(b.links()) {
                let (netns, device) = link.provider();
                captures.push((link, plan(stage)?.start(netns, device)?));
            }
            // Proves that what is looked for can be found at all.
            let control = plan(stage)?.start(a.host(), HOST_DEVICE)?;

            let report = stage
                .transfer("a", Volume::Bytes(BYTES))?
                .marker(MARKER)
                .run()?;
            expect_whole(&report, BYTES)?;
            let echo = stage
                .probe("b")?
                .echo((1..=1472).step_by(91), Duration::from_secs(2))?;
            ensure!(echo.missing.is_empty() && echo.wrong == 0, "{echo:?}");
            stage.expect_ping("b", 1472)?;

            let control = control.finish()?;
            for needle in inner(stage)? {
                let name = needle.name();
                ensure!(
                    control.found(name) > Some(0),
                    "the host itself shows no {name}"
                );
            }
            for (link, capture) in captures {
                let tally = capture.finish()?;
                println!(
                    "    {link:?}: {} frames, {} fragments, protocols {:?}, pairs {:?}",
                    tally.frames, tally.fragments, tally.protocols, tally.pairs
                );
                let far = if a.links().iter().any(|own| std::ptr::eq(own, link)) {
                    b
                } else {
                    a
                };
                check(link, far.link(link.name())?, &tally)?;
            }
            Ok(())
        },
    )
}

/// What the hosts send, and nobody else may see.
fn inner(stage: &Stage<'_>) -> Result<Vec<Needle>> {
    let (a, b) = stage.hosts("a")?;
    let hosts = (a.lan().host, b.lan().host);
    Ok(vec![
        Needle::bytes("marker", MARKER),
        Needle::addresses(hosts.0, hosts.1),
        Needle::addresses(hosts.1, hosts.0),
    ])
}

fn plan(stage: &Stage<'_>) -> Result<CapturePlan> {
    let (a, b) = stage.hosts("a")?;
    let ends = (endpoint(a)?, endpoint(b)?);
    let endpoints = [
        Needle::addresses(ends.0, ends.1),
        Needle::addresses(ends.1, ends.0),
    ];
    let needles = inner(stage)?.into_iter().chain(endpoints);
    Ok(needles.fold(CapturePlan::new(), CapturePlan::needle))
}

/// Fails if a link has carried anything but ESP between its own addresses.
fn check(link: &Link, far: &Link, tally: &Tally) -> Result<()> {
    ensure!(
        tally.missed == 0,
        "the capture on {link:?} missed {} frames",
        tally.missed
    );
    for (name, count) in &tally.found {
        ensure!(*count == 0, "{link:?}: {count} frames hold {name}");
    }
    let kinds: Vec<_> = tally.ether_types.keys().copied().collect();
    ensure!(
        kinds.iter().all(|kind| [IPV4, ARP].contains(kind)),
        "{link:?}: frames of types {kinds:x?}"
    );
    let protocols: Vec<_> = tally.protocols.keys().copied().collect();
    ensure!(protocols == [ESP], "{link:?}: protocols {protocols:?}");
    let (near, far) = (link.address(), far.address());
    let pairs: BTreeSet<_> = tally.pairs.keys().copied().collect();
    ensure!(
        pairs == BTreeSet::from([(near, far), (far, near)]),
        "{link:?}: packets between {pairs:?}"
    );
    Ok(())
}
