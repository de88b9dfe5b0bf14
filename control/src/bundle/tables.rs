//! The contents of the maps, computed from the tunnels that run and the links as they are.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use withy_common::{
    classes::Classes,
    maps::{Ivc, IvcKey, IvcRx, MAX_IVCS, Split, Subnet, Svc},
};

use super::{IvcId, Slots, slots::Seat};
use crate::{
    api::status::LinkState,
    config::{Config, SplitPolicy, TunnelName},
    dataplane::wire,
    estimate::HOPED,
    link::{LinkView, Links},
    vpn::{Path, Running, RunningIvc, RunningTunnels, expansion, path_mtu},
};

/// How much of a link's rate is used, in percent: with more, the smallest error of the rate makes a
/// queue grow on the link, where nothing bounds it.
const HEADROOM_PERCENT: u64 = 97;

/// How much longer than by the slowest link packets may take while there are others that must not wait, or where they are of no use, in nanoseconds,
/// until the links are known.
const CALM: u64 = 25_000_000;

/// What the maps should hold.
#[derive(Debug, Default)]
pub struct Contents {
    /// SVCs by remote endpoint.
    pub svcs: Vec<(Ipv4Addr, Svc)>,
    /// IVCs by address pair.
    pub ivcs: Vec<(IvcKey, IvcRx)>,
    /// What there is to know of remote subnets.
    pub subnets: Vec<(Ipv4Net, Subnet)>,
    /// The classes of tunnels that have any, by SVC.
    pub classes: Vec<(u32, Classes)>,
    /// The counters' slots of IVCs that are new.
    pub fresh: Vec<u32>,
    /// Tunnels and IVCs for which the maps have no room.
    pub refused: Vec<String>,
}

/// What has been found out of IVCs that matters for the maps' contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The IVCs that carry no data.
    pub silent: BTreeSet<IvcId>,
    /// The remote endpoints of tunnels of which some IVC is so far away that only flows go there that do so alone.
    pub far: BTreeSet<Ipv4Addr>,
}

/// Computes the maps' contents, taking slots for what has none.
pub fn contents(
    config: &Config,
    running: &RunningTunnels,
    links: &Links,
    known: &Known,
    slots: &mut Slots,
) -> Contents {
    slots.retain(
        |endpoint| {
            running
                .values()
                .any(|tunnel| tunnel.endpoints.remote == endpoint)
        },
        |id| {
            running
                .values()
                .any(|tunnel| tunnel.ivcs.iter().any(|ivc| ident(tunnel, ivc) == *id))
        },
    );
    let mut contents = Contents::default();
    for (name, tunnel) in running {
        svc(&mut contents, config, (name, tunnel), (links, known), slots);
    }
    contents
}

/// What an IVC carries at most, in bits per second, if that is stated.
pub(crate) fn cap(ivc: &RunningIvc) -> Option<u64> {
    let rate = ivc.rate.fixed()?;
    Some(rate.bits_per_second() / 100 * HEADROOM_PERCENT)
}

/// What an IVC of a tunnel is known by.
pub(crate) fn ident(tunnel: &Running, ivc: &RunningIvc) -> IvcId {
    (tunnel.endpoints.remote, ivc.link.clone(), ivc.remote)
}

fn svc(
    contents: &mut Contents,
    config: &Config,
    (name, tunnel): (&TunnelName, &Running),
    (links, known): (&Links, &Known),
    slots: &mut Slots,
) {
    let endpoints = tunnel.endpoints;
    let Some(index) = slots.svc(endpoints.remote, config.gateway.limits.svcs) else {
        contents
            .refused
            .push(format!("tunnel {name}: no room, raise gateway.limits.svcs"));
        return;
    };
    let mut ivcs = [Ivc::default(); MAX_IVCS];
    for ivc in &tunnel.ivcs {
        let Some(view) = links.get(&ivc.link) else {
            continue;
        };
        let id = ident(tunnel, ivc);
        let limit = config.gateway.limits.ivcs;
        let Some((Seat { counters, place }, fresh)) = slots.ivc(&id, view.address, limit) else {
            contents.refused.push(format!(
                "tunnel {name}: no room for the IVC of link {} to {}, raise gateway.limits.ivcs",
                ivc.link, ivc.remote
            ));
            continue;
        };
        if fresh {
            contents.fresh.push(counters);
        }
        let mtu = path_mtu(ivc, links);
        let overhead = config.links.get(&ivc.link).map_or(0, |link| link.overhead);
        // Silent or not, it hears: that is how it comes back.
        let mtu = if known.silent.contains(&id) { 0 } else { mtu };
        ivcs[place] = sender(ivc, view, mtu, overhead.into(), counters);
        if let Some(local) = view.address {
            let key = IvcKey {
                source: wire(ivc.remote),
                destination: wire(local),
            };
            let value = IvcRx {
                source: wire(endpoints.remote),
                destination: wire(endpoints.local),
                counters,
                // No more than an SVC has slots.
                slot: u32::try_from(place).unwrap_or_default(),
            };
            contents.ivcs.push((key, value));
        }
    }
    let telling = tunnel.telling(known.far.contains(&endpoints.remote));
    let horizon = slowest(&ivcs) + tunnel.queue.as_nanos();
    let mut svc = Svc::new(wire(endpoints.local), index, split(tunnel), horizon, ivcs);
    svc.calm_ns = slowest(&ivcs) + CALM;
    // Until answers tell what the clocks of an earlier run are worth, nobody vouches for them.
    svc.until_ns = 0;
    svc.policies = tunnel.policies();
    if telling.is_some() {
        svc.expansion = expansion(tunnel.suite);
    }
    contents.svcs.push((endpoints.remote, svc));
    let subnet = Subnet {
        mss: (Path::of(tunnel, links).mss).map_or(Subnet::ANY_MSS, u32::from),
        classes: telling.map_or(Subnet::NO_CLASSES, |_| index),
    };
    if subnet.mss != Subnet::ANY_MSS || telling.is_some() {
        let remote = tunnel.subnets.remote.iter();
        contents.subnets.extend(remote.map(|net| (*net, subnet)));
    }
    contents
        .classes
        .extend(telling.map(|telling| (index, telling)));
}

/// Returns an IVC as the sender sees it; without a usable link, it has no MTU and carries nothing.
fn sender(ivc: &RunningIvc, view: &LinkView, mtu: u32, overhead: u32, counters: u32) -> Ivc {
    let (byte_time, rate) = Ivc::pace(cap(ivc).unwrap_or(HOPED));
    let idle = Ivc {
        counters,
        overhead,
        byte_time,
        share: byte_time,
        rate,
        latency_ns: ivc.latency.as_nanos(),
        remote: wire(ivc.remote),
        ..Ivc::default()
    };
    let (Some(interface), Some(address), LinkState::Up) =
        (&view.interface, view.address, view.state)
    else {
        return idle;
    };
    Ivc {
        local: wire(address),
        ifindex: interface.index,
        next_hop: wire(view.next_hop.unwrap_or(ivc.remote)),
        mtu,
        // At which rate, the steering says.
        spacing: if view.pacing.is_paced() { byte_time } else { 0 },
        ..idle
    }
}

/// The latency in nanoseconds of the slowest IVC that carries anything.
fn slowest(ivcs: &[Ivc]) -> u64 {
    let used = ivcs.iter().filter(|ivc| ivc.mtu > 0);
    used.map(|ivc| ivc.latency_ns).max().unwrap_or_default()
}

fn split(tunnel: &Running) -> Split {
    match tunnel.split {
        SplitPolicy::Auto if tunnel.pieces => Split::Idle,
        SplitPolicy::Auto | SplitPolicy::Mtu => Split::Mtu,
        SplitPolicy::Always => Split::Always,
        SplitPolicy::WholeOnly => Split::WholeOnly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Mtu, Setting},
        link::{Interface, Pacing},
        reconcile::objects::InterfaceName,
        vpn::IvcMtu,
    };

    #[test]
    fn packets_are_handed_to_the_next_hop_or_to_the_other_end() {
        let remote = Ipv4Addr::new(198, 51, 100, 1);
        let ivc = RunningIvc {
            link: "dsl".parse().unwrap(),
            remote,
            rate: Setting::Auto,
            latency: "1 ms".parse().unwrap(),
            mtu: IvcMtu::Fixed(Mtu::new(1500).unwrap()),
        };
        for (next_hop, handed_to) in [
            (None, remote),
            (Some([192, 0, 2, 1].into()), [192, 0, 2, 1].into()),
        ] {
            let view = LinkView {
                state: LinkState::Up,
                interface: Some(Interface {
                    index: 7,
                    name: InterfaceName::new("eth1").unwrap(),
                    mtu: 1500,
                    software: false,
                }),
                address: Some([192, 0, 2, 9].into()),
                next_hop,
                pacing: Pacing::Off,
            };
            let sender = sender(&ivc, &view, 1500, 14, 3);
            assert_eq!(sender.next_hop, wire(handed_to));
        }
    }
}
