//! Multipath TCP of the kernel, between the gateways themselves: one subflow over each link.

use anyhow::{Context, Result};

use super::{
    Running, System,
    device::{self, End},
    tool::{self, ip},
};
use crate::{
    lab::Lab,
    traffic::bulk::{Flavour, Flow},
};

/// Subflows that the kernel allows one connection (`MPTCP_SUBFLOWS_MAX`, net/mptcp/protocol.h).
const MOST_SUBFLOWS: usize = 8;

/// Sockets of protocol `IPPROTO_MPTCP` from gateway to gateway; nothing is encrypted, and no LAN is crossed.
#[derive(Clone, Copy, Debug)]
pub struct Mptcp;

struct Up {
    flow: Flow,
}

impl System for Mptcp {
    fn name(&self) -> &'static str {
        "mptcp"
    }

    fn about(&self) -> &'static str {
        "Multipath TCP, gateway to gateway, not encrypted; TCP only"
    }

    fn absent(&self) -> Option<String> {
        let there = std::path::Path::new("/proc/sys/net/mptcp/enabled").exists();
        tool::absent(&["ip"])
            .or_else(|| (!there).then(|| "the kernel has no Multipath TCP".to_owned()))
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        let ends = device::ends(lab, MOST_SUBFLOWS)?;
        for [a, b] in &ends {
            endpoint(lab, *a)?;
            endpoint(lab, *b)?;
        }
        let [a, b] = ends.first().context("the lab has no links")?;
        for end in [a, b] {
            let limits = format!(
                "mptcp limits set subflow {MOST_SUBFLOWS} add_addr_accepted {MOST_SUBFLOWS}"
            );
            ip(lab, end.site.gateway(), &limits)?;
        }
        Ok(Box::new(Up {
            flow: Flow {
                from: a.site.gateway().clone(),
                to: b.site.gateway().clone(),
                address: b.link.address(),
                flavour: Flavour::Mptcp,
            },
        }))
    }
}

/// Lets the receiver tell its other addresses, to which the sender then connects.
fn endpoint(lab: &Lab, end: End<'_>) -> Result<()> {
    // The first addresses are the connection's own.
    if end.site.name() == "b" && end.number > 0 {
        let add = format!(
            "mptcp endpoint add {} dev {} signal",
            end.link.address(),
            end.link.name()
        );
        ip(lab, end.site.gateway(), &add)?;
    }
    Ok(())
}

impl Running for Up {
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn flow(&self) -> Result<Flow> {
        Ok(self.flow.clone())
    }
}
