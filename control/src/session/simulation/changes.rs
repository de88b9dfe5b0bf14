//! What operators change while tunnels run, and gateways that want what another one has.

use std::time::Duration;

use super::{
    network::{Network, name},
    tests::{is_complete, ivcs, pair, secs},
};
use crate::suite::Suite;

fn notes(network: &Network, at: usize) -> String {
    network.sites[at].notes.join("\n")
}

fn refusals(network: &Network, at: usize, reason: &str) -> u64 {
    let refusals = network.sites[at].sessions.refusals();
    refusals
        .iter()
        .find(|(name, _)| *name == reason)
        .map_or(0, |(_, count)| *count)
}

/// A tunnel with two links at each end that is up.
fn whole(seed: u64) -> Network {
    let mut network = pair(seed, 2, 2);
    network
        .run_until(secs(5), |network| is_complete(network, 2, 2))
        .unwrap();
    network
}

/// Runs for a while; returns whether packets passed all the time.
fn passes_for(network: &mut Network, time: Duration) -> bool {
    let end = network.now + time;
    let mut always = true;
    network.run_until(time, |network| {
        always &= network.packets_pass(0, 1);
        network.now >= end
    });
    always
}

#[test]
fn a_copy_of_a_gateway_gets_in_only_when_the_first_is_gone() {
    let mut network = whole(20);
    let copy = network.add_site(&[[192, 0, 9, 1]]);
    network.sites[copy].key = network.sites[0].key;
    network.add_initiator_as(copy, 1, network.profile(0, 1));
    assert!(passes_for(&mut network, secs(120)));
    assert!(network.agreed(copy, 1).is_none());
    assert!(refusals(&network, 1, "occupied") > 1);
    assert!(notes(&network, copy).contains("another gateway with the same key"));
    let (_, role) = network.sites[copy].sessions.tunnels().next().unwrap();
    assert!(role.trouble().unwrap().contains("the tunnel is in use"));

    for own in network.sites[0].links.clone() {
        for other in network.sites[1].links.clone() {
            network.blocked.insert((own.address, other.address));
        }
    }
    let taken = network.run_until(secs(30), |network| network.agreed(copy, 1).is_some());
    assert!(
        taken.is_some(),
        "{}\n{}",
        notes(&network, copy),
        notes(&network, 1)
    );
    println!("the copy is let in after {taken:?}");
}

#[test]
fn a_gateway_that_knows_nothing_any_more_is_let_in_at_once() {
    let mut network = whole(21);
    network.restart(0);
    network.sites[0].kernel.clear();
    network.add_initiator(0, 1);
    let back = network.run_until(secs(5), |network| network.packets_pass(0, 1));
    assert!(back.unwrap() < secs(1), "{back:?}");
}

#[test]
fn a_subnet_is_the_first_ones_until_it_leaves() {
    let mut network = Network::new(22);
    let hub = network.add_site(&[[192, 0, 1, 1]]);
    let shared = vec!["172.31.0.0/16".parse().unwrap()];
    for number in [1, 2] {
        let site = network.add_site(&[[192, 0, 1 + number, 1]]);
        let mut profile = network.profile(site, hub);
        profile.local = vec!["172.31.7.0/24".parse().unwrap()];
        network.add_initiator_as(site, hub, profile);
        let mut profile = network.profile(hub, site);
        profile.remote = shared.clone();
        network.add_responder_as(hub, site, profile);
        network.run_for(secs(2));
    }
    network.run_for(secs(60));
    assert!(network.packets_pass(1, hub) && network.agreed(2, hub).is_none());
    assert!(refusals(&network, hub, "subnet_taken") > 1);
    assert!(notes(&network, hub).contains("172.31.7.0/24 belongs to tunnel to-1"));
    assert!(notes(&network, 2).contains("172.31.7.0/24 is, at least in part, another site's"));
    assert!(
        !notes(&network, 2).contains("to-1"),
        "it learns of the other site"
    );

    let now = network.now;
    network.sites[1].sessions.remove(&name(hub), "sold", now);
    network.act(1);
    let mine = network.run_until(secs(30), |network| network.packets_pass(2, hub));
    assert!(mine.is_some(), "{}", notes(&network, 2));
}

#[test]
fn a_link_that_is_taken_out_of_use_leaves_in_order() {
    for side in [0, 1] {
        let mut network = whole(23);
        let links = network.sites[side].links.clone();
        network.set_links(side, links[..1].to_vec());
        let now = network.now;
        network.sites[side]
            .sessions
            .retire(None, &links[1].name, now);
        network.run_for(secs(3));
        assert!(network.packets_pass(0, 1));
        let dropped = "it is taken out of use";
        assert!(notes(&network, side).contains(dropped));
        assert!(notes(&network, 1 - side).contains(dropped));
        let left = ivcs(&network, side, 1 - side);
        assert!(left.iter().all(|(link, _)| *link == links[0].name.as_str()));
        network.set_links(side, links);
        let back = network.run_until(secs(10), |network| is_complete(network, 2, 2));
        assert!(back.is_some(), "side {side}: {}", notes(&network, 0));
        assert!(network.packets_pass(0, 1));
    }
}

/// Whoever takes a link out of use and back at once.
#[test]
fn a_link_that_leaves_is_not_said_to_work() {
    for side in [0, 1] {
        let mut network = whole(26);
        let link = network.sites[side].links[1].name.clone();
        let agreed = network.agreed(side, 1 - side).unwrap();
        let leaving = agreed.ivcs.iter().find(|ivc| ivc.link == link).unwrap();
        let (number, remote) = (leaving.number, leaving.remote);
        let now = network.now;
        let sessions = &mut network.sites[side].sessions;
        sessions.retire(None, &link, now);
        for up in [false, true] {
            sessions.link_state(&name(1 - side), (&link, remote), up, now);
        }
        network.act(side);
        let uses = |network: &Network| {
            let agreed = network.agreed(1 - side, side).unwrap();
            let mut ivcs = agreed.ivcs.into_iter();
            ivcs.any(|ivc| ivc.number == number && !ivc.impaired)
        };
        network.run_for(Duration::from_millis(500));
        let again = network.run_until(secs(5), uses);
        assert!(again.is_none(), "side {side}: {}", notes(&network, side));
    }
}

/// Whether a side uses an IVC that the other is about to drop.
fn uses_what_leaves(network: &Network, side: usize) -> bool {
    let (Some(here), Some(there)) = (
        network.agreed(side, 1 - side),
        network.agreed(1 - side, side),
    ) else {
        return false;
    };
    let leaves = |number| {
        let mut ivcs = there.ivcs.iter();
        ivcs.any(|ivc| ivc.number == number && ivc.impaired)
    };
    here.ivcs
        .iter()
        .any(|ivc| leaves(ivc.number) && !ivc.impaired)
}

/// Also of IVCs that have become needless when a link is back.
#[test]
fn nobody_uses_what_the_other_side_is_about_to_drop() {
    for side in [0, 1] {
        let mut network = whole(28);
        let links = network.sites[side].links.clone();
        let rounds = [links[..1].to_vec(), links.clone()];
        for links in rounds.iter().cycle().take(6) {
            if links.len() < 2 {
                let now = network.now;
                let link = &rounds[1][1].name;
                network.sites[side].sessions.retire(None, link, now);
            }
            network.set_links(side, links.clone());
            for _ in 0..60 {
                for user in [0, 1] {
                    let late = |network: &Network| !uses_what_leaves(network, user);
                    let learns = network.run_until(Duration::from_millis(500), late);
                    assert!(
                        learns.is_some(),
                        "side {user} uses what leaves: {:#?}",
                        network.agreed(user, 1 - user)
                    );
                }
                network.run_for(Duration::from_millis(100));
            }
        }
    }
}

#[test]
fn whoever_leaves_says_so() {
    for side in [0, 1] {
        let mut network = whole(24);
        let now = network.now;
        network.sites[side]
            .sessions
            .remove(&name(1 - side), "it is taken down", now);
        network.act(side);
        network.run_for(Duration::from_millis(100));
        assert!(network.agreed(1 - side, side).is_none());
        assert!(notes(&network, 1 - side).contains("it is taken down"));
    }
}

#[test]
fn another_suite_is_agreed_without_a_pause() {
    let mut network = whole(25);
    let svc = network.agreed(0, 1).unwrap().svc;
    let mut profile = network.profile(0, 1);
    profile.suites = vec![Suite::ChaCha20Poly1305];
    let (now, target) = (network.now, network.target(1));
    network.sites[0].sessions.update(profile, Some(target), now);
    network.act(0);
    assert!(passes_for(&mut network, secs(10)));
    for (at, peer) in [(0, 1), (1, 0)] {
        let agreed = network.agreed(at, peer).unwrap();
        assert_eq!((agreed.svc, agreed.suite), (svc, Suite::ChaCha20Poly1305));
    }
    assert!(is_complete(&network, 2, 2));
}

#[test]
fn either_side_may_ask_for_keys() {
    let mut network = whole(27);
    let before = network.agreed(0, 1).unwrap().outbound;
    let now = network.now;
    assert!(network.sites[1].sessions.renew(&name(0), now));
    network.act(1);
    assert!(passes_for(&mut network, secs(10)));
    assert_ne!(network.agreed(0, 1).unwrap().outbound, before);
}

#[test]
fn suites_that_change_at_both_sides_are_agreed_without_a_pause() {
    for first in [0, 1] {
        let mut network = whole(28);
        for at in [first, 1 - first] {
            let mut profile = network.profile(at, 1 - at);
            profile.suites = vec![Suite::AesGcm128];
            let (now, target) = (network.now, network.target(1));
            network.sites[at]
                .sessions
                .update(profile, Some(target), now);
            network.act(at);
            assert!(passes_for(&mut network, secs(2)), "first {first}");
        }
        assert!(passes_for(&mut network, secs(30)), "first {first}");
        assert_eq!(network.agreed(0, 1).unwrap().suite, Suite::AesGcm128);
    }
}

#[test]
fn a_responder_that_allows_less_ends_what_is_more() {
    let mut network = whole(26);
    let now = network.now;
    let mut profile = network.profile(1, 0);
    profile.rekey_bytes /= 2;
    network.sites[1].sessions.update(profile.clone(), None, now);
    network.act(1);
    assert!(passes_for(&mut network, secs(1)));

    profile.remote = vec!["172.16.0.0/25".parse().unwrap()];
    let now = network.now;
    network.sites[1].sessions.update(profile.clone(), None, now);
    network.act(1);
    network.run_for(secs(60));
    assert!(network.agreed(0, 1).is_none() && network.agreed(1, 0).is_none());
    let trouble = |network: &Network, at: usize| {
        let (_, role) = network.sites[at].sessions.tunnels().next().unwrap();
        role.trouble().map(str::to_owned)
    };
    for side in [0, 1] {
        let trouble = trouble(&network, side).unwrap();
        assert!(trouble.contains("172.16.0.0/24"), "{trouble}");
    }

    profile.remote = vec!["172.16.0.0/16".parse().unwrap()];
    let now = network.now;
    network.sites[1].sessions.update(profile, None, now);
    network.act(1);
    let back = network.run_until(secs(30), |network| is_complete(network, 2, 2));
    assert!(back.is_some());
    assert_eq!((trouble(&network, 0), trouble(&network, 1)), (None, None));
}
