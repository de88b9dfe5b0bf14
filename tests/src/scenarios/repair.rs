//! What somebody else changes is put right within a second.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use withy::api::status::LinkState;

use super::{
    Scenario,
    kernel_tools::{listing, run},
    stage::{Stage, fast_links, launch, play, slow_links, status, terminate, tunnel, wait_status},
    transfer::small_transfers,
};
use crate::{
    gateway::Gateway,
    lab::Lab,
    netns::Netns,
    site_config::TunnelSpec,
    wait::{wait_until, when_calm},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "deleted_sas_and_policies_are_repaired_within_a_second",
        xfrm,
    ),
    Scenario::new(
        "deleted_routes_and_rules_are_repaired_within_a_second",
        routes_and_rules,
    ),
    Scenario::new("changed_sysctls_are_repaired_within_a_second", sysctls),
    Scenario::new(
        "detached_programs_are_attached_again_within_a_second",
        programs,
    ),
    Scenario::new("a_changed_address_is_followed_within_a_second", address),
    Scenario::new(
        "an_interface_that_vanishes_and_returns_is_taken_back",
        interface,
    ),
];

/// Within this time everything must be as it was.
const LIMIT: Duration = Duration::from_secs(1);

/// After this time the wait ends without a figure.
const PATIENCE: Duration = Duration::from_secs(5);

const BYTES: u64 = 200_000;

/// How the state is listed that a damage is done to.
struct Listing {
    command: &'static str,
    /// Words with which the lines begin that count; all lines where there are none.
    words: &'static [&'static str],
}

const STATES: Listing = Listing {
    command: "ip xfrm state list nokeys",
    words: &["src", "proto", "aead", "auth", "enc", "encap"],
};
const POLICIES: Listing = Listing {
    command: "ip xfrm policy list",
    words: &["src", "dir", "tmpl", "proto"],
};
const ROUTES: Listing = Listing {
    command: "ip -4 route show table all",
    words: &[],
};
const RULES: Listing = Listing {
    command: "ip -4 rule show",
    words: &[],
};

impl Listing {
    fn read(&self, netns: &Netns) -> Result<Vec<String>> {
        listing(netns, self.command, self.words)
    }
}

fn xfrm() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let netns = stage.a.site().gateway();
            let (a, b) = stage.hosts("a")?;
            for (from, to) in [(a, b), (b, a)] {
                let (source, target) = (endpoint(from)?, endpoint(to)?);
                let spi = stage.spec.spi(from, to);
                let line = format!(
                    "ip xfrm state delete src {source} dst {target} proto esp spi {spi:#x}"
                );
                repaired(netns, &STATES, &line)?;
                carries_traffic(stage)?;
            }
            let net = |site: &crate::lab::Site| {
                let (network, length) = site.lan().prefix();
                format!("{network}/{length}")
            };
            for (dir, from, to) in [("out", a, b), ("in", b, a), ("fwd", b, a)] {
                let line = format!(
                    "ip xfrm policy delete src {} dst {} dir {dir}",
                    net(from),
                    net(to)
                );
                repaired(netns, &POLICIES, &line)?;
            }
            repaired(netns, &STATES, "ip xfrm state flush")?;
            repaired(netns, &POLICIES, "ip xfrm policy flush")?;
            carries_traffic(stage)
        },
    )
}

fn endpoint(site: &crate::lab::Site) -> Result<std::net::Ipv4Addr> {
    crate::site_config::endpoint(site)
}

/// Deletes what the product's own number marks, one after the other.
fn routes_and_rules() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let netns = stage.a.site().gateway();
            let routes = marked(&ROUTES.read(netns)?);
            let rules = marked(&RULES.read(netns)?);
            ensure!(
                !routes.is_empty() && !rules.is_empty(),
                "nothing of Withy's: {routes:?} {rules:?}"
            );
            for route in routes {
                repaired(netns, &ROUTES, &format!("ip -4 route delete {route}"))?;
            }
            for rule in rules {
                let (priority, selector) = rule.split_once(':').context("an odd rule")?;
                let line = format!("ip -4 rule delete priority {priority} {selector}");
                repaired(netns, &RULES, &line)?;
            }
            carries_traffic(stage)
        },
    )
}

/// Lines that carry the routing protocol number of Withy's objects.
fn marked(lines: &[String]) -> Vec<String> {
    let own = format!("proto {}", withy::reconcile::objects::PROTOCOL);
    let lines = lines.iter().filter(|line| line.contains(&own));
    lines.cloned().collect()
}

fn sysctls() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let netns = stage.a.site().gateway();
            for (key, value) in [
                ("net.ipv4.ip_forward", "0"),
                ("net.ipv4.ipfrag_max_dist", "64"),
                ("net.ipv4.ipfrag_time", "30"),
                ("net.ipv4.conf.wan1.rp_filter", "1"),
            ] {
                let wanted = netns.sysctl(key)?;
                ensure!(wanted != value, "{key} is {value} anyway");
                netns.set_sysctl(key, value)?;
                let damaged = Instant::now();
                let what = format!("{key} = {value}");
                let back = wait_until(PATIENCE, &what, || Ok(netns.sysctl(key)? == wanted));
                judge(&what, back.map(|_| damaged.elapsed()))?;
            }
            carries_traffic(stage)
        },
    )
}

/// Takes all of the product's programs off their hooks behind its back.
fn programs() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let pins = stage.a.site().dirs().pins();
            let links = fs::read_dir(&pins)?
                .filter_map(|version| Some(version.ok()?.path().join("links")))
                .find(|links| links.is_dir())
                .context("no pinned links")?;
            let names = || -> Result<Vec<_>> {
                let mut names = fs::read_dir(&links)?
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<Result<Vec<_>>>()?;
                names.sort_unstable();
                Ok(names)
            };
            let before = names()?;
            ensure!(before.len() >= 7, "too few links are pinned: {before:?}");
            // The pin is all that holds a link.
            for name in &before {
                fs::remove_file(links.join(name))?;
            }
            let damaged = Instant::now();
            let back = wait_until(
                PATIENCE,
                "the programs to return",
                || Ok(names()? == before),
            );
            judge(
                &format!("{} programs detached", before.len()),
                back.map(|_| damaged.elapsed()),
            )?;
            carries_traffic(stage)
        },
    )
}

/// A link gets another address and next hop, as after a provider's nightly disconnection; the far
/// side is told by its configuration.
fn address() -> Result<()> {
    play(
        Lab::paired(&slow_links()),
        &TunnelSpec::default(),
        |stage| {
            let link = stage.a.site().link("wan1")?;
            for _ in 0..2 {
                let new = link.renumber()?;
                let damaged = Instant::now();
                let followed = wait_status(&stage.a, PATIENCE, "the new address", |status| {
                    let ivcs = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
                    let ivc = ivcs.clone().find(|ivc| ivc.link == "wan1");
                    ivc.is_some_and(|ivc| ivc.local == Some(new))
                });
                judge(
                    &format!("wan1 has the address {new}"),
                    followed.map(|_| damaged.elapsed()),
                )?;
                // Each gateway has only the silence to go by. The other links go on meanwhile.
                leaves(&stage.a, damaged)?;
                leaves(&stage.b, damaged)?;
                carries_traffic(stage)?;
                stage.configure()?;
                terminate(&mut stage.b)?;
                launch(&mut stage.b)?;
                stage.wait_healthy()?;
                used(stage, "wan1")?;
            }
            Ok(())
        },
    )
}

fn interface() -> Result<()> {
    play(
        Lab::paired(&slow_links()),
        &TunnelSpec::default(),
        |stage| {
            let link = stage.a.site().link("wan1")?;
            link.unplug()?;
            let gone = Instant::now();
            let state = |wanted: LinkState| {
                move |status: &withy::api::status::Status| {
                    let mut links = status.links.iter();
                    links.any(|link| link.name == "wan1" && link.state == wanted)
                }
            };
            let missed = wait_status(&stage.a, PATIENCE, "the loss", state(LinkState::Missing));
            judge("wan1 deleted", missed.map(|_| gone.elapsed()))?;
            // The far gateway has only the silence to go by.
            leaves(&stage.b, gone)?;
            carries_traffic(stage)?;
            link.plug()?;
            let plugged = Instant::now();
            let back = wait_status(&stage.a, PATIENCE, "the return", |status| {
                status.is_healthy()
            });
            judge("wan1 made again", back.map(|_| plugged.elapsed()))?;
            used(stage, "wan1")
        },
    )
}

/// Waits until a gateway sends no data over `wan1` any more.
fn leaves(gateway: &Gateway<'_>, since: Instant) -> Result<()> {
    let noticed = wait_status(gateway, PATIENCE, "the silence", |status| {
        let mut ivcs = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
        ivcs.any(|ivc| ivc.link == "wan1" && !ivc.usable)
    });
    let what = format!("wan1 left by {}", gateway.site().name());
    judge(&what, noticed.map(|_| since.elapsed()))
}

/// Does a damage and waits until the listing is as it was before.
fn repaired(netns: &Netns, listing: &Listing, damage: &str) -> Result<()> {
    let before = when_calm("a calm listing", || listing.read(netns))?;
    run(netns, damage)?;
    let damaged = Instant::now();
    let mut now = Vec::new();
    let back = wait_until(PATIENCE, damage, || {
        now = listing.read(netns)?;
        Ok(now == before)
    });
    judge(damage, back.map(|_| damaged.elapsed()))
        .with_context(|| format!("before: {before:#?}, now: {now:#?}"))
}

fn judge(what: &str, time: Result<Duration>) -> Result<()> {
    let time = time?;
    println!("    {what}: put right in {:.2} s", time.as_secs_f64());
    ensure!(time <= LIMIT, "{what}: put right only after {time:?}");
    Ok(())
}

fn carries_traffic(stage: &Stage<'_>) -> Result<()> {
    for from in ["a", "b"] {
        stage.expect_ping(from, 1472)?;
    }
    small_transfers(stage, BYTES)
}

/// Fails unless both directions of an IVC carry traffic now.
fn used(stage: &Stage<'_>, name: &str) -> Result<()> {
    let pieces = || -> Result<Vec<(u64, u64)>> {
        [&stage.a, &stage.b]
            .into_iter()
            .map(|gateway| {
                let ivcs = tunnel(gateway)?.ivcs;
                let ivc = ivcs.into_iter().find(|ivc| ivc.link == name);
                let ivc = ivc.context("no such IVC")?;
                Ok((ivc.tx.pieces, ivc.rx.pieces))
            })
            .collect()
    };
    let before = pieces()?;
    small_transfers(stage, 4 * BYTES)?;
    let after = pieces()?;
    let grown = before
        .iter()
        .zip(&after)
        .all(|(b, a)| a.0 > b.0 && a.1 > b.1);
    ensure!(grown, "{name} is not used: {before:?}, then {after:?}");
    ensure!(status(&stage.a)?.is_healthy(), "something is wrong");
    Ok(())
}
