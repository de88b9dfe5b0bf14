//! The pieces that leave as clones, seen on the wire.

use std::{net::Ipv4Addr, time::Duration};

use withy::dataplane::{Attachment, Hook};
use withy_common::maps::Split;
use withy_tests::{
    capture::CapturePlan,
    netns::{LinkPlan, Netns, VethEnd},
    wait::wait_until,
};

use crate::{
    packets::{ETHERNET, Frame},
    rig::{ENDPOINTS, REDIRECT, Rig, local, remote},
};

/// The link's ends.
const NEAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(crate) const LINK: &str = "lk0";
/// How long a frame may take to arrive.
const LIMIT: Duration = Duration::from_secs(5);

/// A link out of the namespace in which programs are run. Test runs happen on its loopback device:
/// clones leave there, meet the program again, and go on over the link.
pub(crate) fn link() -> (Netns, Netns) {
    let (near, far) = (Netns::new("near").unwrap(), Netns::new("far").unwrap());
    let mac = |number| [2, 0, 0, 0, 0, number];
    let end = |netns, number| VethEnd {
        netns,
        name: LINK,
        mac: mac(number),
    };
    Netns::join(end(&near, 1), end(&far, 2), LinkPlan { mtu: 1500 }).unwrap();
    near.add_address(LINK, NEAR, 24).unwrap();
    far.add_address(LINK, FAR, 24).unwrap();
    near.set_neighbour(LINK, FAR, mac(2)).unwrap();
    (near, far)
}

pub(crate) fn attach_to_loopback(rig: &mut Rig, netns: &Netns) {
    let attachment = Attachment {
        hook: Hook::BundleTx,
        interface: "lo".into(),
        ifindex: netns.link_index("lo").unwrap(),
    };
    let notes = std::env::temp_dir().join(format!("withy-test-{}-clsact", std::process::id()));
    let attached = netns
        .enter(|| Ok(rig.dataplane.attach(&[attachment], &notes)))
        .unwrap();
    for result in attached {
        result.unwrap();
    }
}

/// The piece of [`packet`] at `offset`, on IVC `slot`, from the IP header on.
fn piece(len: usize, slot: u8, (offset, payload): (u16, usize)) -> Vec<u8> {
    let mut frame = Frame::esp(local(slot), remote(slot), len)
        .identified(0)
        .fragment(offset, true);
    frame.payload = frame.payload[usize::from(offset)..][..payload].to_vec();
    frame.bytes().split_off(ETHERNET)
}

#[test]
fn clones_leave_as_pieces_of_their_own_length() {
    // Payload, and the offset and length of each piece but the last.
    let cases: [(usize, &[(u16, usize)]); 2] =
        [(1500, &[(0, 752)]), (2961, &[(0, 992), (992, 992)])];
    for (len, pieces) in cases {
        let (near, far) = link();
        let mut rig = Rig::new(&[(100_000_000, 1), (100_000_000, 1)], Split::Mtu);
        rig.lead_to(near.link_index(LINK).unwrap(), FAR);
        attach_to_loopback(&mut rig, &near);
        let capture = CapturePlan::new().keep(16).start(&far, LINK).unwrap();
        let packet = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, len).bytes();
        let outcome = near.enter(|| Ok(rig.run("bundle_tx", &packet))).unwrap();
        assert_eq!(outcome.verdict, REDIRECT, "{len}");
        let expected: Vec<_> = (0..)
            .zip(pieces)
            .map(|(slot, place)| piece(len, slot % 2, *place))
            .collect();
        let awaited = expected.len() as u64;
        wait_until(LIMIT, "the clones", || {
            Ok(far.counters(LINK)?.rx_packets >= awaited)
        })
        .unwrap();
        let seen = capture.finish().unwrap();
        let arrived: Vec<_> = seen
            .kept
            .into_iter()
            .filter(|frame| !frame.outgoing && frame.bytes[12..ETHERNET] == [8, 0])
            .map(|mut frame| frame.bytes.split_off(ETHERNET))
            .collect();
        assert_eq!(arrived, expected, "{len}");
        let tx = [0, 1].map(|slot| rig.tables.counters(slot).unwrap().tx.pieces);
        assert_eq!(tx.iter().sum::<u64>(), 1 + pieces.len() as u64, "{len}");
    }
}

/// A clone that never comes back, here for want of the program at the device, leaves nothing behind
/// that the next packet could be taken for.
#[test]
fn a_lost_clone_is_no_longer_awaited() {
    // So fast that both links are idle again for the second packet.
    let rig = Rig::new(&[(100_000_000_000, 1), (100_000_000_000, 1)], Split::Mtu);
    let netns = Netns::new("lossy").unwrap();
    let run = |len| {
        let packet = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, len).bytes();
        netns.enter(|| Ok(rig.run("bundle_tx", &packet))).unwrap()
    };
    assert_eq!(run(1500).verdict, REDIRECT);
    let whole = Frame::esp(local(0), remote(0), 200).identified(1).bytes();
    let next = run(200).packet;
    assert_eq!(
        next[ETHERNET..ETHERNET + 12],
        whole[ETHERNET..ETHERNET + 12]
    );
    assert_eq!(next.len(), whole.len());
}
