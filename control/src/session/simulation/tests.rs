//! What gateways must manage.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use super::network::{Network, name, own_link};
use crate::{config::Tunnel, session::Role};

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn addresses(site: u8, count: u8) -> Vec<[u8; 4]> {
    (0..count).map(|link| [192, 0, site, link + 1]).collect()
}

/// Two sites with so many links each.
pub(super) fn pair(seed: u64, here: u8, there: u8) -> Network {
    let mut network = Network::new(seed);
    network.add_site(&addresses(0, here));
    network.add_site(&addresses(1, there));
    network.join(0, 1);
    network
}

pub(super) fn ivcs(network: &Network, at: usize, peer: usize) -> BTreeSet<(String, Ipv4Addr)> {
    let agreed = network.agreed(at, peer);
    let ivcs = agreed.into_iter().flat_map(|agreed| agreed.ivcs);
    ivcs.filter(|ivc| ivc.connected)
        .map(|ivc| (ivc.link.to_string(), ivc.remote))
        .collect()
}

/// Both sides know the same number of IVCs, all links are in use, and packets pass.
fn is_whole(network: &Network, here: usize, there: usize) -> bool {
    let (a, b) = (ivcs(network, 0, 1), ivcs(network, 1, 0));
    let used = |ivcs: &BTreeSet<(String, Ipv4Addr)>| {
        let links: BTreeSet<_> = ivcs.iter().map(|(link, _)| link.clone()).collect();
        links.len()
    };
    a.len() == b.len() && used(&a) == here && used(&b) == there && network.packets_pass(0, 1)
}

/// As [`is_whole`], with no more IVCs than the side with more links has links.
pub(super) fn is_complete(network: &Network, here: usize, there: usize) -> bool {
    let count = here.max(there).min(Tunnel::MAX_IVCS);
    ivcs(network, 0, 1).len() == count && is_whole(network, here, there)
}

#[test]
fn every_pair_of_links_comes_up_in_time() {
    for (here, there) in [(1, 1), (1, 4), (4, 1), (3, 2), (4, 4), (16, 3)] {
        let mut network = pair(1, here, there);
        let first = network
            .run_until(secs(5), |network| network.packets_pass(0, 1))
            .unwrap();
        assert!(
            first < secs(1),
            "{here}x{there}: first packet after {first:?}"
        );
        let rest = network.run_until(secs(5), |network| {
            is_complete(network, here.into(), there.into())
        });
        let all =
            first + rest.unwrap_or_else(|| panic!("{here}x{there}: {:?}", network.sites[0].notes));
        println!("{here}x{there}: first packet after {first:?}, all IVCs after {all:?}");
        if here < 16 {
            assert!(all < secs(2), "{here}x{there}: all IVCs after {all:?}");
        }
        network.run_for(secs(600));
        assert!(is_complete(&network, here.into(), there.into()));
    }
}

#[test]
fn fifty_renewals_lose_no_packet() {
    let mut network = pair(2, 2, 2);
    network
        .run_until(secs(5), |network| is_complete(network, 2, 2))
        .unwrap();
    for _ in 0..50 {
        let before = network.agreed(0, 1).unwrap().outbound.last().cloned();
        let now = network.now;
        assert!(network.sites[0].sessions.renew(&name(1), now));
        let mut always = true;
        let renewed = network.run_until(secs(5), |network| {
            always &= network.packets_pass(0, 1);
            network.agreed(1, 0).unwrap().inbound.len() > 1
                && network.agreed(0, 1).unwrap().outbound.last() != before.as_ref()
        });
        assert!(renewed.is_some() && always);
        network.run_for(secs(1));
        assert!(network.packets_pass(0, 1));
    }
    network.run_for(secs(7));
    for (at, peer) in [(0, 1), (1, 0)] {
        let agreed = network.agreed(at, peer).unwrap();
        assert_eq!((agreed.inbound.len(), agreed.outbound.len()), (1, 1));
    }
    assert!(is_complete(&network, 2, 2));
}

#[test]
fn a_connection_that_a_renewal_replaces_is_not_told_as_lost() {
    let mut network = pair(5, 2, 2);
    network
        .run_until(secs(5), |network| is_complete(network, 2, 2))
        .unwrap();
    network.haste = Duration::from_millis(10);
    for _ in 0..5 {
        let now = network.now;
        assert!(network.sites[0].sessions.renew(&name(1), now));
        network.run_for(secs(1));
        assert!(is_complete(&network, 2, 2));
    }
    let notes = &network.sites[0].notes;
    let renewals = notes.iter().filter(|note| note.contains("new keys"));
    assert_eq!(renewals.count(), 6);
    assert!(!notes.iter().any(|note| note.contains("lost")), "{notes:?}");
}

#[test]
fn old_keys_are_renewed_by_themselves() {
    let mut network = pair(3, 1, 1);
    network
        .run_until(secs(5), |network| is_complete(network, 1, 1))
        .unwrap();
    let before = network.agreed(0, 1).unwrap().outbound;
    network.run_for(secs(3700));
    assert_ne!(network.agreed(0, 1).unwrap().outbound, before);
    let before = network.agreed(0, 1).unwrap().outbound;
    for bytes in [5, 1 << 40, (1 << 40) + 5] {
        network.sites[0].sessions.traffic(&name(1), bytes);
        network.run_for(secs(10));
    }
    assert_ne!(network.agreed(0, 1).unwrap().outbound, before);
    assert!(is_complete(&network, 1, 1));
}

#[test]
fn connections_that_are_reset_come_back_and_their_ivcs_stay() {
    let mut network = pair(4, 3, 3);
    network
        .run_until(secs(5), |network| is_complete(network, 3, 3))
        .unwrap();
    network.reset_connections(0);
    assert_eq!(network.agreed(0, 1).unwrap().ivcs.len(), 3);
    let back = network.run_until(secs(10), |network| is_complete(network, 3, 3));
    println!("all connections are back after {:?}", back.unwrap());
    assert!(network.agreed(1, 0).unwrap().ivcs.len() == 3);
}

#[test]
fn addresses_that_change_are_followed() {
    for side in [0_u8, 1] {
        let mut network = pair(5, 3, 3);
        network
            .run_until(secs(5), |network| is_complete(network, 3, 3))
            .unwrap();
        let mut links = network.sites[usize::from(side)].links.clone();
        // At the responder it may be the link whose address the initiator has in its configuration.
        links[0] = own_link(0, Ipv4Addr::new(192, 0, 100 + side, 9));
        network.set_links(side.into(), links);
        let followed = network.run_until(secs(20), |network| is_complete(network, 3, 3));
        println!("side {side}: followed after {:?}", followed.unwrap());
        assert!(followed.unwrap() < secs(5));
    }
}

#[test]
fn a_link_that_goes_and_comes_back_joins_again() {
    let mut network = pair(6, 2, 2);
    network
        .run_until(secs(5), |network| is_complete(network, 2, 2))
        .unwrap();
    let links = network.sites[0].links.clone();
    network.set_links(0, links[..1].to_vec());
    network.run_for(secs(30));
    assert_eq!(ivcs(&network, 0, 1).len(), 1);
    network.set_links(0, links);
    assert!(
        network
            .run_until(secs(5), |network| is_complete(network, 2, 2))
            .is_some()
    );
}

#[test]
fn links_that_the_responder_gains_are_used() {
    let mut network = pair(7, 1, 1);
    network
        .run_until(secs(5), |network| is_complete(network, 1, 1))
        .unwrap();
    let mut links = network.sites[1].links.clone();
    links.push(own_link(1, Ipv4Addr::new(192, 0, 1, 77)));
    network.set_links(1, links);
    assert!(
        network
            .run_until(secs(5), |network| is_complete(network, 1, 2))
            .is_some()
    );
}

#[test]
fn a_black_hole_on_the_first_path_costs_a_moment_only() {
    let mut network = pair(8, 2, 2);
    network
        .blocked
        .insert((Ipv4Addr::new(192, 0, 0, 1), Ipv4Addr::new(192, 0, 1, 1)));
    let first = network
        .run_until(secs(5), |network| network.packets_pass(0, 1))
        .unwrap();
    assert!(first < secs(1), "{first:?}");
}

#[test]
fn either_side_may_forget_everything() {
    for side in [0, 1] {
        let mut network = pair(9, 2, 2);
        network
            .run_until(secs(5), |network| is_complete(network, 2, 2))
            .unwrap();
        network.restart(side);
        network.sites[side].kernel.clear();
        network.run_for(secs(40));
        match side {
            0 => network.add_initiator(0, 1),
            _ => network.add_responder(1, 0),
        }
        let back = network.run_until(secs(30), |network| is_complete(network, 2, 2));
        println!("side {side}: back after {:?}", back.unwrap());
    }
}

#[test]
fn a_new_daemon_goes_on_where_the_old_one_was() {
    for side in [0, 1] {
        let mut network = pair(12, 3, 2);
        network
            .run_until(secs(5), |network| is_complete(network, 3, 2))
            .unwrap();
        let before = network.agreed(side, 1 - side).unwrap();
        network.replace(side, 1 - side, side == 0);
        let mut always = true;
        let renewed = network.run_until(secs(30), |network| {
            let now = network.agreed(side, 1 - side).unwrap();
            always &= network.packets_pass(0, 1) && now.ivcs.len() == 3;
            now.outbound.last() != before.outbound.last() && is_complete(network, 3, 2)
        });
        println!("side {side}: renewed after {:?}", renewed.unwrap());
        assert!(always);
        let after = network.agreed(side, 1 - side).unwrap();
        assert_eq!(
            (after.svc, after.local, after.remote),
            (before.svc, before.local, before.remote)
        );
    }
}

#[test]
fn the_unknown_and_the_unwelcome_stay_out() {
    let mut network = Network::new(10);
    network.add_site(&addresses(0, 1));
    network.add_site(&addresses(1, 1));
    network.add_initiator(0, 1);
    network.run_for(secs(60));
    assert!(network.agreed(0, 1).is_none());

    let mut claims_too_much = network.profile(1, 0);
    claims_too_much.remote = vec!["172.31.0.0/24".parse().unwrap()];
    let responder = crate::session::Responder::new(
        claims_too_much,
        5710,
        (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)),
    );
    network.sites[1]
        .sessions
        .add(Role::Responder(Box::new(responder)));
    let links = network.sites[1].links.clone();
    network.set_links(1, links);
    network.run_for(secs(60));
    assert!(network.agreed(0, 1).is_none() && network.agreed(1, 0).is_none());
    for site in [0, 1] {
        let notes = network.sites[site].notes.join("\n");
        assert!(
            notes.contains("172.16.0.0/24 is not among the subnets.remote"),
            "{notes}"
        );
    }
}

#[test]
fn a_hub_takes_two_hundred_sites() {
    let mut network = Network::new(11);
    let hub = network.add_site(&addresses(250, 2));
    for site in 0..200 {
        let number = network.add_site(&[[192, 1, site, 1], [192, 2, site, 1]]);
        network.join(number, hub);
    }
    let all = network.run_until(secs(30), |network| {
        (1..=200).all(|site| network.packets_pass(site, 0) && ivcs(network, site, 0).len() == 2)
    });
    println!("200 sites with two links each after {:?}", all.unwrap());
}

/// The same faults in each run: what fails once in many runs is looked for with another seed, not in everyone's way.
fn faults() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: 48,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..Default::default()
    }
}

proptest::proptest! {
    #![proptest_config(faults())]

    /// Whatever happens for a while, the tunnel is whole again some time after it stops.
    #[test]
    fn faults_heal(seed: u64, faults in proptest::collection::vec((0_u8..6, 0_usize..2, 0_usize..3, 1_u64..8000), 1..12)) {
        let mut network = pair(seed, 3, 3);
        for (kind, side, link, pause) in faults {
            network.run_for(Duration::from_millis(pause));
            let here = network.sites[side].links.clone();
            match kind {
                0 => network.reset_connections(side),
                1 => {
                    let mut links = here.clone();
                    links.retain(|own| own.name != own_link(link, Ipv4Addr::LOCALHOST).name || links_left(&here) == 1);
                    network.set_links(side, links);
                }
                2 => {
                    let all = (0..3).map(|index| own_link(index, Ipv4Addr::new(192, 0, u8::try_from(side).unwrap(), u8::try_from(index + 1).unwrap())));
                    network.set_links(side, all.collect());
                }
                3 => {
                    let pair = (Ipv4Addr::new(192, 0, 0, u8::try_from(link + 1).unwrap()), Ipv4Addr::new(192, 0, 1, u8::try_from(side + 1).unwrap()));
                    network.blocked.insert(pair);
                }
                4 => {
                    let gone = own_link(link, Ipv4Addr::LOCALHOST).name;
                    let mut links = here.clone();
                    links.retain(|own| own.name != gone || links_left(&here) == 1);
                    network.set_links(side, links);
                    let now = network.now;
                    network.sites[side].sessions.retire(None, &gone, now);
                    network.act(side);
                }
                _ => {
                    let now = network.now;
                    network.sites[0].sessions.renew(&name(1), now);
                }
            }
        }
        network.blocked.clear();
        for side in 0..2_u8 {
            let all = (0..3).map(|index| own_link(index, Ipv4Addr::new(192, 0, side, u8::try_from(index + 1).unwrap())));
            network.set_links(side.into(), all.collect());
        }
        // What was lost meanwhile may have been replaced by more than one IVC of a link that was left.
        let healed = network.run_until(secs(90), |network| is_whole(network, 3, 3));
        proptest::prop_assert!(healed.is_some(), "{:?}", network.sites[0].notes);
    }
}

fn links_left(links: &[crate::session::OwnLink]) -> usize {
    links.len()
}
