//! Private subnets and tunnel endpoints: who owns which part of the address space.

use std::{collections::BTreeMap, iter::successors, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::config::{
    draft::{ConfigDraft, TunnelDraft},
    sink::{Located, Sink},
};

/// A subnet and the index of its tunnel.
type Owned<'a> = (usize, &'a Located<Ipv4Net>);

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let mut space = Space::default();
    let mut remote = Vec::new();
    for (index, tunnel) in draft.tunnels.iter().enumerate() {
        let locals = tunnel.local_subnets.iter().map(|subnet| (index, subnet));
        let remotes = tunnel.remote_subnets.iter().map(|subnet| (index, subnet));
        let own: Vec<Owned<'_>> = locals.chain(remotes.clone()).collect();
        for subnet in &own {
            space.insert(*subnet);
        }
        report_overlaps(own, |_, _| true, sink);
        remote.extend(remotes);
    }
    report_overlaps(remote, |a, b| a != b, sink);
    for tunnel in &draft.tunnels {
        endpoints_outside(tunnel, &space, sink);
    }
}

/// Reports each subnet that overlaps one before it in the file whose tunnel is a `rival` of its
/// own, so that those not reported are disjoint.
fn report_overlaps(
    mut subnets: Vec<Owned<'_>>,
    rival: impl Fn(usize, usize) -> bool,
    sink: &mut Sink,
) {
    subnets.sort_by_key(|(_, subnet)| subnet.at.position);
    let mut before = Space::default();
    for (tunnel, subnet) in subnets {
        let wanted = |candidate: usize| rival(candidate, tunnel);
        let net = subnet.value;
        if let Some(first) = before
            .around(net, wanted)
            .or_else(|| before.within(net, wanted))
        {
            let message = format!("{net} overlaps {} of {}", first.value, first.at.field);
            sink.error(
                &subnet.at,
                message,
                "give each private network a range of its own",
            );
        }
        before.insert((tunnel, subnet));
    }
}

/// An ESP packet to an endpoint inside a private subnet would be taken for private traffic and
/// encrypted again, without end.
fn endpoints_outside(tunnel: &TunnelDraft, space: &Space<'_>, sink: &mut Sink) {
    for endpoint in [&tunnel.local_endpoint, &tunnel.remote_endpoint]
        .into_iter()
        .flatten()
    {
        if let Some(subnet) = space.around(Ipv4Net::from(endpoint.value), |_| true) {
            let (address, field) = (endpoint.value, &subnet.at.field);
            let message = format!("{address} lies in {} of {field}", subnet.value);
            sink.error(
                &endpoint.at,
                message,
                "take an address outside all private subnets",
            );
        }
    }
}

/// Subnets by network address and prefix length. Two subnets overlap only if one lies in the
/// other; both ways are found without looking at all of them.
#[derive(Default)]
struct Space<'a> {
    subnets: BTreeMap<(Ipv4Addr, u8), Vec<Owned<'a>>>,
}

impl<'a> Space<'a> {
    fn insert(&mut self, subnet: Owned<'a>) {
        let net = subnet.1.value;
        self.subnets
            .entry((net.network(), net.prefix_len()))
            .or_default()
            .push(subnet);
    }

    /// Returns the smallest subnet around `net`, or equal to it, of a `wanted` tunnel.
    fn around(&self, net: Ipv4Net, wanted: impl Fn(usize) -> bool) -> Option<&'a Located<Ipv4Net>> {
        successors(Some(net), Ipv4Net::supernet)
            .filter_map(|outer| self.subnets.get(&(outer.network(), outer.prefix_len())))
            .flatten()
            .find(|(tunnel, _)| wanted(*tunnel))
            .map(|(_, subnet)| *subnet)
    }

    /// Returns a subnet within `net`, or equal to it, of a `wanted` tunnel.
    fn within(&self, net: Ipv4Net, wanted: impl Fn(usize) -> bool) -> Option<&'a Located<Ipv4Net>> {
        self.subnets
            .range((net.network(), net.prefix_len())..=(net.broadcast(), 32))
            .flat_map(|(_, subnets)| subnets)
            .find(|(tunnel, _)| wanted(*tunnel))
            .map(|(_, subnet)| *subnet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{report::Position, sink::At};

    fn subnet() -> impl Strategy<Value = Ipv4Net> {
        // Few distinct bits, so that overlaps are common.
        (0_u32..8, 24_u8..=32).prop_filter_map("prefix", |(bits, len)| {
            Ipv4Net::new((0x0a00_0000 | bits << 5 | bits).into(), len)
                .ok()
                .map(|net| net.trunc())
        })
    }

    proptest! {
        #[test]
        fn what_overlaps_pairwise_is_reported(nets in prop::collection::vec(subnet(), 0..12)) {
            let located: Vec<Located<Ipv4Net>> = (1..)
                .zip(&nets)
                .map(|(line, net)| {
                    let position = Position { line, column: 1, width: 0 };
                    Located { value: *net, at: At { field: format!("[{line}]"), position } }
                })
                .collect();
            let owned: Vec<Owned<'_>> = located.iter().map(|subnet| (0, subnet)).collect();
            let mut sink = Sink::default();
            report_overlaps(owned, |_, _| true, &mut sink);
            let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
            let expected = nets.iter().enumerate().any(|(index, a)| {
                nets[..index].iter().any(|b| overlaps(a, b))
            });
            let found = sink.into_diagnostics();
            prop_assert_eq!(!found.is_empty(), expected);
            // Whatever is left after the subnets in question are taken away is disjoint.
            let blamed: Vec<usize> =
                found.iter().filter_map(|d| Some(d.position?.line - 1)).collect();
            let rest: Vec<_> = (0..nets.len()).filter(|i| !blamed.contains(i)).collect();
            for (nth, a) in rest.iter().enumerate() {
                for b in &rest[..nth] {
                    prop_assert!(!overlaps(&nets[*a], &nets[*b]), "{} {}", nets[*a], nets[*b]);
                }
            }
        }
    }
}
