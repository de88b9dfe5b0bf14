//! A second gateway with the key of one whose tunnel runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Gateway, Ipsec, Lab, PATIENCE, Stage, Witness, begin, negotiated_config, rehearse, site, spec,
    status, wait_until,
};
use crate::{
    lab::Link,
    scenarios::{negotiation::launch_and_wait, stage},
};

/// For how long the second one tries in vain.
const TRIES: Duration = Duration::from_secs(10);

pub(super) fn play(_: Ipsec) -> Result<()> {
    let lab = Lab::routed(&[site("a", 2), site("b", 2), site("c", 2)]);
    rehearse(lab, &spec(), |stage| {
        stage.configure()?;
        begin(stage, 2)?;
        let witness = Witness::start(stage)?;
        let outcome = second(stage);
        witness.finish(stage, "a second gateway with the same key")?;
        outcome
    })
}

/// Starts the second gateway; it must be refused for as long as the first one is there.
fn second(stage: &Stage<'_>) -> Result<()> {
    let before = refusals(stage)?;
    negotiated_config::impersonate(&stage.spec, stage.lab, ("c", "a"), "b")?;
    let mut twin = Gateway::new(stage.lab, "c", &stage::program()?)?;
    launch_and_wait(&mut twin)?;
    wait_until(PATIENCE, "the second one's refusal", || {
        Ok(refusals(stage)? > before && twin.log()?.contains("refuses"))
    })?;
    let own: Vec<_> = stage
        .lab
        .site("a")?
        .links()
        .iter()
        .map(Link::address)
        .collect();
    let began = Instant::now();
    while began.elapsed() < TRIES {
        let tunnels = [status(&stage.b)?.tunnels, status(&twin)?.tunnels];
        let [there, second] = tunnels;
        let remotes: Vec<_> = there
            .iter()
            .flat_map(|tunnel| &tunnel.ivcs)
            .map(|ivc| ivc.remote)
            .collect();
        ensure!(
            remotes.len() == 2 && remotes.iter().all(|remote| own.contains(remote)),
            "the responder has IVCs to {remotes:?}"
        );
        ensure!(
            second.iter().all(|tunnel| tunnel.ivcs.is_empty()),
            "the second gateway has a tunnel"
        );
    }
    Ok(())
}

/// How many connections the responder has refused, for whatever reason.
fn refusals(stage: &Stage<'_>) -> Result<u64> {
    let refusals = status(&stage.b)?.refusals;
    Ok(refusals.iter().map(|refusal| refusal.connections).sum())
}
