//! What the other side is told of this gateway's links.

use crate::{
    api::status::LinkState,
    config::{self, Config, LinkName, Rate, Setting, Tunnel},
    link::{LinkView, Links},
    session::OwnLink,
    vpn::ASSUMED_MTU,
    wire::LinkFacts,
};

/// The links of a tunnel's bundle that work.
pub(super) fn links(config: &Config, tunnel: &Tunnel, links: &Links) -> Vec<OwnLink> {
    let names = config
        .bundles
        .get(&tunnel.bundle)
        .map_or(&[] as &[LinkName], |bundle| &bundle.links);
    names
        .iter()
        .filter_map(|name| own(name, config.links.get(name)?, links.get(name)?))
        .collect()
}

fn own(name: &LinkName, link: &config::Link, view: &LinkView) -> Option<OwnLink> {
    let address = view.address.filter(|_| view.state == LinkState::Up)?;
    Some(OwnLink {
        name: name.clone(),
        address,
        facts: LinkFacts {
            name: name.to_string(),
            up: stated(link.rate.up),
            down: stated(link.rate.down),
            latency: u32::try_from(link.latency.as_micros()).unwrap_or(u32::MAX),
            mtu: mtu(link, view),
        },
    })
}

/// A rate in bit/s, 0 where it is not stated.
fn stated(rate: Setting<Rate>) -> u64 {
    rate.fixed().map_or(0, Rate::bits_per_second)
}

/// The largest packet that a link carries, in bytes.
fn mtu(link: &config::Link, view: &LinkView) -> u16 {
    match link.mtu {
        Setting::Fixed(mtu) => mtu.get(),
        Setting::Auto => {
            let mtu = view
                .interface
                .as_ref()
                .map_or(ASSUMED_MTU, |interface| interface.mtu);
            u16::try_from(mtu).unwrap_or(u16::MAX)
        }
    }
}
