//! Gateways and strangers that do what they should not, against a gateway whose tunnel runs.

mod flood;
mod insider;
mod insiders;
mod rival;
mod strangers;
mod twin;

use super::{
    Ipsec, Scenario,
    negotiation::{PATIENCE, Witness, is_complete, is_whole, launch_and_wait, site, spec},
    stage::{Stage, launch, refused, rehearse, status, wait_status},
};
use crate::{
    gateway::Gateway,
    lab::{Lab, Site},
    negotiated_config,
    site_config::TUNNEL,
    wait::wait_until,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::anywhere("a_wrong_key_is_refused_and_counted", strangers::wrong_key),
    Scenario::anywhere(
        "strangers_with_recorded_or_weaker_handshakes_are_refused_and_counted",
        strangers::play,
    ),
    Scenario::anywhere(
        "insiders_who_break_the_protocol_are_refused_and_harm_nobody",
        insiders::play,
    ),
    Scenario::anywhere("a_flood_of_half_open_connections_harms_nobody", flood::play),
    Scenario::anywhere(
        "a_second_gateway_with_the_same_key_is_refused_and_harms_nobody",
        twin::play,
    ),
    Scenario::anywhere(
        "a_second_claim_to_a_subnet_is_refused_and_shown_at_both_sides",
        rival::play,
    ),
];

/// Starts the responder `b` and the initiator `a`, as configured, and waits for the IVCs between them.
fn begin(stage: &mut Stage<'_>, ivcs: usize) -> anyhow::Result<()> {
    launch_and_wait(&mut stage.b)?;
    launch(&mut stage.a)?;
    wait_status(&stage.a, PATIENCE, "all IVCs", |status| {
        is_complete(status, ivcs)
    })?;
    wait_status(&stage.b, PATIENCE, "all IVCs", |status| {
        let tunnel = status.tunnels.iter().find(|tunnel| tunnel.name == TUNNEL);
        tunnel.is_some_and(|tunnel| is_whole(tunnel, ivcs))
    })?;
    Ok(())
}
