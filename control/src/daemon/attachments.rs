//! Which programs should be attached where.

use std::collections::BTreeMap;

use crate::{
    config::{Config, LinkName, Receive},
    dataplane::{self, Attachment, Hook},
    kernel::facts::LinkFacts,
    link::Links,
    reconcile::objects::InterfaceName,
    vpn,
};

/// An attachment, and the link whose it is.
pub(super) type Wanted = (Option<LinkName>, Attachment);

/// Lists the attachments on interfaces that exist.
pub(super) fn wanted(
    config: &Config,
    links: &Links,
    facts: &BTreeMap<InterfaceName, LinkFacts>,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(bundle) = facts.get(&vpn::bundle_device().name) {
        wanted.push((None, attachment(Hook::BundleTx, &bundle.name, bundle.index)));
    }
    for (name, link) in &config.links {
        let Some(interface) = links.get(name).and_then(|view| view.interface.as_ref()) else {
            continue;
        };
        let receive = match link.receive {
            Receive::Xdp => dataplane::Receive::Xdp,
            Receive::Tc => dataplane::Receive::Tc,
            // Without a device there is no ring to take frames from: XDP would copy each packet.
            Receive::Auto if interface.software => dataplane::Receive::Tc,
            Receive::Auto => dataplane::Receive::XdpOrTc,
        };
        let hook = Hook::LinkRx(receive);
        wanted.push((
            Some(name.clone()),
            attachment(hook, &interface.name, interface.index),
        ));
    }
    for name in &config.gateway.lan {
        let Some(lan) = InterfaceName::new(name.as_str())
            .ok()
            .and_then(|name| facts.get(&name))
        else {
            continue;
        };
        for hook in [Hook::LanIn, Hook::LanOut] {
            wanted.push((None, attachment(hook, &lan.name, lan.index)));
        }
    }
    wanted
}

fn attachment(hook: Hook, name: &InterfaceName, ifindex: u32) -> Attachment {
    Attachment {
        hook,
        interface: name.to_string(),
        ifindex,
    }
}
