//! Gateways that find each other's links and agree on keys by themselves.

mod failures;
mod load;
mod numbers;
mod renewals;
mod restarts;

use std::time::Duration;

use anyhow::Result;
use withy::api::status::{Status, TunnelStatus};

pub(super) use self::{
    load::{Load, Witness},
    renewals::renew_under_load,
};
use super::{
    Ipsec, Scenario,
    stage::{Stage, launch, links, wait_status},
};
use crate::{
    gateway::Gateway,
    lab::{Lab, LabBuilder, SiteSpec},
    site_config::{Keying, TunnelSpec},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::anywhere("negotiated_links_come_up_in_any_number", numbers::play),
    Scenario::everywhere(
        "negotiated_tunnels_survive_failures_under_traffic",
        failures::play,
    ),
    Scenario::anywhere("negotiated_tunnels_return_after_a_reboot", failures::reboot),
    Scenario::native(
        "negotiated_links_are_missed_at_once_and_come_back",
        failures::watch,
    ),
    Scenario::everywhere("renewals_of_keys_lose_nothing", renewals::play),
    Scenario::new("negotiated_tunnels_outlive_their_daemons", restarts::play).smoke(),
];

/// How long everything may take on an emulated machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn spec() -> TunnelSpec {
    TunnelSpec {
        keying: Keying::Negotiated,
        ..TunnelSpec::default()
    }
}

/// A site with so many links of 10 ms each, so that there are 20 between two.
pub(super) fn site(name: &str, count: usize) -> SiteSpec {
    SiteSpec::new(name, &links(&vec![(4000, 10); count]))
}

/// Sites `a` and `b` with so many links.
pub(super) fn sites(here: usize, there: usize) -> LabBuilder {
    Lab::routed(&[site("a", here), site("b", there)])
}

/// Whether a tunnel has all the IVCs that it should have, and hears the other side on each.
pub(super) fn is_whole(tunnel: &TunnelStatus, ivcs: usize) -> bool {
    tunnel.ivcs.len() == ivcs && tunnel.ivcs.iter().all(|ivc| ivc.usable)
}

/// Whether every IVC that there should be is up, and the kernel as it should be.
pub(super) fn is_complete(status: &Status, ivcs: usize) -> bool {
    status.problems.is_empty() && status.tunnels.iter().all(|tunnel| is_whole(tunnel, ivcs))
}

pub(super) fn wait_complete(stage: &Stage<'_>, ivcs: usize) -> Result<()> {
    for gateway in [&stage.a, &stage.b] {
        wait_status(gateway, PATIENCE, "all IVCs", |status| {
            is_complete(status, ivcs)
        })?;
    }
    Ok(())
}

/// Starts a gateway's daemon and waits until it answers.
pub(super) fn launch_and_wait(gateway: &mut Gateway<'_>) -> Result<()> {
    launch(gateway)?;
    wait_status(gateway, PATIENCE, "a daemon", |_| true)?;
    Ok(())
}

/// Writes the configurations, starts the responder and then the initiator, and waits for all IVCs.
pub(super) fn begin(stage: &mut Stage<'_>, ivcs: usize) -> Result<()> {
    stage.configure()?;
    launch_and_wait(&mut stage.b)?;
    launch(&mut stage.a)?;
    wait_complete(stage, ivcs)
}
