//! Links, their queues, addresses, routes, rules, security associations and policies, through netlink.

mod addresses;
mod associations;
mod bundles;
mod channel;
mod clsact;
mod error;
mod links;
mod policies;
mod queues;
mod routes;
mod rules;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_xfrm::XfrmMessage;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};
use tokio::sync::Mutex;

use self::channel::{Channel, Clear};
pub(crate) use self::{addresses::find_addresses, bundles::find_bundles};
pub use self::{error::NetlinkError, links::Link, queues::RootQueue};

/// A connection to the kernel's routing and IPsec tables.
///
/// It works on the network namespace in which the thread was that opened it, whichever thread uses
/// it. Requests go out one after the other.
#[derive(Debug)]
pub struct Netlink {
    route: Mutex<Channel>,
    xfrm: Option<Mutex<Channel>>,
}

impl Netlink {
    /// Opens the connection, inside a tokio runtime with I/O enabled.
    ///
    /// A kernel without XFRM is no error: its tables then read as empty and refuse changes.
    ///
    /// # Errors
    ///
    /// A socket cannot be opened.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = |protocol, number| {
            Channel::open(number).map_err(|source| NetlinkError::Open { protocol, source })
        };
        let route = Mutex::new(open("route", NETLINK_ROUTE)?);
        let xfrm = match open("xfrm", NETLINK_XFRM) {
            Ok(channel) => Some(Mutex::new(channel)),
            Err(NetlinkError::Open { source, .. })
                if matches!(
                    source
                        .raw_os_error()
                        .map(rustix::io::Errno::from_raw_os_error),
                    Some(rustix::io::Errno::PROTONOSUPPORT | rustix::io::Errno::NOENT)
                ) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { route, xfrm })
    }

    /// Whether the kernel has XFRM's tables. It may still lack ESP, which shows when the first
    /// association is made.
    #[must_use]
    pub fn has_xfrm(&self) -> bool {
        self.xfrm.is_some()
    }

    async fn execute_route(
        &self,
        operation: &'static str,
        flags: u16,
        message: RouteNetlinkMessage,
    ) -> Result<(), NetlinkError> {
        self.route
            .lock()
            .await
            .execute(operation, flags, message)
            .await
    }

    async fn dump_route(
        &self,
        operation: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.route.lock().await.dump(operation, message).await
    }

    async fn execute_xfrm(
        &self,
        operation: &'static str,
        message: XfrmMessage,
    ) -> Result<(), NetlinkError> {
        let Some(channel) = &self.xfrm else {
            return Err(NetlinkError::Unsupported { protocol: "xfrm" });
        };
        channel.lock().await.execute(operation, 0, message).await
    }

    async fn dump_xfrm(
        &self,
        operation: &'static str,
        message: XfrmMessage,
    ) -> Result<Vec<XfrmMessage>, NetlinkError> {
        match &self.xfrm {
            Some(channel) => channel.lock().await.dump(operation, message).await,
            None => Ok(Vec::new()),
        }
    }
}

/// Treats the absence of what was to be removed as success.
fn gone(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    use rustix::io::Errno;
    match result {
        Err(error)
            if [Errno::NOENT, Errno::SRCH, Errno::NODEV, Errno::ADDRNOTAVAIL]
                .iter()
                .any(|errno| error.refused_with(*errno)) =>
        {
            Ok(())
        }
        Err(NetlinkError::NoInterface(_)) => Ok(()),
        other => other,
    }
}

impl Clear for RouteNetlinkMessage {
    fn clear(&mut self) {}
}

impl Clear for XfrmMessage {
    fn clear(&mut self) {
        associations::clear_keys(self);
    }
}
