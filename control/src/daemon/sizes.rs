//! Between the tunnels that run and the probing of their IVCs: by which terms they are probed, and what that finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use withy_common::maps::{Split, Svc};

use crate::{
    api::status::LinkState,
    bundle::ident,
    config::Config,
    link::Links,
    liveness::{Liveness, PathMtu, Terms},
    vpn::{IvcMtu, RunningIvc, RunningTunnels, most_mtu},
};

/// Path MTUs in bytes, by the addresses of the link here and the link there.
pub(super) type Sizes = BTreeMap<(Ipv4Addr, Ipv4Addr), u16>;

/// The path MTUs that an earlier run left in the maps.
pub(super) fn left(svcs: &[(Ipv4Addr, Svc)]) -> Sizes {
    let address = |wire: u32| Ipv4Addr::from(wire.to_ne_bytes());
    let ivcs = svcs.iter().flat_map(|(_, svc)| svc.ivcs);
    ivcs.filter(|ivc| ivc.mtu > 0)
        .filter_map(|ivc| {
            let ends = (address(ivc.local), address(ivc.remote));
            Some((ends, u16::try_from(ivc.mtu).ok()?))
        })
        .collect()
}

/// The remote endpoints of the SVCs in the maps that an earlier run left whose packets are split by choice.
pub(super) fn pieces(svcs: &[(Ipv4Addr, Svc)]) -> BTreeSet<Ipv4Addr> {
    let split = svcs
        .iter()
        .filter(|(_, svc)| svc.split == Split::Idle.code());
    split.map(|(endpoint, _)| *endpoint).collect()
}

/// Lets the tunnels know what probing has found, or what an earlier run had.
pub(super) fn apply(
    running: &mut RunningTunnels,
    links: &Links,
    liveness: &Liveness,
    left: &Sizes,
) {
    for tunnel in running.values_mut() {
        let ids: Vec<_> = tunnel.ivcs.iter().map(|ivc| ident(tunnel, ivc)).collect();
        for (id, ivc) in ids.iter().zip(&mut tunnel.ivcs) {
            let local = links.get(&ivc.link).and_then(|link| link.address);
            if let IvcMtu::Probed { found, .. } = &mut ivc.mtu {
                *found = match liveness.path_mtu(id) {
                    _ if !liveness.knows(id) => {
                        local.and_then(|local| left.get(&(local, ivc.remote)).copied())
                    }
                    found => found,
                };
            }
        }
    }
}

/// How an IVC is probed.
pub(super) fn terms(config: &Config, links: &Links, ivc: &RunningIvc) -> Option<Terms> {
    let link = config.links.get(&ivc.link)?;
    let view = links.get(&ivc.link)?;
    Some(Terms {
        interval: link.probe.interval.duration(),
        idle: link.probe.idle.duration(),
        metered: link.metered,
        local: view.address,
        up: view.state == LinkState::Up,
        mtu: match ivc.mtu {
            IvcMtu::Fixed(_) => None,
            IvcMtu::Probed { found, .. } => Some(PathMtu {
                most: u16::try_from(most_mtu(ivc, links)).unwrap_or(u16::MAX),
                found,
            }),
        },
    })
}

#[cfg(test)]
mod tests {
    use withy_common::maps::{Ivc, MAX_IVCS};

    use super::*;

    #[test]
    fn what_an_earlier_run_split_is_found_in_the_maps() {
        let svc = |split| Svc::new(1, 0, split, 0, [Ivc::default(); MAX_IVCS]);
        let svcs = [
            ([10, 255, 0, 2].into(), svc(Split::Idle)),
            ([10, 255, 0, 3].into(), svc(Split::Always)),
        ];
        let found: Vec<_> = pieces(&svcs).into_iter().collect();
        assert_eq!(found, [Ipv4Addr::new(10, 255, 0, 2)]);
    }
}
