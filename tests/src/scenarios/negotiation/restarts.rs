//! Daemons that die and come back.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use super::{Load, PATIENCE, begin, is_complete, sites, spec, wait_complete};
use crate::{
    gateway::Gateway,
    scenarios::stage::{Stage, launch, rehearse, wait_status},
    wait::wait_until,
};

pub(super) fn play() -> Result<()> {
    rehearse(sites(2, 2), &spec(), |stage| {
        begin(stage, 2)?;
        let load = Load::start(stage)?;
        let outcome = restart_both(stage);
        let (_, lost) = load.finish("daemons killed")?;
        outcome?;
        ensure!(lost == 0, "{lost} datagrams were lost");
        Ok(())
    })
}

fn restart_both(stage: &mut Stage<'_>) -> Result<()> {
    for gateway in [&mut stage.a, &mut stage.b] {
        kill_and_launch(gateway)?;
        wait_status(gateway, PATIENCE, "its return", |status| {
            is_complete(status, 2)
        })?;
    }
    wait_complete(stage, 2)?;
    // The initiator takes new keys whenever either daemon is another.
    wait_until(PATIENCE, "new keys after the restarts", || {
        Ok(stage.b.log()?.contains("new keys are in use"))
    })?;
    Ok(())
}

fn kill_and_launch(gateway: &mut Gateway<'_>) -> Result<()> {
    thread::sleep(Duration::from_secs(1));
    gateway.sigkill()?;
    gateway.wait(Duration::from_secs(10))?;
    thread::sleep(Duration::from_secs(1));
    launch(gateway)
}
