//! The devices of tunnels: addresses, and routes from LAN to LAN.

use std::{fmt::Write as _, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result};

use super::tool;
use crate::{
    lab::{Lab, Link, Site},
    netns::{Netns, Route},
    wait::wait_until,
};

/// Largest weight of a hop of a multipath route (`rtnh_hops`, one byte, is one less).
const LARGEST_WEIGHT: u64 = 256;

/// How long a program may take to make its device.
const DEVICE_LIMIT: Duration = Duration::from_secs(20);

/// One end of a link between the sites.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'lab> {
    pub(super) site: &'lab Site,
    pub(super) link: &'lab Link,
    /// The link's number.
    pub(super) number: usize,
}

impl End<'_> {
    /// The address of a tunnel's device over this link.
    pub(super) fn tunnel_address(&self) -> Result<Ipv4Addr> {
        let [.., third, _] = self.site.lan().network.octets();
        Ok(Ipv4Addr::new(10, 77, u8::try_from(self.number)?, third))
    }
}

/// Both ends of the first links, as many as `most`: `a`'s, then `b`'s. Packets for the other end of each take that link.
pub(super) fn ends(lab: &Lab, most: usize) -> Result<Vec<[End<'_>; 2]>> {
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let pairs = a.links().iter().zip(b.links()).take(most).enumerate();
    let end = |site, number, link| End { site, link, number };
    let ends: Vec<_> = pairs
        .map(|(number, (here, there))| [end(a, number, here), end(b, number, there)])
        .collect();
    for [a, b] in &ends {
        for (here, there) in [(a, b), (b, a)] {
            let network = there.link.uplink().prefix();
            let route = Route::to(network, here.link.name()).via(here.link.next_hop());
            here.site.gateway().set_route(&route)?;
        }
    }
    Ok(ends)
}

/// Both ends of the first link.
pub(super) fn first(lab: &Lab) -> Result<[End<'_>; 2]> {
    let ends = ends(lab, 1)?;
    ends.into_iter().next().context("the lab has no links")
}

/// Waits for a device, gives it the address of a tunnel's end, and sets it up.
pub(super) fn configure(
    here: End<'_>,
    device: &str,
    mtu: u32,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let netns = here.site.gateway();
    wait_until(DEVICE_LIMIT, &format!("the device {device}"), || {
        check()?;
        netns.has_link(device)
    })?;
    netns.add_address(device, here.tunnel_address()?, 24)?;
    netns.set_mtu(device, mtu)?;
    netns.set_up(device)
}

/// Routes the LAN of `to` into a device of the gateway of `from`.
pub(super) fn route_lan(from: &Site, to: &Site, device: &str) -> Result<()> {
    let route = Route::to(to.lan().prefix(), device);
    from.gateway().set_route(&route)
}

/// Routes the LAN behind `there` to the address of that end of a tunnel, as devices of Ethernet frames need it.
pub(super) fn route_lan_to(here: End<'_>, there: End<'_>, device: &str) -> Result<()> {
    let route = Route::to(there.site.lan().prefix(), device).via(there.tunnel_address()?);
    here.site.gateway().set_route(&route)
}

/// Routes the LAN behind `there` to the next hop of a link, for what is then encrypted on its way out.
pub(super) fn route_lan_via(here: End<'_>, there: End<'_>) -> Result<()> {
    let route = Route::to(there.site.lan().prefix(), here.link.name()).via(here.link.next_hop());
    here.site.gateway().set_route(&route)
}

/// Routes the LAN of `to` into several devices of the gateway of `from`, each with the rate of its link: every stream
/// to one of them, by its addresses and ports.
pub(super) fn spread_lan(lab: &Lab, from: &Site, to: &Site, hops: &[(String, u64)]) -> Result<()> {
    let netns: &Netns = from.gateway();
    netns.set_sysctl("net.ipv4.fib_multipath_hash_policy", "1")?;
    let (network, prefix_len) = to.lan().prefix();
    let mut arguments = format!("route replace {network}/{prefix_len}");
    for ((device, _), weight) in hops.iter().zip(weights(hops)) {
        write!(arguments, " nexthop dev {device} weight {weight}")?;
    }
    tool::ip(lab, netns, &arguments)?;
    Ok(())
}

/// Weights from 1 to 256 in the proportion of the rates.
fn weights(hops: &[(String, u64)]) -> Vec<u64> {
    let largest = hops.iter().map(|(_, rate)| *rate).max().unwrap_or(1).max(1);
    let of = |rate: u64| {
        u64::try_from(u128::from(rate) * u128::from(LARGEST_WEIGHT) / u128::from(largest))
    };
    hops.iter()
        .map(|(_, rate)| of(*rate).unwrap_or(LARGEST_WEIGHT).max(1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_rates() {
        let hops = [500_000, 1_000_000, 1].map(|rate| ("tun".to_owned(), rate));
        assert_eq!(weights(&hops), [128, 256, 1]);
        assert_eq!(weights(&[("tun".to_owned(), 0)]), [1]);
        assert!(weights(&[]).is_empty());
    }
}
