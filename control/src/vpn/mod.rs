//! The VPN manager: what a tunnel wants of the kernel.

mod desired;
pub mod overhead;
mod path;
mod running;
mod tables;

pub use desired::{Engine, Wanted, desired};
pub(crate) use desired::{bundle_device, engine_device};
pub use overhead::expansion;
pub(crate) use path::ASSUMED_MTU;
pub use path::{Path, most as most_mtu, mtu as path_mtu};
pub use running::{IllegalSa, IvcMtu, Running, RunningIvc, RunningSa, RunningTunnels, manual};
