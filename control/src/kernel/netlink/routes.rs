use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol,
        RouteScope, RouteType,
    },
};
use rustix::io::Errno;

use super::{Link, Netlink, NetlinkError, gone};
use crate::reconcile::objects::{
    Gateway, InterfaceName, PROTOCOL, PathMtu, Route, RouteMetrics, RouteTarget, TABLE_MAIN,
};

/// The bit of the path MTU in the mask of locked metrics: `1 << RTAX_MTU`.
const LOCK_MTU: u32 = 1 << 2;

/// A default route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// The number of the interface.
    pub(crate) index: u32,
    /// The next hop, unless the interface leads to it without one.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The smaller, the sooner it is taken.
    pub(crate) priority: u32,
}

impl Netlink {
    /// Reads Withy's routes.
    pub(crate) async fn routes(
        &self,
        links: &BTreeMap<u32, Link>,
    ) -> Result<Vec<Route>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.protocol = RouteProtocol::Other(PROTOCOL);
        let answer = self.dump_routes("list routes", request).await?;
        Ok(answer
            .iter()
            .filter_map(|message| read_route(message, links))
            .collect())
    }

    /// Reads the default routes of the main table, whoever made them, except Withy's own.
    pub(crate) async fn default_routes(&self) -> Result<Vec<DefaultRoute>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.attributes.push(RouteAttribute::Table(TABLE_MAIN));
        let answer = self.dump_routes("list default routes", request).await?;
        Ok(answer.iter().flat_map(read_default_route).collect())
    }

    /// Makes a route.
    ///
    /// # Errors
    ///
    /// There is a route with the same table, destination and priority, or the kernel refuses for
    /// another reason.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(self.route_message(route).await?);
        self.execute_route("add a route", NLM_F_CREATE | NLM_F_EXCL, message)
            .await
    }

    /// Replaces the route that has the same table, destination and priority; at no moment is there
    /// none.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(self.route_message(route).await?);
        self.execute_route("replace a route", NLM_F_CREATE | NLM_F_REPLACE, message)
            .await
    }

    /// Removes a route of Withy's. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_route(
        &self,
        table: u32,
        destination: Ipv4Net,
        priority: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = route_header(table, destination, priority);
        // The kernel takes the first route that has everything named here: any type and scope.
        message.header.scope = RouteScope::NoWhere;
        let message = RouteNetlinkMessage::DelRoute(message);
        gone(self.execute_route("remove a route", 0, message).await)
    }

    async fn dump_routes(
        &self,
        operation: &'static str,
        request: RouteMessage,
    ) -> Result<Vec<RouteMessage>, NetlinkError> {
        let request = RouteNetlinkMessage::GetRoute(request);
        let answer = match self.dump_route(operation, request).await {
            // A namespace that never had a route has no tables, not even the main one.
            Err(error) if error.refused_with(Errno::NOENT) => Vec::new(),
            other => other?,
        };
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) => Some(route),
                _ => None,
            })
            .collect())
    }

    async fn route_message(&self, route: &Route) -> Result<RouteMessage, NetlinkError> {
        let mut message = route_header(route.table, route.destination, route.priority);
        message.header.kind = match &route.target {
            RouteTarget::Device { .. } => RouteType::Unicast,
            RouteTarget::Blackhole => RouteType::BlackHole,
            RouteTarget::Unreachable => RouteType::Unreachable,
        };
        message.header.scope = RouteScope::Universe;
        if let RouteTarget::Device { device, gateway } = &route.target {
            message
                .attributes
                .push(RouteAttribute::Oif(self.index_of(device).await?));
            match gateway {
                Some(Gateway { address, onlink }) => {
                    message
                        .attributes
                        .push(RouteAttribute::Gateway(RouteAddress::Inet(*address)));
                    message.header.flags.set(RouteFlags::Onlink, *onlink);
                }
                // The destination is on the link itself: as iproute2 does.
                None => message.header.scope = RouteScope::Link,
            }
        }
        if let Some(source) = route.preferred_source {
            message
                .attributes
                .push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        }
        let metrics = write_metrics(route.metrics);
        if !metrics.is_empty() {
            message.attributes.push(RouteAttribute::Metrics(metrics));
        }
        Ok(message)
    }
}

fn route_header(table: u32, destination: Ipv4Net, priority: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.attributes.push(RouteAttribute::Table(table));
    message
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::Inet(
            destination.network(),
        )));
    if priority != 0 {
        message.attributes.push(RouteAttribute::Priority(priority));
    }
    message
}

fn write_metrics(metrics: RouteMetrics) -> Vec<RouteMetric> {
    let lock = metrics
        .mtu
        .filter(|mtu| mtu.locked)
        .map(|_| RouteMetric::Lock(LOCK_MTU));
    let mtu = metrics.mtu.map(|mtu| RouteMetric::Mtu(mtu.bytes));
    let mss = metrics.advertised_mss.map(RouteMetric::Advmss);
    [lock, mtu, mss].into_iter().flatten().collect()
}

fn read_route(message: &RouteMessage, links: &BTreeMap<u32, Link>) -> Option<Route> {
    if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let fields = Fields::read(message);
    let destination =
        Ipv4Net::new(fields.destination, message.header.destination_prefix_length).ok()?;
    let name = |index: u32| -> Option<InterfaceName> { Some(links.get(&index)?.name.clone()) };
    let target = match message.header.kind {
        RouteType::Unicast => RouteTarget::Device {
            device: name(fields.output?)?,
            gateway: fields.gateway.map(|address| Gateway {
                address,
                onlink: message.header.flags.contains(RouteFlags::Onlink),
            }),
        },
        RouteType::Unreachable => RouteTarget::Unreachable,
        _ => RouteTarget::Blackhole,
    };
    Some(Route {
        table: fields.table,
        destination,
        priority: fields.priority,
        target,
        preferred_source: fields.preferred_source,
        metrics: fields.metrics,
    })
}

/// The attributes of a route.
struct Fields {
    table: u32,
    destination: Ipv4Addr,
    priority: u32,
    output: Option<u32>,
    gateway: Option<Ipv4Addr>,
    preferred_source: Option<Ipv4Addr>,
    metrics: RouteMetrics,
}

impl Fields {
    fn read(message: &RouteMessage) -> Self {
        let mut fields = Self {
            table: message.header.table.into(),
            destination: Ipv4Addr::UNSPECIFIED,
            priority: 0,
            output: None,
            gateway: None,
            preferred_source: None,
            metrics: RouteMetrics::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(table) => fields.table = *table,
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => fields.destination = *ip,
                RouteAttribute::Priority(priority) => fields.priority = *priority,
                RouteAttribute::Oif(index) => fields.output = Some(*index),
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => fields.gateway = Some(*ip),
                RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => {
                    fields.preferred_source = Some(*ip);
                }
                RouteAttribute::Metrics(metrics) => fields.metrics = read_metrics(metrics),
                _ => {}
            }
        }
        fields
    }
}

fn read_metrics(attributes: &[RouteMetric]) -> RouteMetrics {
    let (mut locked, mut mtu, mut advertised_mss) = (false, None, None);
    for attribute in attributes {
        match attribute {
            RouteMetric::Lock(mask) => locked = mask & LOCK_MTU != 0,
            RouteMetric::Mtu(bytes) => mtu = Some(*bytes),
            RouteMetric::Advmss(mss) => advertised_mss = Some(*mss),
            _ => {}
        }
    }
    RouteMetrics {
        mtu: mtu.map(|bytes| PathMtu { bytes, locked }),
        advertised_mss,
    }
}

fn read_default_route(message: &RouteMessage) -> Vec<DefaultRoute> {
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.protocol == RouteProtocol::Other(PROTOCOL)
    {
        return Vec::new();
    }
    let fields = Fields::read(message);
    if fields.table != TABLE_MAIN {
        return Vec::new();
    }
    let priority = fields.priority;
    let single = fields.output.map(|index| DefaultRoute {
        index,
        gateway: fields.gateway,
        priority,
    });
    let multiple = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        })
        .flatten()
        .map(|hop| {
            let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(*ip),
                _ => None,
            });
            DefaultRoute {
                index: hop.interface_index,
                gateway,
                priority,
            }
        });
    single.into_iter().chain(multiple).collect()
}
