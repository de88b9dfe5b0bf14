//! The IVCs that somebody names.

use crate::{
    bundle::{self, IvcId},
    config::{Config, TunnelName},
    vpn::{RunningIvc, RunningTunnels},
};

/// Finds the IVCs of a tunnel, or those over one link.
///
/// # Errors
///
/// There are none.
pub(super) fn of<'a>(
    config: &Config,
    running: &'a RunningTunnels,
    tunnel: &str,
    link: Option<&str>,
) -> Result<Vec<(IvcId, &'a RunningIvc)>, String> {
    let mut names = config.tunnels.keys();
    let Some(name) = names.find(|name| name.as_str() == tunnel) else {
        let names: Vec<_> = config.tunnels.keys().map(TunnelName::as_str).collect();
        let names = names.join(", ");
        return Err(format!("there is no tunnel {tunnel}; there are {names}"));
    };
    let Some(running) = running.get(name) else {
        return Err(format!("tunnel {tunnel} is not negotiated yet"));
    };
    let wanted = |ivc: &&RunningIvc| link.is_none_or(|link| ivc.link.as_str() == link);
    let ivcs: Vec<_> = running
        .ivcs
        .iter()
        .filter(wanted)
        .map(|ivc| (bundle::ident(running, ivc), ivc))
        .collect();
    match link {
        _ if !ivcs.is_empty() => Ok(ivcs),
        Some(link) => Err(format!("tunnel {tunnel} has no IVC over a link {link}")),
        None => Err(format!("tunnel {tunnel} has no IVC yet")),
    }
}
