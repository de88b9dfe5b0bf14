//! Private subnets and tunnel endpoints: who owns which part of the address space.

use ipnet::Ipv4Net;

use crate::{
    config::{
        draft::{ConfigDraft, TunnelDraft},
        sink::{Located, Sink},
    },
    subnets::SubnetMap,
};

/// A subnet and the index of its tunnel.
type Owned<'a> = (usize, &'a Located<Ipv4Net>);
type Space<'a> = SubnetMap<Owned<'a>>;

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let mut space = Space::default();
    let mut remote = Vec::new();
    for (index, tunnel) in draft.tunnels.iter().enumerate() {
        let locals = tunnel.local_subnets.iter().map(|subnet| (index, subnet));
        let remotes = tunnel.remote_subnets.iter().map(|subnet| (index, subnet));
        let own: Vec<Owned<'_>> = locals.chain(remotes.clone()).collect();
        for subnet in &own {
            space.insert(subnet.1.value, *subnet);
        }
        report_overlaps(own, |_, _| true, sink);
        remote.extend(remotes);
    }
    // Among tunnels that other gateways open, whoever comes first has what it claims.
    let waits = |tunnel: usize| draft.tunnels[tunnel].waits();
    report_overlaps(remote, |a, b| a != b && !(waits(a) && waits(b)), sink);
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
        let net = subnet.value;
        if let Some((_, first)) = before.overlapping(net, |(other, _)| rival(*other, tunnel)) {
            let message = format!("{net} overlaps {} of {}", first.value, first.at.field);
            sink.error(
                &subnet.at,
                message,
                "give each private network a range of its own",
            );
        }
        before.insert(net, (tunnel, subnet));
    }
}

/// An ESP packet to an endpoint inside a private subnet would be taken for private traffic and
/// encrypted again, without end.
fn endpoints_outside(tunnel: &TunnelDraft, space: &Space<'_>, sink: &mut Sink) {
    for endpoint in [&tunnel.local_endpoint, &tunnel.remote_endpoint]
        .into_iter()
        .flatten()
    {
        if let Some((_, subnet)) = space.around(Ipv4Net::from(endpoint.value), |_| true) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{report::Position, sink::At},
        subnets::tests::subnet,
    };

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
