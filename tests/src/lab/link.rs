//! A link of a gateway, and what can befall it.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{
    addressing::Uplink,
    events::{Events, Happening},
};
use crate::{
    netns::{Counters, LinkPlan, Netns, Route, VethEnd},
    shape::{Shape, port::Port, queue::Losses},
};

/// A link before it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSpec {
    /// Name of the gateway's interface, at most 13 characters.
    pub name: String,
    /// Largest IP packet on the link, in bytes.
    pub mtu: u32,
    /// From the gateway to the Internet.
    pub up: Shape,
    /// From the Internet to the gateway.
    pub down: Shape,
}

impl LinkSpec {
    /// Describes a link with an MTU of 1500 and the same shape both ways.
    #[must_use]
    pub fn new(name: &str, shape: Shape) -> Self {
        Self {
            name: name.to_owned(),
            mtu: 1500,
            up: shape,
            down: shape,
        }
    }

    /// Sets the shape towards the gateway.
    #[must_use]
    pub fn down(mut self, down: Shape) -> Self {
        self.down = down;
        self
    }

    /// Sets the MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }
}

/// One end of the veth pair between a gateway and its provider.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) netns: Netns,
    pub(crate) device: String,
    pub(crate) mac: [u8; 6],
}

impl End {
    pub(crate) fn as_veth(&self) -> VethEnd<'_> {
        VethEnd {
            netns: &self.netns,
            name: &self.device,
            mac: self.mac,
        }
    }
}

/// What a link is made of; see [`Link`].
pub(crate) struct LinkParts {
    pub(crate) site: String,
    pub(crate) gateway: End,
    pub(crate) provider: End,
    pub(crate) uplinks: [Uplink; 2],
    /// Metric of the gateway's default route over the link.
    pub(crate) metric: u32,
    pub(crate) mtu: u32,
    pub(crate) up: Arc<Port>,
    pub(crate) down: Arc<Port>,
    pub(crate) events: Events,
}

/// A link: the gateway's interface, the provider's router behind it, and both directions' shapes.
pub struct Link {
    parts: LinkParts,
    /// Index of the network in use.
    current: Mutex<usize>,
}

impl Link {
    /// Creates the devices, gives them addresses and routes, and shapes what comes down.
    pub(crate) fn create(parts: LinkParts) -> Result<Self> {
        let link = Self {
            parts,
            current: Mutex::new(0),
        };
        link.connect()
            .with_context(|| format!("cannot make the link {link:?}"))?;
        Ok(link)
    }

    fn connect(&self) -> Result<()> {
        let LinkParts {
            gateway,
            provider,
            mtu,
            down,
            ..
        } = &self.parts;
        Netns::join(
            gateway.as_veth(),
            provider.as_veth(),
            LinkPlan { mtu: *mtu },
        )?;
        down.attach()?;
        for uplink in &self.parts.uplinks {
            provider
                .netns
                .add_address(&provider.device, uplink.next_hop, 32)?;
            let route = Route::to(uplink.prefix(), &down.exit()).source(uplink.next_hop);
            provider.netns.set_route(&route)?;
        }
        let uplink = self.uplink();
        gateway
            .netns
            .add_address(&gateway.device, uplink.local, uplink.prefix_len)?;
        self.set_default_route()
    }

    fn set_default_route(&self) -> Result<()> {
        let LinkParts {
            gateway, metric, ..
        } = &self.parts;
        let route = Route::default(&gateway.device)
            .via(self.next_hop())
            .metric(*metric);
        gateway.netns.set_route(&route)
    }

    /// The interface's name in the gateway.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.gateway.device
    }

    /// The link's address in use.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.uplink().local
    }

    /// The provider's router.
    #[must_use]
    pub fn next_hop(&self) -> Ipv4Addr {
        self.uplink().next_hop
    }

    /// The network in use.
    #[must_use]
    pub fn uplink(&self) -> Uplink {
        self.parts.uplinks[*self.current()]
    }

    /// The Ethernet addresses of the gateway's interface and of the provider's.
    #[must_use]
    pub fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (self.parts.gateway.mac, self.parts.provider.mac)
    }

    /// The provider's namespace and its interface towards the gateway.
    ///
    /// What the gateway sends is seen there as it arrives; frames injected into that device reach
    /// the gateway at once, past the link's shape when the lab emulates links itself.
    #[must_use]
    pub fn provider(&self) -> (&Netns, &str) {
        (&self.parts.provider.netns, &self.parts.provider.device)
    }

    /// The shapes in force, from and to the gateway.
    #[must_use]
    pub fn shapes(&self) -> (Shape, Shape) {
        (self.parts.up.shape(), self.parts.down.shape())
    }

    /// Changes both directions while traffic is on the link. In a paired Internet the same link of
    /// the other site changes with it.
    pub fn set_shape(&self, up: Shape, down: Shape) -> Result<()> {
        self.parts.up.set_shape(up)?;
        self.parts.down.set_shape(down)?;
        self.happened(Happening::Reshaped { up, down });
        Ok(())
    }

    /// Sets the gateway's interface down: addresses stay, routes over it go.
    pub fn cut(&self) -> Result<()> {
        let End { netns, device, .. } = &self.parts.gateway;
        netns.set_down(device)?;
        self.happened(Happening::Cut);
        Ok(())
    }

    /// Sets the gateway's interface up again and restores its default route, as a DHCP client
    /// would.
    pub fn restore(&self) -> Result<()> {
        let End { netns, device, .. } = &self.parts.gateway;
        netns.set_up(device)?;
        self.set_default_route()?;
        self.happened(Happening::Restored);
        Ok(())
    }

    /// Makes the provider swallow every packet that it should forward, without a word, or forward
    /// again. Its router still answers for itself, as it does when a line is dead behind it.
    pub fn blackhole(&self, on: bool) -> Result<()> {
        // With forwarding off the kernel drops transit packets and sends no ICMP: ip_error() in
        // net/ipv4/route.c answers only where forwarding is on.
        self.parts
            .provider
            .netns
            .set_sysctl("net.ipv4.ip_forward", if on { "0" } else { "1" })?;
        self.happened(if on {
            Happening::Blackholed
        } else {
            Happening::Unblackholed
        });
        Ok(())
    }

    /// Makes the provider swallow packets of more than `mtu` bytes without a word, in both directions, while the interfaces of
    /// the gateway and of whatever comes next stay as they are: a path that is narrower in the middle than at its ends.
    pub fn narrow(&self, mtu: u32) -> Result<()> {
        let LinkParts { provider, up, .. } = &self.parts;
        // A veth drops what its other end is sent beyond its own MTU and the length of a VLAN tag
        // (is_skb_forwardable() in net/core/dev.c).
        provider.netns.set_mtu(&provider.device, mtu)?;
        up.netns().set_mtu(&up.exit(), mtu)?;
        self.happened(Happening::Narrowed(mtu));
        Ok(())
    }

    /// Gives the link its other address, in another network with another next hop, as a provider
    /// does after a night's forced disconnection. Returns the new address.
    pub fn renumber(&self) -> Result<Ipv4Addr> {
        let End { netns, device, .. } = &self.parts.gateway;
        let old = self.uplink();
        netns.delete_address(device, old.local, old.prefix_len)?;
        {
            let mut current = self.current();
            *current = 1 - *current;
        }
        let new = self.uplink();
        netns.add_address(device, new.local, new.prefix_len)?;
        self.set_default_route()?;
        self.happened(Happening::Renumbered);
        Ok(new.local)
    }

    /// Deletes the gateway's interface, as when a USB modem is pulled out.
    pub fn unplug(&self) -> Result<()> {
        let End { netns, device, .. } = &self.parts.gateway;
        self.parts.down.detach();
        netns.delete_link(device)?;
        self.happened(Happening::Unplugged);
        Ok(())
    }

    /// Makes the gateway's interface again, with the name, addresses and routes that it had but a
    /// new index.
    pub fn plug(&self) -> Result<()> {
        if self.parts.gateway.netns.has_link(self.name())? {
            bail!("the link {self:?} is plugged in");
        }
        self.connect()?;
        self.happened(Happening::Plugged);
        Ok(())
    }

    /// Totals of the gateway's interface.
    pub fn counters(&self) -> Result<Counters> {
        self.parts.gateway.netns.counters(self.name())
    }

    /// What has not been carried from and to the gateway; none where the kernel emulates the link,
    /// or while it is unplugged.
    #[must_use]
    pub fn losses(&self) -> Option<(Losses, Losses)> {
        self.parts.up.losses().zip(self.parts.down.losses())
    }

    /// How many packets of [`OPPORTUNITY`](crate::shape::OPPORTUNITY) bytes the recording that the link follows let the
    /// gateway send between two times; none where its rate is constant, or nothing has
    /// been sent yet, for a recording begins with the first packet.
    #[must_use]
    pub fn opportunities(&self, from: Instant, to: Instant) -> Option<u64> {
        self.parts.up.opportunities(from, to)
    }

    pub(crate) fn down_port(&self) -> &Port {
        &self.parts.down
    }

    fn happened(&self, what: Happening) {
        self.parts
            .events
            .record(&self.parts.site, self.name(), what);
    }

    fn current(&self) -> MutexGuard<'_, usize> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.parts.site, self.name())
    }
}
