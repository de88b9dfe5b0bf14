//! Between the sites: providers and, in one of the two shapes, a backbone.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Result, ensure};

use super::{
    Site, SiteSpec,
    addressing::{Role, Uplink, backbone, mac},
    events::Events,
    link::{End, Link, LinkParts, LinkSpec},
};
use crate::{
    netns::{LinkPlan, Netns, Route, VethEnd},
    shape::{
        Shape,
        emulator::Addresses,
        port::{Means, Port, PortPlace},
    },
};

/// Metric of the default route over a gateway's first link; the next has one more.
const FIRST_METRIC: u32 = 100;

/// What both shapes of the Internet need to know.
pub(super) struct Ground {
    pub(super) means: Means,
    pub(super) seed: u64,
    pub(super) events: Events,
}

impl Ground {
    fn port(&self, end: &End, peer: [u8; 6], mtu: u32, shape: Shape) -> Result<Arc<Port>> {
        let addresses = Addresses { own: end.mac, peer };
        let place = PortPlace {
            netns: end.netns.clone(),
            device: end.device.clone(),
            addresses,
            mtu,
        };
        // Each port has random numbers of its own, the same ones in every run.
        let [.., role, site, link] = end.mac;
        let number = u64::from_be_bytes([0, 0, 0, 0, 0, role, site, link]);
        Ok(Arc::new(Port::new(
            place,
            self.means.clone(),
            shape,
            self.seed ^ number,
        )?))
    }

    fn link(&self, site: &Site, number: usize, plan: Plan) -> Result<Link> {
        let Plan {
            name,
            index,
            provider,
            mtu,
            up,
            down,
        } = plan;
        ensure!(
            name.len() <= 13,
            "the interface name {name:?} is longer than 13 characters"
        );
        let gateway = End {
            netns: site.gateway().clone(),
            device: name,
            mac: mac(Role::Uplink, number, index)?,
        };
        Link::create(LinkParts {
            site: site.name().to_owned(),
            gateway,
            provider,
            uplinks: Uplink::of(number, index)?,
            metric: FIRST_METRIC + u32::try_from(index)?,
            mtu,
            up,
            down,
            events: self.events.clone(),
        })
    }
}

/// A link and where it goes.
struct Plan {
    name: String,
    index: usize,
    provider: End,
    mtu: u32,
    up: Arc<Port>,
    down: Arc<Port>,
}

/// Joins link K of one site with link K of the other through one namespace; two hops fewer than
/// [`routed`] for every packet.
pub(super) fn paired(ground: &Ground, sites: &mut [Site; 2], specs: &[LinkSpec]) -> Result<()> {
    for (index, spec) in specs.iter().enumerate() {
        let provider = router(&format!("internet-{}", spec.name))?;
        let ends = [0, 1].map(|site| {
            Ok::<_, anyhow::Error>(End {
                netns: provider.clone(),
                device: format!("to-{site}"),
                mac: mac(Role::Provider, site, index)?,
            })
        });
        let [a, b] = ends;
        let (a, b) = (a?, b?);
        let to_a = ground.port(&a, mac(Role::Uplink, 0, index)?, spec.mtu, spec.down)?;
        let to_b = ground.port(&b, mac(Role::Uplink, 1, index)?, spec.mtu, spec.up)?;
        for (number, provider, up, down) in [(0, a, &to_b, &to_a), (1, b, &to_a, &to_b)] {
            let plan = Plan {
                name: spec.name.clone(),
                index,
                provider,
                mtu: spec.mtu,
                up: Arc::clone(up),
                down: Arc::clone(down),
            };
            let link = ground.link(&sites[number], number, plan)?;
            sites[number].links.push(link);
        }
    }
    Ok(())
}

/// Gives every link a provider of its own and joins the providers by a backbone, which is
/// returned.
pub(super) fn routed(ground: &Ground, sites: &mut [Site], specs: &[SiteSpec]) -> Result<Backbone> {
    let core = router("backbone")?;
    for (number, (site, spec)) in sites.iter_mut().zip(specs).enumerate() {
        for (index, spec) in spec.links.iter().enumerate() {
            let link = provided(ground, &core, site, (number, index), spec)?;
            site.links.push(link);
        }
    }
    Ok(Backbone { netns: core })
}

fn provided(
    ground: &Ground,
    core: &Netns,
    site: &Site,
    (number, index): (usize, usize),
    spec: &LinkSpec,
) -> Result<Link> {
    let netns = router(&format!("provider-{}-{}", site.name(), spec.name))?;
    let mac_of = |role| mac(role, number, index);
    let customer = End {
        netns: netns.clone(),
        device: "customer".to_owned(),
        mac: mac_of(Role::Provider)?,
    };
    let transit = End {
        device: "transit".to_owned(),
        mac: mac_of(Role::ProviderBackbone)?,
        netns,
    };
    let core_device = core_device(number, index);
    let core_end = VethEnd {
        netns: core,
        name: &core_device,
        mac: mac_of(Role::Backbone)?,
    };

    let up = ground.port(&transit, core_end.mac, spec.mtu, spec.up)?;
    let down = ground.port(&customer, mac_of(Role::Uplink)?, spec.mtu, spec.down)?;
    Netns::join(transit.as_veth(), core_end, LinkPlan { mtu: spec.mtu })?;
    up.attach()?;

    let (core_address, provider_address) = backbone(number, index)?;
    transit
        .netns
        .add_address(&transit.device, provider_address, 30)?;
    core.add_address(&core_device, core_address, 30)?;
    transit
        .netns
        .set_route(&up.route_via(Route::default(&up.exit()), core_address))?;
    for uplink in Uplink::of(number, index)? {
        core.set_route(&Route::to(uplink.prefix(), &core_device).via(provider_address))?;
    }
    let name = spec.name.clone();
    let plan = Plan {
        name,
        index,
        provider: customer,
        mtu: spec.mtu,
        up,
        down,
    };
    ground.link(site, number, plan)
}

fn core_device(site: usize, link: usize) -> String {
    format!("to-{site}-{link}")
}

/// The middle of a routed Internet.
pub(super) struct Backbone {
    netns: Netns,
}

impl Backbone {
    /// Namespace of the backbone.
    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The route by which the backbone reaches `prefix` over a link.
    pub(super) fn route(prefix: (Ipv4Addr, u8), site: usize, link: usize) -> Result<Route> {
        let (_, provider) = backbone(site, link)?;
        Ok(Route::to(prefix, &core_device(site, link)).via(provider))
    }
}

/// A namespace that forwards.
fn router(name: &str) -> Result<Netns> {
    let netns = Netns::new(name)?;
    netns.set_sysctl("net.ipv4.ip_forward", "1")?;
    // A router between two ends of one link would otherwise tell them of a shorter way.
    for family in ["all", "default"] {
        netns.set_sysctl(&format!("net.ipv4.conf.{family}.send_redirects"), "0")?;
    }
    // Errors tell of every packet, not of one in a second for each destination: the scenarios count
    // on them.
    netns.set_sysctl("net.ipv4.icmp_ratelimit", "0")?;
    Ok(netns)
}
