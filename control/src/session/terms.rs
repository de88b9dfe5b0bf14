//! What a gateway wants of a tunnel, and whether it fits what the other one wants.

use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;

use crate::{
    config::{LinkName, SplitPolicy, TunnelName},
    identity::PublicKey,
    suite::Suite,
    wire::{LinkFacts, MAX_TAKEN, Reason, Subnet, SvcCreateRequest, Verdict},
};

/// A tunnel's configuration, as far as negotiation is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// This gateway's name.
    pub gateway: String,
    /// The tunnel's name here.
    pub tunnel: TunnelName,
    /// The other gateway.
    pub peer: PublicKey,
    /// The subnets behind this gateway.
    pub local: Vec<Ipv4Net>,
    /// The subnets that the other gateway may claim, or that this one wants to reach.
    pub remote: Vec<Ipv4Net>,
    /// The suites that are accepted, the best one first.
    pub suites: Vec<Suite>,
    /// When packets are split.
    pub split: SplitPolicy,
    /// The longest time for which keys are used.
    pub rekey_after: Duration,
    /// The most bytes in one direction for which keys are used.
    pub rekey_bytes: u64,
}

/// A link of this gateway that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLink {
    /// Its name.
    pub name: LinkName,
    /// Its address.
    pub address: Ipv4Addr,
    /// What the other gateway is told of it.
    pub facts: LinkFacts,
}

/// What a responder grants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Granted {
    pub(super) suite: Suite,
    pub(super) split: SplitPolicy,
    pub(super) local: Vec<Ipv4Net>,
    pub(super) remote: Vec<Ipv4Net>,
}

impl Profile {
    /// What an initiator asks for.
    pub(super) fn request(
        &self,
        svc: Option<u64>,
        spi: u32,
        mut taken: Vec<Ipv4Addr>,
        link: LinkFacts,
    ) -> SvcCreateRequest {
        // A hint: what is granted is compared with all of them.
        taken.truncate(MAX_TAKEN);
        SvcCreateRequest {
            svc,
            spi,
            suites: self.suites.iter().map(ToString::to_string).collect(),
            initiator_subnets: self.local.iter().copied().map(to_wire).collect(),
            responder_subnets: self.remote.iter().copied().map(to_wire).collect(),
            split: self.split.to_string(),
            taken,
            link,
        }
    }

    /// Whether an initiator with another configuration asks for the same.
    pub(super) fn asks_like(&self, other: &Self) -> bool {
        let asks = |profile: &Self| {
            let Self {
                local,
                remote,
                suites,
                split,
                ..
            } = profile.clone();
            (local, remote, suites, split)
        };
        asks(self) == asks(other)
    }

    /// Whether what was granted may still be.
    pub(super) fn allows(&self, granted: &Granted) -> bool {
        let within = |nets: &[Ipv4Net], allowed: &[Ipv4Net]| {
            nets.iter()
                .all(|net| allowed.iter().any(|allowed| allowed.contains(net)))
        };
        within(&granted.local, &self.local)
            && within(&granted.remote, &self.remote)
            && self.suites.contains(&granted.suite)
            && self.split == granted.split
    }

    /// Judges an initiator's request.
    pub(super) fn grant(&self, request: &SvcCreateRequest) -> Result<Granted, Verdict> {
        let remote = within(
            &request.initiator_subnets,
            &self.remote,
            "is not among the subnets.remote of this gateway's tunnel",
        )?;
        let local = within(
            &request.responder_subnets,
            &self.local,
            "is not among the subnets.local of this gateway's tunnel",
        )?;
        let suite = request
            .suites
            .iter()
            .filter_map(|name| name.parse().ok())
            .find(|suite| self.suites.contains(suite))
            .ok_or_else(|| {
                let own: Vec<_> = self.suites.iter().map(|suite| suite.name()).collect();
                let detail = format!("this gateway accepts {}", own.join(", "));
                Verdict::refused(Reason::Suite, detail)
            })?;
        if request.split != self.split.to_string() {
            let detail = format!("here it is {}", self.split);
            return Err(Verdict::refused(Reason::Split, detail));
        }
        if request.spi < 256 {
            let detail = format!("the SPI {} is reserved", request.spi);
            return Err(Verdict::refused(Reason::Unexpected, detail));
        }
        Ok(Granted {
            suite,
            split: self.split,
            local,
            remote,
        })
    }
}

/// Takes subnets of which each lies within one that is allowed.
fn within(
    claimed: &[Subnet],
    allowed: &[Ipv4Net],
    complaint: &str,
) -> Result<Vec<Ipv4Net>, Verdict> {
    let refuse = |what: String| Verdict::refused(Reason::Subnets, what);
    if claimed.is_empty() {
        return Err(refuse("there is none".to_owned()));
    }
    claimed
        .iter()
        .map(|subnet| {
            let net = Ipv4Net::new(subnet.address, subnet.prefix)
                .ok()
                .filter(|net| net.trunc() == *net)
                .ok_or_else(|| refuse(format!("{}/{} is none", subnet.address, subnet.prefix)))?;
            if allowed.iter().any(|allowed| allowed.contains(&net)) {
                Ok(net)
            } else {
                Err(refuse(format!("{net} {complaint}")))
            }
        })
        .collect()
}

fn to_wire(net: Ipv4Net) -> Subnet {
    Subnet {
        address: net.network(),
        prefix: net.prefix_len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::PrivateKey, wire::Message};

    #[test]
    fn a_gateway_with_many_tunnels_makes_requests_that_others_take() {
        let subnets = vec!["10.0.0.0/8".parse().unwrap(); 64];
        let profile = Profile {
            gateway: "a".to_owned(),
            tunnel: "b".parse().unwrap(),
            peer: PrivateKey::generate().unwrap().public().unwrap(),
            local: subnets.clone(),
            remote: subnets,
            suites: Suite::ALL.to_vec(),
            split: SplitPolicy::Mtu,
            rekey_after: Duration::from_secs(1),
            rekey_bytes: 1,
        };
        let link = LinkFacts {
            name: "dsl".to_owned(),
            up: 1,
            down: 1,
            latency: 1,
            mtu: 1500,
        };
        let taken = (0..1000).map(Ipv4Addr::from_bits).collect();
        let request = profile.request(None, 256, taken, link);
        assert_eq!(Message::SvcCreateRequest(request).check(), Ok(()));
    }
}
