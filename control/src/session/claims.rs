//! Who has which private subnet: what one gateway was granted is refused to others.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use crate::{config::TunnelName, subnets::SubnetMap};

/// The subnets behind the other gateways of all tunnels.
#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: SubnetMap<TunnelName>,
    by_tunnel: BTreeMap<TunnelName, Vec<Ipv4Net>>,
}

impl Claims {
    /// Notes what a tunnel has now; nothing where it is not negotiated.
    pub(super) fn set(&mut self, tunnel: &TunnelName, subnets: &[Ipv4Net]) {
        let before = self.by_tunnel.remove(tunnel).unwrap_or_default();
        for subnet in before {
            self.owners.remove(subnet, |owner| owner == tunnel);
        }
        for subnet in subnets {
            self.owners.insert(*subnet, tunnel.clone());
        }
        if !subnets.is_empty() {
            self.by_tunnel.insert(tunnel.clone(), subnets.to_vec());
        }
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
        claims.set(&lyon, &[net("10.1.0.0/16"), net("10.3.0.0/16")]);
        let wanted = [net("10.2.0.0/16"), net("10.1.7.0/24")];
        assert_eq!(
            claims.conflict(&nice, &wanted),
            Some((net("10.1.7.0/24"), &lyon))
        );
        assert_eq!(claims.conflict(&lyon, &wanted), None);
        claims.set(&lyon, &[net("10.3.0.0/16")]);
        assert_eq!(claims.conflict(&nice, &wanted), None);
        claims.set(&lyon, &[]);
        assert_eq!(claims.conflict(&nice, &[net("10.0.0.0/8")]), None);
    }
}
