//! From what is agreed to a tunnel that runs.

use super::own;
use crate::{
    config::{Config, Delay, Endpoints, Ivc, Keying, Mtu, Rate, Setting, Subnets, Tunnel},
    link::Links,
    reconcile::objects::{EspKey, Spi},
    session::{Agreed, AgreedIvc, SaKeys},
    suite::Suite,
    vpn::{Running, RunningSa},
};

/// The tunnel as it runs; none if what is agreed cannot be, which negotiation excludes.
pub(super) fn tunnel(
    config: &Config,
    tunnel: &Tunnel,
    links: &Links,
    agreed: &Agreed,
) -> Option<Running> {
    let Keying::Negotiated(keying) = &tunnel.keying else {
        return None;
    };
    Some(Running {
        endpoints: Endpoints {
            local: agreed.local,
            remote: agreed.remote,
        },
        subnets: Subnets {
            local: agreed.local_subnets.clone(),
            remote: agreed.remote_subnets.clone(),
        },
        ivcs: agreed
            .ivcs
            .iter()
            .filter_map(|agreed| ivc(config, links, agreed))
            .collect(),
        split: tunnel.split,
        mss: tunnel.mss,
        queue: tunnel.queue,
        suite: agreed.suite,
        outbound: sas(agreed.suite, &agreed.outbound)?,
        inbound: sas(agreed.suite, &agreed.inbound)?,
        replay_window: keying.replay_window,
    })
}

/// An IVC is as fast as the slower of its two links, and as narrow as the narrower.
fn ivc(config: &Config, links: &Links, agreed: &AgreedIvc) -> Option<Ivc> {
    let link = config.links.get(&agreed.link)?;
    let there = &agreed.facts;
    let rate =
        Rate::from_bits_per_second(there.down).map_or(link.rate.up, |down| down.min(link.rate.up));
    let latency = Delay::from_micros(there.latency.into())
        .map_or(link.latency, |latency| latency.max(link.latency));
    let mtu = links
        .get(&agreed.link)
        .map_or(there.mtu, |view| own::mtu(link, view).min(there.mtu));
    Some(Ivc {
        link: agreed.link.clone(),
        remote: agreed.remote,
        rate,
        latency,
        mtu: Mtu::new(mtu).map_or(link.mtu, Setting::Fixed),
    })
}

fn sas(suite: Suite, keys: &[SaKeys]) -> Option<Vec<RunningSa>> {
    keys.iter()
        .map(|sa| {
            Some(RunningSa {
                spi: Spi::new(sa.spi).ok()?,
                key: EspKey::new(suite, sa.material.to_vec()).ok()?,
            })
        })
        .collect()
}
