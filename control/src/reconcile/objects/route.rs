use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::InterfaceName;

/// The number of the main routing table, `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;

/// An IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The routing table.
    pub table: u32,
    /// Where packets go that take it.
    pub destination: Ipv4Net,
    /// Among routes to the same destination the smallest wins; 0 is the kernel's default.
    pub priority: u32,
    /// What happens to the packets.
    pub target: RouteTarget,
    /// The source address of packets that the gateway itself sends along it.
    pub preferred_source: Option<Ipv4Addr>,
    /// What the kernel assumes about the path.
    pub metrics: RouteMetrics,
}

/// What happens to a packet that takes a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// It leaves by a device.
    Device {
        /// The device.
        device: InterfaceName,
        /// The next hop, where there is one.
        gateway: Option<Gateway>,
    },
    /// It vanishes without a word.
    Blackhole,
    /// Its sender is told that the destination is unreachable.
    Unreachable,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether it is reachable on the device although no address of the device says so.
    pub onlink: bool,
}

/// What the kernel assumes about the path behind a route (`RTAX_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteMetrics {
    /// The path MTU.
    pub mtu: Option<PathMtu>,
    /// The largest TCP segment to announce, in bytes.
    pub advertised_mss: Option<u32>,
}

/// The MTU of the path behind a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// The MTU in bytes.
    pub bytes: u32,
    /// Whether path MTU discovery is kept off it (`RTAX_LOCK`): packets then leave without DF.
    pub locked: bool,
}

impl RouteMetrics {
    /// Returns the metrics as the kernel will report them: `ip_metrics_convert` cuts the MTU to
    /// 65520 bytes and the segment to 65495.
    #[must_use]
    pub(crate) fn as_stored(self) -> Self {
        Self {
            mtu: self.mtu.map(|mtu| PathMtu {
                bytes: mtu.bytes.min(65_535 - 15),
                ..mtu
            }),
            advertised_mss: self.advertised_mss.map(|mss| mss.min(65_535 - 40)),
        }
    }
}

impl Route {
    /// The device by which packets leave.
    #[must_use]
    pub fn device(&self) -> Option<&InterfaceName> {
        match &self.target {
            RouteTarget::Device { device, .. } => Some(device),
            RouteTarget::Blackhole | RouteTarget::Unreachable => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}", self.destination)?;
        match &self.target {
            RouteTarget::Device {
                device,
                gateway: Some(Gateway { address, onlink }),
            } => {
                let onlink = if *onlink { " onlink" } else { "" };
                write!(f, " via {address} dev {device}{onlink}")?;
            }
            RouteTarget::Device {
                device,
                gateway: None,
            } => write!(f, " dev {device}")?,
            RouteTarget::Blackhole => f.write_str(" blackhole")?,
            RouteTarget::Unreachable => f.write_str(" unreachable")?,
        }
        if self.table != TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        if self.priority != 0 {
            write!(f, " metric {}", self.priority)?;
        }
        if let Some(source) = self.preferred_source {
            write!(f, " src {source}")?;
        }
        if let Some(PathMtu { bytes, locked }) = self.metrics.mtu {
            write!(f, " mtu {}{bytes}", if locked { "lock " } else { "" })?;
        }
        if let Some(mss) = self.metrics.advertised_mss {
            write!(f, " advmss {mss}")?;
        }
        Ok(())
    }
}
