//! A gateway that claims the private network of another.

use std::fs;

use anyhow::{Result, ensure};
use withy::api::status::Status;

use super::{
    Gateway, Ipsec, Lab, PATIENCE, Stage, Witness, begin, negotiated_config, refused, rehearse,
    site, spec, status,
};
use crate::{
    lab::Site,
    scenarios::{
        negotiation::launch_and_wait,
        stage::{program, wait_status},
    },
};

pub(super) fn play(_: Ipsec) -> Result<()> {
    let lab = Lab::routed(&[site("a", 2), site("b", 2), site("c", 2)]);
    rehearse(lab, &spec(), |stage| {
        negotiated_config::write(&stage.spec, stage.lab, &["a", "c"], "b")?;
        // Both may claim the same network, as far as the responder's file goes.
        let (first, second) = (stage.lab.site("a")?, stage.lab.site("c")?);
        for site in [stage.b.site(), second] {
            let file = site.dirs().etc().join("withy.yaml");
            let text = fs::read_to_string(&file)?;
            fs::write(&file, text.replace(&network(second), &network(first)))?;
        }
        begin(stage, 2)?;
        let witness = Witness::start(stage)?;
        let mut rival = Gateway::new(stage.lab, "c", &program()?)?;
        let outcome = second_claim(stage, &mut rival);
        witness.finish(stage, "a second claim")?;
        outcome?;
        leave_it(stage, &rival)
    })
}

fn network(site: &Site) -> String {
    let (address, prefix) = site.lan().prefix();
    format!("{address}/{prefix}")
}

/// The second is refused, and both sides show why.
fn second_claim<'lab>(stage: &Stage<'lab>, rival: &mut Gateway<'lab>) -> Result<()> {
    launch_and_wait(rival)?;
    wait_status(rival, PATIENCE, "why it is refused", |status| {
        shows(status, "another site's")
    })?;
    let there = status(&stage.b)?;
    ensure!(shows(&there, "another tunnel has a subnet"), "{there:?}");
    ensure!(refused(&stage.b, "subnet_taken")? > 0, "it is not counted");
    Ok(())
}

/// Whether a tunnel is not made, for that reason.
fn shows(status: &Status, why: &str) -> bool {
    status.tunnels.iter().any(|tunnel| {
        tunnel.local.is_none()
            && tunnel
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.contains(why))
    })
}

/// Once the first has gone, the second has the network.
fn leave_it(stage: &mut Stage<'_>, rival: &Gateway<'_>) -> Result<()> {
    let down = stage.a.run_cli(&["down"])?;
    ensure!(down.status.success(), "withy down: {down:?}");
    stage.a.wait(PATIENCE)?;
    wait_status(rival, PATIENCE, "its tunnel", |status| {
        status.tunnels.iter().all(|tunnel| tunnel.ivcs.len() == 2)
    })?;
    Ok(())
}
