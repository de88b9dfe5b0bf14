//! IPv4 routes of a namespace.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use netlink_packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::RouteMessageBuilder;

use super::Netns;

/// An IPv4 route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    destination: (Ipv4Addr, u8),
    device: String,
    next_hop: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
    metric: Option<u32>,
}

impl Route {
    /// Starts a route to `destination` with a prefix length, out of `device`.
    #[must_use]
    pub fn to(destination: (Ipv4Addr, u8), device: &str) -> Self {
        Self {
            destination,
            device: device.to_owned(),
            next_hop: None,
            source: None,
            metric: None,
        }
    }

    /// Starts a default route.
    #[must_use]
    pub fn default(device: &str) -> Self {
        Self::to((Ipv4Addr::UNSPECIFIED, 0), device)
    }

    /// Sends through a router; without one the destination is on the link.
    #[must_use]
    pub fn via(mut self, next_hop: impl Into<Option<Ipv4Addr>>) -> Self {
        self.next_hop = next_hop.into();
        self
    }

    /// Source address of packets that the machine itself sends by this route.
    #[must_use]
    pub fn source(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// Priority among routes to one destination; the smallest wins.
    #[must_use]
    pub fn metric(mut self, metric: u32) -> Self {
        self.metric = Some(metric);
        self
    }

    fn message(&self, netns: &Netns) -> Result<RouteMessage> {
        let (address, prefix_len) = self.destination;
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, prefix_len)
            .output_interface(netns.link_index(&self.device)?);
        builder = match self.next_hop {
            Some(next_hop) => builder.gateway(next_hop),
            None => builder.scope(RouteScope::Link),
        };
        if let Some(source) = self.source {
            builder = builder.pref_source(source);
        }
        if let Some(metric) = self.metric {
            builder = builder.priority(metric);
        }
        Ok(builder.build())
    }
}

impl Netns {
    /// Adds a route, or replaces the one with the same destination and metric.
    pub fn set_route(&self, route: &Route) -> Result<()> {
        let message = route.message(self)?;
        self.netlink(async |handle| Ok(handle.route().add(message).replace().execute().await?))
            .with_context(|| format!("cannot set {route:?}"))
    }

    /// Deletes a route.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        let message = route.message(self)?;
        self.netlink(async |handle| Ok(handle.route().del(message).execute().await?))
            .with_context(|| format!("cannot delete {route:?}"))
    }
}
