//! New keys, again and again.

use anyhow::{Result, ensure};

use super::{Ipsec, PATIENCE, Witness, begin, sites, spec};
use crate::{
    scenarios::stage::{Stage, rehearse},
    site_config::TUNNEL,
    snapshot::{Scope, Snapshot},
    wait::wait_until,
};

pub(super) fn play(ipsec: Ipsec) -> Result<()> {
    let count = match ipsec {
        Ipsec::Kernel => 50,
        // There it takes a second; here it is shown on every build.
        Ipsec::Missing => 10,
    };
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        renew_under_load(stage, count)?;
        if ipsec == Ipsec::Missing {
            // The old SAs are in no table of the kernel's.
            return Ok(());
        }
        for gateway in [&stage.a, &stage.b] {
            wait_until(PATIENCE, "the old SAs to go", || {
                let states = Snapshot::of_gateway(gateway.site(), Scope::Namespace)?;
                Ok(states.counts().get("XFRM state") == Some(&2))
            })?;
        }
        Ok(())
    })
}

/// Renews the keys of a tunnel that has just come up so many times; fails if that loses anything.
pub(in crate::scenarios) fn renew_under_load(stage: &Stage<'_>, count: usize) -> Result<()> {
    let witness = Witness::start(stage)?;
    let renewed = (1..=count).try_for_each(|count| renew(stage, count));
    witness.finish(stage, &format!("{count} renewals"))?;
    renewed
}

fn renew(stage: &Stage<'_>, count: usize) -> Result<()> {
    let output = stage.a.run_cli(&["rekey", TUNNEL])?;
    ensure!(output.status.success(), "withy rekey: {output:?}");
    wait_until(PATIENCE, "new keys", || {
        // The first keys are in use since the start.
        Ok(stage.a.log()?.matches("new keys are in use").count() > count)
    })?;
    Ok(())
}
