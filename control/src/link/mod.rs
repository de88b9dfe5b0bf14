//! The link manager: what each configured link is at the moment.

mod pacing;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::{
    api::status::LinkState,
    config::{self, LinkName, Setting},
    kernel::facts::LinkFacts,
    reconcile::objects::InterfaceName,
};

pub use pacing::Pacing;

/// A link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// What it is doing.
    pub state: LinkState,
    /// Its interface, while there is one.
    pub interface: Option<Interface>,
    /// Its address, while it has one.
    pub address: Option<Ipv4Addr>,
    /// The next hop, where one is needed and known.
    pub next_hop: Option<Ipv4Addr>,
    /// How its packets leave.
    pub pacing: Pacing,
}

/// The interface of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether a driver of the kernel's own makes it (veth, VLAN, bridge), so that native XDP, if it
    /// has that at all, costs more than TC.
    pub software: bool,
}

/// All configured links, by name.
pub type Links = BTreeMap<LinkName, LinkView>;

/// Compares the configured links with the machine's interfaces. Those in `disabled` are not used even if they could be; `fq` tells whether
/// the kernel is thought to have it.
#[must_use]
pub fn resolve(
    links: &BTreeMap<LinkName, config::Link>,
    facts: &BTreeMap<InterfaceName, LinkFacts>,
    disabled: &BTreeSet<LinkName>,
    fq: bool,
) -> Links {
    links
        .iter()
        .map(|(name, link)| {
            let found = InterfaceName::new(link.interface.as_str())
                .ok()
                .and_then(|interface| facts.get(&interface));
            let mut view = view(link, found, fq);
            if view.state == LinkState::Up && disabled.contains(name) {
                view.state = LinkState::Disabled;
            }
            (name.clone(), view)
        })
        .collect()
}

fn view(link: &config::Link, facts: Option<&LinkFacts>, fq: bool) -> LinkView {
    let Some(facts) = facts else {
        return LinkView {
            state: LinkState::Missing,
            interface: None,
            address: None,
            next_hop: None,
            pacing: Pacing::of(link, None, fq),
        };
    };
    let has = |address| facts.addresses.iter().any(|net| net.addr() == address);
    let address = match link.address {
        Setting::Fixed(address) => has(address).then_some(address),
        Setting::Auto => facts.addresses.first().map(ipnet::Ipv4Net::addr),
    };
    let next_hop = match link.next_hop {
        Setting::Fixed(next_hop) => Some(next_hop),
        Setting::Auto => facts.default_gateway,
    };
    LinkView {
        state: match (facts.up, address) {
            (false, _) => LinkState::Down,
            (true, None) => LinkState::NoAddress,
            (true, Some(_)) => LinkState::Up,
        },
        interface: Some(Interface {
            index: facts.index,
            name: facts.name.clone(),
            mtu: facts.mtu,
            software: facts.software,
        }),
        address,
        next_hop,
        pacing: Pacing::of(link, facts.queue.as_ref(), fq),
    }
}

impl LinkView {
    /// Whether it is the same for those who are told of links.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let told = |view: &Self| {
            (
                view.state,
                view.interface.clone(),
                view.address,
                view.next_hop,
            )
        };
        told(self) == told(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
gateway: {name: a, lan: [lan0]}
links:
  auto: {interface: eth1, rate: 1 Mbit/s, latency: 1 ms}
  fixed: {interface: eth2, rate: 1 Mbit/s, latency: 1 ms, address: 192.0.2.9, next_hop: 192.0.2.1}
bundles: {}
tunnels: {}
";

    fn facts(name: &str, up: bool, addresses: &[&str]) -> (InterfaceName, LinkFacts) {
        let name = InterfaceName::new(name).unwrap();
        let facts = LinkFacts {
            index: 7,
            name: name.clone(),
            up,
            mtu: 1500,
            ethernet: true,
            software: false,
            point_to_point: false,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            default_gateway: Some(Ipv4Addr::new(203, 0, 113, 1)),
            queue: None,
        };
        (name, facts)
    }

    fn states(interfaces: &[(&str, bool, &[&str])]) -> Vec<LinkState> {
        let loaded = config::parse(TEXT, "test", std::path::Path::new("")).unwrap();
        let facts = interfaces
            .iter()
            .map(|(name, up, addresses)| facts(name, *up, addresses))
            .collect();
        resolve(&loaded.config.links, &facts, &BTreeSet::new(), true)
            .values()
            .map(|view| view.state)
            .collect()
    }

    #[test]
    fn states_follow_the_interface() {
        let fine: &[(&str, bool, &[&str])] = &[
            ("eth1", true, &["203.0.113.2/24"]),
            ("eth2", true, &["192.0.2.8/24", "192.0.2.9/24"]),
        ];
        assert_eq!(states(fine), [LinkState::Up, LinkState::Up]);
        assert_eq!(
            states(&[("eth1", true, &[])]),
            [LinkState::NoAddress, LinkState::Missing]
        );
        let down: &[(&str, bool, &[&str])] = &[
            ("eth1", false, &["203.0.113.2/24"]),
            ("eth2", true, &["192.0.2.8/24"]),
        ];
        assert_eq!(states(down), [LinkState::Down, LinkState::NoAddress]);
    }

    #[test]
    fn a_link_that_could_be_used_may_be_out_of_use() {
        let loaded = config::parse(TEXT, "test", std::path::Path::new("")).unwrap();
        let facts = [
            facts("eth1", true, &["203.0.113.2/24"]),
            facts("eth2", false, &["192.0.2.9/24"]),
        ]
        .into();
        let disabled = ["auto".parse().unwrap(), "fixed".parse().unwrap()].into();
        let links = resolve(&loaded.config.links, &facts, &disabled, true);
        assert_eq!(links["auto"].state, LinkState::Disabled);
        assert_eq!(links["fixed"].state, LinkState::Down);
    }

    #[test]
    fn auto_follows_the_interface_and_fixed_does_not() {
        let loaded = config::parse(TEXT, "test", std::path::Path::new("")).unwrap();
        let facts = [
            facts("eth1", true, &["203.0.113.2/24"]),
            facts("eth2", true, &["192.0.2.9/24"]),
        ]
        .into();
        let links: Vec<_> = resolve(&loaded.config.links, &facts, &BTreeSet::new(), true)
            .into_values()
            .collect();
        assert_eq!(links[0].address, Some(Ipv4Addr::new(203, 0, 113, 2)));
        assert_eq!(links[0].next_hop, Some(Ipv4Addr::new(203, 0, 113, 1)));
        assert_eq!(links[1].address, Some(Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!(links[1].next_hop, Some(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
