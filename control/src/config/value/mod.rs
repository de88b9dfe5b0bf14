//! The scalar values of a configuration: names, units, addresses.
//!
//! Each type can only hold what the format allows, is read by [`FromStr`](std::str::FromStr) and
//! written back by `Display` or `Serialize` in a form that reads as the same value.

mod address;
mod error;
mod limit;
mod metrics;
mod mtu;
mod name;
mod peer;
mod quantity;
mod setting;
mod spi;
mod text;
mod traffic;

pub(crate) use address::{HostAddress, Subnet};
pub use error::ValueError;
pub(crate) use error::{nearest, quote, suggest};
pub use limit::{Period, Volume};
pub use metrics::MetricsListen;
pub use mtu::{Mss, Mtu};
pub use name::{BundleName, GatewayName, InterfaceName, LinkName, TunnelName};
pub use peer::PeerAddress;
pub(crate) use peer::PeerKey;
pub use quantity::{Delay, Rate};
pub use setting::Setting;
pub use spi::Spi;
pub use text::Text;
pub use traffic::{Dscp, PortRange, Protocol};
