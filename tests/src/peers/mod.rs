//! Systems that join two sites: Withy, and what a user would otherwise pick.
//!
//! A system is started in the gateways of a paired lab of its own and taken down with it, so that none finds what
//! another left. All but Multipath TCP carry packets from host to host.

mod boringtun;
pub mod described;
mod device;
mod envelope;
mod mptcp;
mod openvpn;
mod plain;
mod process;
mod strongswan;
mod tool;
mod uapi;
mod wireguard;
mod withy;
mod xfrm;

use std::time::Duration;

use anyhow::{Result, bail};

pub use self::{
    boringtun::{Boringtun, Spread},
    envelope::Envelope,
    mptcp::Mptcp,
    openvpn::OpenVpn,
    plain::Plain,
    strongswan::StrongSwan,
    wireguard::WireGuard,
    withy::Withy,
    xfrm::Xfrm,
};
use crate::{
    lab::Lab,
    traffic::{
        bulk::{Flavour, Flow},
        icmp::{Ping, ping},
    },
};

/// How long a system may take from its start to the first packet that arrives.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Something that can join two sites.
pub trait System {
    /// The name by which figures and filters call it: letters, digits and hyphens.
    fn name(&self) -> &str;

    /// What it is, for people, in a few words.
    fn about(&self) -> &str;

    /// Why it cannot run here; none if it can.
    fn absent(&self) -> Option<String>;

    /// Starts it at both sites over the lab's links, or the first of them if it takes only one, and waits until packets
    /// arrive. Sites and links are those of a paired lab; the calling thread is the one that made it.
    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>>;
}

/// A system that is up. Dropping it takes it down.
pub trait Running {
    /// The processes that do its work, at both sites; none if only the kernel does.
    fn processes(&self) -> Vec<u32>;

    /// Where its streams go.
    fn flow(&self) -> Result<Flow>;

    /// What it puts around each packet; nothing where nobody has said.
    fn envelope(&self) -> Envelope {
        Envelope::NONE
    }
}

/// From the host of site `a` to that of site `b`.
pub(crate) fn between_hosts(lab: &Lab) -> Result<Flow> {
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    Ok(Flow {
        from: a.host().clone(),
        to: b.host().clone(),
        address: b.lan().host,
        flavour: Flavour::Tcp,
    })
}

/// Waits until a ping gets from host to host. `check` fails where that cannot come about any more.
fn wait_for_path(lab: &Lab, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let flow = between_hosts(lab)?;
    let start = std::time::Instant::now();
    while start.elapsed() < START_LIMIT {
        check()?;
        let answer = ping(
            &flow.from,
            flow.address,
            56,
            false,
            Duration::from_millis(200),
        )?;
        if matches!(answer, Ping::Reply { .. }) {
            return Ok(());
        }
    }
    check()?;
    bail!("no packet got from host to host within {START_LIMIT:?}")
}

/// Lets the gateways forward, as those do that start by themselves.
fn forward(lab: &Lab) -> Result<()> {
    for site in lab.sites() {
        site.gateway().set_sysctl("net.ipv4.ip_forward", "1")?;
    }
    Ok(())
}
