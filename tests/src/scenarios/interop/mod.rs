//! A gateway with Withy's own ESP engine and one with the kernel's.

mod border;
mod tampering;
mod wiretap;

use anyhow::{Result, ensure};
use withy::config::Suite;

use super::{
    Scenario,
    negotiation::{begin, renew_under_load, sites, spec},
    stage::{Stage, links, play, rehearse, status},
    transfer::small_transfers,
};
use crate::{gateway::Gateway, lab::Lab, site_config::TunnelSpec};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("userspace_and_kernel_engines_interoperate", interoperate),
    Scenario::new("renewals_between_the_engines_lose_nothing", renewals),
];

/// The suites that both engines have.
const SUITES: [Suite; 3] = [Suite::AesGcm128, Suite::AesGcm256, Suite::ChaCha20Poly1305];
/// Which site has Withy's own engine, in turn. Packets go both ways: each engine opens what the other has sealed.
const SIDES: [&[&str]; 2] = [&["a"], &["b"]];
const BYTES: u64 = 500_000;
const RENEWALS: usize = 5;

fn interoperate() -> Result<()> {
    for (suite, userspace) in SUITES.into_iter().zip(SIDES.into_iter().cycle()) {
        let spec = TunnelSpec {
            suite,
            userspace,
            ..TunnelSpec::default()
        };
        println!("    {suite}, userspace at {}", userspace[0]);
        play(Lab::paired(&links(&[(4000, 5); 4])), &spec, |stage| {
            expect_engines(stage)?;
            pings(stage)?;
            small_transfers(stage, BYTES)?;
            for from in ["a", "b"] {
                tampering::play(stage, from)?;
            }
            // Neither engine is harmed.
            pings(stage)?;
            border::play(stage)
        })?;
    }
    Ok(())
}

fn renewals() -> Result<()> {
    for userspace in SIDES {
        let spec = TunnelSpec {
            userspace,
            ..spec()
        };
        rehearse(sites(2, 2), &spec, |stage| {
            begin(stage, 2)?;
            expect_engines(stage)?;
            renew_under_load(stage, RENEWALS)
        })?;
    }
    Ok(())
}

fn expect_engines(stage: &Stage<'_>) -> Result<()> {
    for gateway in [&stage.a, &stage.b] {
        let wanted = engine(stage, gateway);
        let engine = status(gateway)?.engine;
        ensure!(engine == wanted, "{engine} instead of {wanted}");
    }
    Ok(())
}

/// The engine that a gateway should have.
fn engine(stage: &Stage<'_>, gateway: &Gateway<'_>) -> &'static str {
    if stage.spec.userspace.contains(&gateway.site().name()) {
        "userspace"
    } else {
        "kernel"
    }
}

/// Packets of both ways, of which some are split and others not.
fn pings(stage: &Stage<'_>) -> Result<()> {
    for from in ["a", "b"] {
        stage.expect_ping(from, 1472)?;
        stage.expect_ping(from, 100)?;
    }
    Ok(())
}
