//! Who has which private subnet and which tunnel endpoint: what one gateway has is refused to others.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::{config::TunnelName, subnets::SubnetMap};

/// What the other gateways of all tunnels have.
#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: SubnetMap<TunnelName>,
    by_tunnel: BTreeMap<TunnelName, Claim>,
}

/// What the other gateway of a tunnel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its tunnel endpoint.
    pub(super) endpoint: Ipv4Addr,
    /// The subnets behind it.
    pub(super) subnets: Vec<Ipv4Net>,
}

impl Claims {
    /// Notes what a tunnel has now; nothing where it is not negotiated.
    pub(super) fn set(&mut self, tunnel: &TunnelName, claim: Option<Claim>) {
        if let Some(before) = self.by_tunnel.remove(tunnel) {
            for subnet in before.subnets {
                self.owners.remove(subnet, |owner| owner == tunnel);
            }
        }
        let Some(claim) = claim else { return };
        for subnet in &claim.subnets {
            self.owners.insert(*subnet, tunnel.clone());
        }
        self.by_tunnel.insert(tunnel.clone(), claim);
    }

    /// The endpoints that other tunnels than `tunnel` have at their far ends.
    pub(super) fn endpoints(&self, tunnel: &TunnelName) -> impl Iterator<Item = Ipv4Addr> {
        let others = self
            .by_tunnel
            .iter()
            .filter(move |(other, _)| *other != tunnel);
        others.map(|(_, claim)| claim.endpoint)
    }

    /// Returns a subnet of which another tunnel than `tunnel` has a part, and that tunnel.
    pub(super) fn conflict(
        &self,
        tunnel: &TunnelName,
        subnets: &[Ipv4Net],
    ) -> Option<(Ipv4Net, &TunnelName)> {
        subnets.iter().find_map(|subnet| {
            let other = self.owners.overlapping(*subnet, |owner| owner != tunnel)?;
            Some((*subnet, other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_its_owners_until_that_gives_it_back() {
        let (lyon, nice) = ("lyon".parse().unwrap(), "nice".parse().unwrap());
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let mut claims = Claims::default();
        let claim = |subnets: &[Ipv4Net]| {
            Some(Claim {
                endpoint: Ipv4Addr::new(10, 255, 0, 2),
                subnets: subnets.to_vec(),
            })
        };
        claims.set(&lyon, claim(&[net("10.1.0.0/16"), net("10.3.0.0/16")]));
        let wanted = [net("10.2.0.0/16"), net("10.1.7.0/24")];
        assert_eq!(
            claims.conflict(&nice, &wanted),
            Some((net("10.1.7.0/24"), &lyon))
        );
        assert_eq!(claims.conflict(&lyon, &wanted), None);
        claims.set(&lyon, claim(&[net("10.3.0.0/16")]));
        assert_eq!(claims.conflict(&nice, &wanted), None);
        assert!(claims.endpoints(&nice).eq([Ipv4Addr::new(10, 255, 0, 2)]));
        assert_eq!(claims.endpoints(&lyon).next(), None);
        claims.set(&lyon, None);
        assert_eq!(claims.conflict(&nice, &[net("10.0.0.0/8")]), None);
    }
}
