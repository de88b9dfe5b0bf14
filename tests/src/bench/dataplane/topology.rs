//! A gateway with three bundle devices, two links, and a far end that counts.
//!
//! ```text
//!                 ┌─ withy0 (bundle_tx) ──┐   ┌─ lk0 ════ lk0 ─┐
//!  source ─► IP ──┼─ plain0 (steer) ──────┼───┤                ├─ link_rx ─► sink
//!                 └─ void0  (sink)            └─ lk1 ════ lk1 ─┘
//! ```

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError},
    programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp},
};
use withy::{
    dataplane::{Attachment, Dataplane, Hook, Receive},
    kernel::netlink::Netlink,
    reconcile::objects::{BundleDevice, BundleMtu, InterfaceName},
};
use withy_common::maps::Split;

use super::{
    LIMITS,
    tunnel::{Ends, LINK_MTU, Way, arriving, ivc, svc},
};
use crate::{
    lab::home::{GatewayDirs, Home},
    netns::{LinkPlan, Netns, Route, VethEnd},
};

/// The links: their name at both ends, and the addresses of these ends.
const LINKS: [(&str, Ends); 2] = [
    (
        "lk0",
        (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)),
    ),
    (
        "lk1",
        (
            Ipv4Addr::new(198, 51, 100, 1),
            Ipv4Addr::new(198, 51, 100, 2),
        ),
    ),
];
/// The local endpoint. No interface has its address: it would not be a forwarded packet's source.
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// Bits a second that the scheduler takes each link for; slower than the path, so that both have a
/// queue and share the packets.
const RATE: u64 = 1_000_000_000;

/// Where a packet is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    /// The product's bundle device.
    Withy,
    /// A device of the links' MTU, whose packets are steered over the links in turn: the IP layer
    /// fragments for it.
    Plain,
    /// A device at whose exit packets are counted and dropped.
    Void,
}

impl Toward {
    const ALL: [Self; 3] = [Self::Withy, Self::Plain, Self::Void];

    /// The address that is routed there.
    pub(super) const fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 255, 1, self as u8)
    }

    fn device(self) -> Result<BundleDevice> {
        let (name, mtu) = match self {
            Self::Withy => ("withy0", 9000),
            Self::Plain => ("plain0", LINK_MTU.into()),
            Self::Void => ("void0", 9000),
        };
        Ok(BundleDevice {
            name: InterfaceName::new(name)?,
            peer: InterfaceName::new(format!("{name}p"))?,
            mtu: BundleMtu::new(mtu)?,
        })
    }
}

/// The namespaces and everything in them.
pub(super) struct Topology {
    /// Where packets start.
    pub(super) gateway: Netns,
    far: Netns,
    /// The programs `source`, `steer` and `sink`.
    pub(super) programs: Ebpf,
    sender: Dataplane,
    receiver: Dataplane,
}

impl Topology {
    /// Makes all of it; `objects` is the object file of the bench's own programs.
    pub(super) fn new(home: &Home, objects: &Path) -> Result<Self> {
        let programs = Ebpf::load_file(objects)
            .with_context(|| format!("cannot load {}", objects.display()))?;
        let (near, distant) = (home.gateway("sender")?, home.gateway("receiver")?);
        let mut topology = Self {
            gateway: Netns::new("gateway")?,
            far: Netns::new("far")?,
            programs,
            sender: Dataplane::load(&near.bpf(), LIMITS)?,
            receiver: Dataplane::load(&distant.bpf(), LIMITS)?,
        };
        topology.join()?;
        for toward in Toward::ALL {
            topology.route(toward)?;
        }
        topology.state_tunnel()?;
        topology.attach_products(&near, &distant)?;
        topology.attach_own()?;
        Ok(topology)
    }

    /// Makes the links.
    fn join(&self) -> Result<()> {
        for (number, (name, (near, far))) in (0_u8..).zip(LINKS) {
            let mac = |side| [2, 0, 0, 0, side, number];
            let end = |netns, side| VethEnd {
                netns,
                name,
                mac: mac(side),
            };
            let plan = LinkPlan {
                mtu: LINK_MTU.into(),
            };
            Netns::join(end(&self.gateway, 0), end(&self.far, 1), plan)?;
            self.gateway.add_address(name, near, 24)?;
            self.far.add_address(name, far, 24)?;
            self.gateway.set_neighbour(name, far, mac(1))?;
            // What was steered plainly is routed again, as what has a remote link's address is.
            let route = Route::to((Toward::Plain.address(), 32), name);
            let metric = 1 + u32::from(number);
            self.gateway.set_route(&route.via(far).metric(metric))?;
        }
        self.gateway.set_sysctl("net.ipv4.ip_forward", "1")
    }

    /// Makes a bundle device as the product does, and routes to it.
    fn route(&self, toward: Toward) -> Result<()> {
        let device = toward.device()?;
        self.gateway.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async { Ok(Netlink::open()?.create_bundle(&device).await?) })
        })?;
        let route = Route::to((toward.address(), 32), device.name.as_str());
        self.gateway.set_route(&route)
    }

    /// Tells both ends of the tunnel of the IVCs. What was steered plainly keeps its addresses, and is
    /// an IVC of its own to the far end, for equal work there.
    fn state_tunnel(&mut self) -> Result<()> {
        let tunnel = (LOCAL, Toward::Withy.address());
        let plain = (LOCAL, Toward::Plain.address());
        let mut ivcs = Vec::new();
        let mut arrivals = vec![arriving(plain, tunnel, 2)];
        for (counters, (name, ends)) in (0..).zip(LINKS) {
            let way = Way {
                ifindex: self.gateway.link_index(name)?,
                next_hop: ends.1,
                rate: RATE,
            };
            ivcs.push(ivc(ends, way, counters));
            arrivals.push(arriving(ends, tunnel, counters));
        }
        let svc = svc(tunnel.0, 0, Split::Mtu, &ivcs);
        self.sender.tables()?.set_svcs(&[(tunnel.1, svc)])?;
        self.receiver.tables()?.set_ivcs(&arrivals)?;
        Ok(())
    }

    /// Attaches `bundle_tx` and `link_rx`.
    fn attach_products(&mut self, near: &GatewayDirs, distant: &GatewayDirs) -> Result<()> {
        let bundle = Toward::Withy.device()?.name.as_str().to_owned();
        let sending = [at(&self.gateway, Hook::BundleTx, &bundle)?];
        let mut receiving = Vec::new();
        for (name, _) in LINKS {
            receiving.push(at(&self.far, Hook::LinkRx(Receive::Tc), name)?);
        }
        let ends = [
            (&self.gateway, &mut self.sender, &sending[..], near),
            (&self.far, &mut self.receiver, &receiving[..], distant),
        ];
        for (netns, dataplane, wanted, dirs) in ends {
            let notes = dirs.run().join("clsact");
            let attached = netns.enter(|| Ok(dataplane.attach(wanted, &notes)))?;
            for result in attached {
                result?;
            }
        }
        Ok(())
    }

    /// Attaches `steer` and `sink`, and loads `source`.
    fn attach_own(&mut self) -> Result<()> {
        let mut links: Array<&mut MapData, u32> = own_map(&mut self.programs, "LINKS")?;
        for (slot, (name, _)) in (0..).zip(LINKS) {
            links.set(slot, self.gateway.link_index(name)?, 0)?;
        }
        let source: &mut Xdp = own_program(&mut self.programs, "source")?;
        source.load()?;

        let (plain, void) = (Toward::Plain.device()?, Toward::Void.device()?);
        let steer: &mut SchedClassifier = own_program(&mut self.programs, "steer")?;
        steer.load()?;
        self.gateway
            .enter(|| Ok(steer.attach(plain.name.as_str(), TcAttachType::Egress)?))?;

        let sink: &mut SchedClassifier = own_program(&mut self.programs, "sink")?;
        sink.load()?;
        self.gateway
            .enter(|| Ok(sink.attach(void.name.as_str(), TcAttachType::Egress)?))?;
        for (name, _) in LINKS {
            // Without an order it comes after `link_rx`, which is attached as the first.
            self.far
                .enter(|| Ok(sink.attach(name, TcAttachType::Ingress)?))?;
        }
        Ok(())
    }
}

fn at(netns: &Netns, hook: Hook, interface: &str) -> Result<Attachment> {
    Ok(Attachment {
        hook,
        interface: interface.to_owned(),
        ifindex: netns.link_index(interface)?,
    })
}

/// Returns a program of the bench's own.
pub(super) fn own_program<'a, P>(programs: &'a mut Ebpf, name: &str) -> Result<P>
where
    P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = programs
        .program_mut(name)
        .with_context(|| format!("the bench's object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// Returns a map of the bench's own.
pub(super) fn own_map<'a, M>(programs: &'a mut Ebpf, name: &str) -> Result<M>
where
    M: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = programs
        .map_mut(name)
        .with_context(|| format!("the bench's object has no map {name}"))?;
    Ok(map.try_into()?)
}
