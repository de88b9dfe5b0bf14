//! Private networks in cleartext over one link: what the tunnel is compared with.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::{Lab, Site, internet::Backbone};
use crate::netns::{Netns, Route};

const FORWARDING: &str = "net.ipv4.ip_forward";

/// Routes the private networks of two sites to each other over one link each, without a tunnel, as
/// long as it lives.
///
/// It is made by [`Lab::plainly_over`]. Everything that it changed is changed back when it is
/// dropped.
pub struct PlainRouting {
    routes: Vec<(Netns, Route)>,
    forwarding: Vec<(Netns, String)>,
}

impl PlainRouting {
    pub(super) fn new(lab: &Lab, ends: [(usize, usize); 2]) -> Result<Self> {
        let mut plain = Self {
            routes: Vec::new(),
            forwarding: Vec::new(),
        };
        let [here, there] = ends;
        plain.direct(lab, here, there)?;
        plain.direct(lab, there, here)?;
        Ok(plain)
    }

    /// Lets packets for the private network of `to` leave `from` and arrive.
    fn direct(&mut self, lab: &Lab, from: (usize, usize), to: (usize, usize)) -> Result<()> {
        let sites = lab.sites();
        let (source, target) = (&sites[from.0], &sites[to.0]);
        self.forward(source.gateway())?;
        let prefix = target.lan().prefix();
        let first = &source.links()[from.1];
        let route = Route::to(prefix, first.name()).via(first.next_hop());
        self.add(source.gateway(), route)?;
        if let Some(backbone) = &lab.backbone {
            self.add(backbone.netns(), Backbone::route(prefix, to.0, to.1)?)?;
        }
        self.last_hop(target, to.1, prefix)
    }

    fn last_hop(&mut self, target: &Site, link: usize, prefix: (Ipv4Addr, u8)) -> Result<()> {
        let last = &target.links()[link];
        let port = last.down_port();
        let route = port.route_via(Route::to(prefix, &port.exit()), last.address());
        self.add(port.netns(), route)
    }

    fn add(&mut self, netns: &Netns, route: Route) -> Result<()> {
        netns.set_route(&route)?;
        self.routes.push((netns.clone(), route));
        Ok(())
    }

    fn forward(&mut self, gateway: &Netns) -> Result<()> {
        let before = gateway.sysctl(FORWARDING)?;
        self.forwarding.push((gateway.clone(), before));
        gateway.set_sysctl(FORWARDING, "1")
    }
}

impl Drop for PlainRouting {
    fn drop(&mut self) {
        for (netns, route) in &self.routes {
            // The route may have gone with its link.
            let _gone = netns.delete_route(route);
        }
        for (netns, before) in &self.forwarding {
            if let Err(error) = netns.set_sysctl(FORWARDING, before) {
                eprintln!("lab: forwarding stays on: {error:#}");
            }
        }
    }
}
