//! The kernel objects of all tunnels and links.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{
    Running, RunningSa, RunningTunnels,
    path::{BUNDLE_MTU, Path, SHIM},
    tables,
};
use crate::{
    api::status::LinkState,
    bundle::Slots,
    config::{self, Config},
    kernel::facts::LinkFacts,
    link::{LinkView, Links},
    reconcile::{
        Contradiction, Desired,
        objects::{
            Address, BundleDevice, BundleMtu, Direction, Gateway, IllegalSysctlPath, Inbound,
            InterfaceName, Object, Outbound, Pacer, PathMtu, Policy, PolicyDirection, ReplayWindow,
            ReqId, Route, RouteMetrics, RouteTarget, Rule, SecurityAssociation, Sysctl, SysctlPath,
            TABLE_MAIN, Template,
        },
    },
    splitting::REASSEMBLY_SECONDS,
};

/// The priority of the rules of links.
const RULE_PRIORITY: u32 = 5700;
/// The priority of Withy's policies.
const POLICY_PRIORITY: u32 = 5700;
/// The least memory in bytes for packets that wait for their fragments: with less, and with the
/// kernel's eviction only by age, one lossy link fills it and no packet is put together any more.
const FRAGMENT_MEMORY: u64 = 64 << 20;

/// Something that cannot be stated to the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Wanted {
    /// Two objects of which the kernel can hold one.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// An interface whose settings have no path.
    #[error(transparent)]
    Path(#[from] IllegalSysctlPath),
    /// More tunnels than request identifiers.
    #[error("there are more tunnels than the 65,536 that one gateway can tell apart")]
    TooManyTunnels,
}

/// Returns the bundle device.
pub(crate) fn bundle_device() -> BundleDevice {
    BundleDevice::standard(BundleMtu::new(BUNDLE_MTU).unwrap_or(BundleMtu::MAX))
}

/// Returns the name of the device through which packets reach Withy's own engine and leave it.
///
/// # Panics
///
/// Never: the name is legal.
pub(crate) fn engine_device() -> InterfaceName {
    InterfaceName::new("withy1").expect("a legal constant")
}

/// What seals and opens the packets of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel.
    Kernel,
    /// Withy's own engine, behind its device.
    Userspace,
    /// Nothing: Withy's own engine has no device, and packets end where nothing is told.
    Closed,
}

/// States everything that the configuration and the tunnels that run want of the kernel, with the
/// links as they are.
///
/// # Errors
///
/// Something impossible is wanted; the checks of the configuration leave little that could be.
pub fn desired<'a>(
    config: &Config,
    running: &RunningTunnels,
    links: &Links,
    slots: &Slots,
    engine: Engine,
    facts: impl Iterator<Item = &'a LinkFacts> + Clone,
) -> Result<Desired, Wanted> {
    let mut desired = Desired::empty();
    desired.add(Object::Bundle(bundle_device()))?;
    host(&mut desired)?;
    let tables = tables::of(config.links.keys());
    for (name, link) in &config.links {
        if let (Some(view), Some(table)) = (links.get(name), tables.get(name)) {
            self::link(&mut desired, *table, link, view)?;
        }
    }
    let lan = config
        .gateway
        .lan
        .iter()
        .filter_map(|name| InterfaceName::new(name.as_str()).ok());
    let lan: Vec<_> = lan.collect();
    let own: Vec<_> = facts
        .filter(|facts| lan.contains(&facts.name))
        .flat_map(|facts| facts.addresses.iter().map(Ipv4Net::addr))
        .collect();
    for tunnel in running.values() {
        // The slot stays the tunnel's while others come and go, and so its associations stay. A
        // tunnel without one has no room in the maps, which is told elsewhere.
        if let Some(slot) = slots.svc_of(tunnel.endpoints.remote) {
            let reqid = ReqId(u16::try_from(slot).map_err(|_| Wanted::TooManyTunnels)?);
            self::tunnel(
                &mut desired,
                tunnel,
                Path::of(tunnel, links),
                reqid,
                engine,
                &own,
            )?;
        }
    }
    closed(&mut desired, config, running)?;
    Ok(desired)
}

/// What belongs to a remote subnet must not leave in plain text because nothing is negotiated for it
/// yet: it goes into the bundle device, whose program drops it.
fn closed(desired: &mut Desired, config: &Config, running: &RunningTunnels) -> Result<(), Wanted> {
    // Another tunnel may have what this one could have.
    let open: BTreeSet<_> = running
        .values()
        .flat_map(|tunnel| &tunnel.subnets.remote)
        .collect();
    for tunnel in config.tunnels.values() {
        for subnet in &tunnel.subnets.remote {
            if !open.contains(subnet) {
                desired.add(into_bundle(*subnet, None, RouteMetrics::default()))?;
            }
        }
    }
    Ok(())
}

/// A route into the bundle device.
fn into_bundle(
    destination: Ipv4Net,
    preferred_source: Option<Ipv4Addr>,
    metrics: RouteMetrics,
) -> Object {
    into(
        &bundle_device().name,
        destination,
        preferred_source,
        metrics,
    )
}

/// A route into a device.
fn into(
    device: &InterfaceName,
    destination: Ipv4Net,
    preferred_source: Option<Ipv4Addr>,
    metrics: RouteMetrics,
) -> Object {
    Object::Route(Route {
        table: TABLE_MAIN,
        destination,
        priority: 0,
        target: RouteTarget::Device {
            device: device.clone(),
            gateway: None,
        },
        preferred_source,
        metrics,
    })
}

/// The settings of the machine as a whole.
fn host(desired: &mut Desired) -> Result<(), Wanted> {
    let path = |path: &str| SysctlPath::new(path);
    for sysctl in [
        Sysctl::exactly(path("net/ipv4/ip_forward")?, 1),
        // Pieces of one packet come over different links: any number of others may come in between.
        Sysctl::exactly(path("net/ipv4/ipfrag_max_dist")?, 0),
        // Nothing is evicted above the threshold, so what lacks a fragment must not stay long.
        Sysctl::exactly(path("net/ipv4/ipfrag_time")?, REASSEMBLY_SECONDS),
        Sysctl::at_least(path("net/ipv4/ipfrag_high_thresh")?, FRAGMENT_MEMORY),
        // Should a packet ever cross the bundle device, it ends there.
        Sysctl::exactly(
            SysctlPath::ipv4_interface(&bundle_device().peer, "forwarding")?,
            0,
        ),
    ] {
        desired.add(Object::Sysctl(sysctl))?;
    }
    Ok(())
}

/// A link's own way out, for what the gateway itself sends from the link's address.
fn link(
    desired: &mut Desired,
    table: u32,
    link: &config::Link,
    view: &LinkView,
) -> Result<(), Wanted> {
    let Some(interface) = &view.interface else {
        return Ok(());
    };
    // Replies to what left by this link may come back although the best route points elsewhere.
    let filter = SysctlPath::ipv4_interface(&interface.name, "rp_filter")?;
    desired.add(Object::Sysctl(Sysctl::exactly(filter, 2)))?;
    if view.pacing.is_own() {
        let device = interface.name.clone();
        desired.add(Object::Pacer(Pacer { device }))?;
    }
    let (Some(address), true) = (
        view.address,
        // What is said over a link that is about to go leaves by it, too.
        matches!(view.state, LinkState::Up | LinkState::Disabled),
    ) else {
        return Ok(());
    };
    desired.add(Object::Rule(Rule {
        priority: RULE_PRIORITY,
        from: address.into(),
        table,
    }))?;
    let onlink = link.next_hop != config::Setting::Auto;
    desired.add(Object::Route(Route {
        table,
        destination: Ipv4Net::default(),
        priority: 0,
        target: RouteTarget::Device {
            device: interface.name.clone(),
            gateway: view.next_hop.map(|address| Gateway { address, onlink }),
        },
        preferred_source: Some(address),
        metrics: RouteMetrics::default(),
    }))?;
    Ok(())
}

fn tunnel(
    desired: &mut Desired,
    tunnel: &Running,
    path: Path,
    reqid: ReqId,
    engine: Engine,
    own: &[Ipv4Addr],
) -> Result<(), Wanted> {
    desired.add(Object::Address(Address {
        device: bundle_device().name,
        address: tunnel.endpoints.local.into(),
    }))?;
    let to_endpoint = RouteMetrics {
        mtu: Some(PathMtu {
            bytes: path.outer + SHIM,
            locked: false,
        }),
        advertised_mss: None,
    };
    desired.add(into_bundle(
        tunnel.endpoints.remote.into(),
        Some(tunnel.endpoints.local),
        to_endpoint,
    ))?;
    // What the gateway itself sends must come from the private network, or no policy matches it.
    let source = own.iter().find(|address| {
        tunnel
            .subnets
            .local
            .iter()
            .any(|net| net.contains(*address))
    });
    let (device, mtu) = match engine {
        // The kernel finds the size of what fits by the route to the endpoint.
        Engine::Kernel | Engine::Closed => (bundle_device().name, None),
        Engine::Userspace => (engine_device(), Some(path.inner)),
    };
    let to_subnet = RouteMetrics {
        mtu: mtu.map(|bytes| PathMtu {
            bytes,
            locked: false,
        }),
        advertised_mss: path.mss.map(u32::from),
    };
    for subnet in &tunnel.subnets.remote {
        desired.add(into(&device, *subnet, source.copied(), to_subnet))?;
    }
    if engine == Engine::Kernel {
        associations(desired, tunnel, reqid)?;
        policies(desired, tunnel, reqid)?;
    }
    Ok(())
}

fn associations(desired: &mut Desired, tunnel: &Running, reqid: ReqId) -> Result<(), Wanted> {
    let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
    let outward = Direction::Out(Outbound {
        udp_encapsulation: true,
        path_mtu_discovery: false,
    });
    let inward = Direction::In(Inbound {
        replay_window: ReplayWindow::nearest(tunnel.replay_window),
    });
    for (sas, (source, destination), direction) in [
        (&tunnel.outbound, (local, remote), outward),
        (&tunnel.inbound, (remote, local), inward),
    ] {
        for RunningSa { spi, key } in sas {
            desired.add(Object::Association(SecurityAssociation {
                source,
                destination,
                spi: *spi,
                reqid,
                key: key.clone(),
                direction,
            }))?;
        }
    }
    Ok(())
}

fn policies(desired: &mut Desired, tunnel: &Running, reqid: ReqId) -> Result<(), Wanted> {
    let endpoints = (tunnel.endpoints.local, tunnel.endpoints.remote);
    for local in &tunnel.subnets.local {
        for remote in &tunnel.subnets.remote {
            for direction in [
                PolicyDirection::Out,
                PolicyDirection::In,
                PolicyDirection::Forward,
            ] {
                let outward = direction == PolicyDirection::Out;
                let pair = |a, b| if outward { (a, b) } else { (b, a) };
                let (source, destination) = pair(*local, *remote);
                let ends = if outward {
                    endpoints
                } else {
                    (endpoints.1, endpoints.0)
                };
                desired.add(Object::Policy(Policy {
                    direction,
                    source,
                    destination,
                    template: Template {
                        source: ends.0,
                        destination: ends.1,
                        reqid,
                    },
                    priority: POLICY_PRIORITY,
                }))?;
            }
        }
    }
    Ok(())
}
