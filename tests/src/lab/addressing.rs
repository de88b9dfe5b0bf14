//! Who has which address in the lab: arithmetic only.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

/// Links that a site can have: each owns two networks of four addresses in the site's /24.
pub const MOST_LINKS: usize = 32;

/// Sites that a lab can have.
pub const MOST_SITES: usize = 64;

/// The private network of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lan {
    /// First address of the network.
    pub network: Ipv4Addr,
    /// Prefix length of the network.
    pub prefix_len: u8,
    /// The gateway's address on it.
    pub gateway: Ipv4Addr,
    /// The host's address on it.
    pub host: Ipv4Addr,
}

impl Lan {
    pub(crate) fn of(site: usize) -> Result<Self> {
        ensure!(
            site < MOST_SITES,
            "the lab has addresses for {MOST_SITES} sites"
        );
        let third = u8::try_from(site + 1)?;
        let address = |last| Ipv4Addr::new(192, 168, third, last);
        Ok(Self {
            network: address(0),
            prefix_len: 24,
            gateway: address(1),
            host: address(2),
        })
    }

    /// The network with its prefix length.
    #[must_use]
    pub fn prefix(&self) -> (Ipv4Addr, u8) {
        (self.network, self.prefix_len)
    }
}

/// The network between a gateway and the provider of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// First address of the network.
    pub network: Ipv4Addr,
    /// Prefix length of the network.
    pub prefix_len: u8,
    /// The provider's router.
    pub next_hop: Ipv4Addr,
    /// The gateway.
    pub local: Ipv4Addr,
}

impl Uplink {
    /// The link's networks: the one that it has at first, and the one that
    /// [`Link::renumber`](super::Link::renumber) moves it to.
    pub(crate) fn of(site: usize, link: usize) -> Result<[Self; 2]> {
        ensure!(
            site < MOST_SITES,
            "the lab has addresses for {MOST_SITES} sites"
        );
        ensure!(
            link < MOST_LINKS,
            "the lab has addresses for {MOST_LINKS} links a site"
        );
        // Documentation networks (RFC 5737) as long as there are any, then shared address space
        // (RFC 6598), which is what many a provider gives its customers.
        let [a, b, c] = match site {
            0 => [203, 0, 113],
            1 => [198, 51, 100],
            2 => [192, 0, 2],
            _ => [100, 64, u8::try_from(site)?],
        };
        let first = u8::try_from(link * 4)?;
        Ok([first, first + 128].map(|first| Self {
            network: Ipv4Addr::new(a, b, c, first),
            prefix_len: 30,
            next_hop: Ipv4Addr::new(a, b, c, first + 1),
            local: Ipv4Addr::new(a, b, c, first + 2),
        }))
    }

    /// The network with its prefix length.
    #[must_use]
    pub fn prefix(&self) -> (Ipv4Addr, u8) {
        (self.network, self.prefix_len)
    }
}

/// Addresses between a provider and the backbone: the backbone's and the provider's, a /30.
pub(crate) fn backbone(site: usize, link: usize) -> Result<(Ipv4Addr, Ipv4Addr)> {
    let (site, first) = (u8::try_from(site)?, u8::try_from(link * 4)?);
    Ok((
        Ipv4Addr::new(100, 96, site, first + 1),
        Ipv4Addr::new(100, 96, site, first + 2),
    ))
}

/// What a device in the lab is for; part of its Ethernet address.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Role {
    Host = 1,
    Lan = 2,
    Uplink = 3,
    Provider = 4,
    ProviderBackbone = 5,
    Backbone = 6,
}

/// A locally administered Ethernet address that tells site, link and role.
pub(crate) fn mac(role: Role, site: usize, link: usize) -> Result<[u8; 6]> {
    Ok([
        0x02,
        0x57,
        0x59,
        role as u8,
        u8::try_from(site)?,
        u8::try_from(link)?,
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_network_is_given_twice() {
        let mut seen = HashSet::new();
        for site in 0..MOST_SITES {
            assert!(seen.insert(Lan::of(site).unwrap().network));
            for link in 0..MOST_LINKS {
                for uplink in Uplink::of(site, link).unwrap() {
                    assert!(seen.insert(uplink.network), "{uplink:?}");
                }
                assert!(seen.insert(backbone(site, link).unwrap().0));
            }
        }
        assert!(Lan::of(MOST_SITES).is_err());
        assert!(Uplink::of(0, MOST_LINKS).is_err());
    }
}
