//! `bundle_tx`: departure through the bundle device.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Options};
use withy_common::maps::Split;

use crate::{
    packets::{Frame, parse},
    rig::{ENDPOINTS, REDIRECT, Rig, SHOT, local, remote},
};

fn outer(len: usize) -> Frame {
    Frame::esp(ENDPOINTS.0, ENDPOINTS.1, len)
}

/// ESP of `len` bytes behind the UDP header that the outbound SA puts there.
fn shimmed(len: usize, port: u16) -> Frame {
    let esp = outer(len).payload;
    let mut payload = Vec::new();
    for field in [port, port, u16::try_from(len + 8).unwrap(), 0] {
        payload.extend(field.to_be_bytes());
    }
    payload.extend(esp);
    Frame::new(ENDPOINTS.0, ENDPOINTS.1, IpNumber::UDP, payload)
}

#[test]
fn whole_packets_take_the_addresses_of_their_ivc() {
    for split in [Split::Mtu, Split::WholeOnly, Split::Always, Split::Idle] {
        let rig = Rig::new(&[(100_000_000, 1)], split);
        for (sequence, len) in [(0, 12), (1, 100), (2, 1480)] {
            let outcome = rig.run("bundle_tx", &outer(len).bytes());
            assert_eq!(outcome.verdict, REDIRECT, "{split:?} {len}");
            let expected = Frame::esp(local(0), remote(0), len)
                .identified(sequence)
                .bytes();
            assert_eq!(outcome.packet, expected, "{split:?} {len}");
        }
        assert_eq!(rig.tables.state(3).unwrap().sequence, 3);
    }
}

#[test]
fn the_udp_header_of_the_outbound_sa_is_taken_out() {
    let rig = Rig::new(&[(100_000_000, 1)], Split::Mtu);
    let outcome = rig.run("bundle_tx", &shimmed(1000, 4500).bytes());
    assert_eq!(outcome.verdict, REDIRECT);
    assert_eq!(
        outcome.packet,
        Frame::esp(local(0), remote(0), 1000).bytes()
    );
}

#[test]
fn what_cannot_leave_is_dropped_by_reason() {
    let stranger = Ipv4Addr::new(10, 255, 9, 9);
    let mut options = outer(64);
    options.header.options = Ipv4Options::from([1, 1, 1, 0]);
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let cases = [
        (
            "plaintext",
            Frame::new(ENDPOINTS.0, ENDPOINTS.1, IpNumber::TCP, vec![0; 40]).bytes(),
            "tx_not_esp",
        ),
        ("UDP that is no shim", shimmed(64, 53).bytes(), "tx_not_esp"),
        ("ARP", arp, "tx_not_esp"),
        (
            "to no endpoint",
            Frame::esp(ENDPOINTS.0, stranger, 64).bytes(),
            "tx_no_svc",
        ),
        (
            "from another endpoint",
            Frame::esp(stranger, ENDPOINTS.1, 64).bytes(),
            "tx_no_svc",
        ),
        (
            "a fragment",
            outer(64).fragment(0, true).bytes(),
            "tx_malformed",
        ),
        ("IP options", options.bytes(), "tx_malformed"),
        (
            "a shim with nothing behind",
            shimmed(0, 4500).bytes(),
            "tx_malformed",
        ),
    ];
    let rig = Rig::new(&[(100_000_000, 1)], Split::Mtu);
    for (name, packet, reason) in cases {
        let before = (rig.drops(reason), rig.all_drops());
        assert_eq!(rig.run("bundle_tx", &packet).verdict, SHOT, "{name}");
        assert_eq!(
            (rig.drops(reason), rig.all_drops()),
            (before.0 + 1, before.1 + 1),
            "{name}"
        );
    }
}

#[test]
fn packets_that_allow_it_are_marked_early_and_others_dropped() {
    let mut rig = Rig::new(&[(100_000_000, 1)], Split::Mtu);
    let mut svcs = rig.tables.svcs().unwrap();
    // So little that any queue is one.
    (svcs[0].1.early, svcs[0].1.calm_ns) = (u32::MAX, 0);
    rig.tables.set_svcs(&svcs).unwrap();
    assert_eq!(rig.run("bundle_tx", &outer(100).bytes()).verdict, SHOT);
    assert_eq!(rig.drops("tx_early"), 1);
    for ecn in [1, 2, 3] {
        let with = |ecn: u8| {
            let mut frame = Frame::esp(local(0), remote(0), 100).identified(u16::from(ecn) - 1);
            frame.header.ecn = etherparse::IpEcn::try_new(ecn).unwrap();
            frame
        };
        let mut packet = outer(100);
        packet.header.ecn = etherparse::IpEcn::try_new(ecn).unwrap();
        let outcome = rig.run("bundle_tx", &packet.bytes());
        assert_eq!(outcome.verdict, REDIRECT, "{ecn}");
        let mut expected = with(ecn);
        expected.header.ecn = etherparse::IpEcn::try_new(3).unwrap();
        assert_eq!(outcome.packet, expected.bytes(), "{ecn}");
    }
    assert_eq!(rig.all_drops(), 1);
}

#[test]
fn eight_pieces_are_the_most() {
    let rig = Rig::with_mtu(&[(100_000_000, 1)], Split::Mtu, 300);
    assert_eq!(
        rig.run("bundle_tx", &outer(8 * 280).bytes()).verdict,
        REDIRECT
    );
    assert_eq!(
        rig.run("bundle_tx", &outer(8 * 280 + 1).bytes()).verdict,
        SHOT
    );
    assert_eq!(rig.drops("tx_too_big"), 1);
}

#[test]
fn whole_only_never_splits() {
    let rig = Rig::new(&[(100_000_000, 1)], Split::WholeOnly);
    assert_eq!(rig.run("bundle_tx", &outer(1481).bytes()).verdict, SHOT);
    assert_eq!(rig.drops("tx_too_big"), 1);
}

#[test]
fn a_tunnel_without_ivc_drops() {
    let rig = Rig::new(&[], Split::Mtu);
    assert_eq!(rig.run("bundle_tx", &outer(64).bytes()).verdict, SHOT);
    assert_eq!(rig.drops("tx_no_ivc"), 1);
}

/// The last piece is what remains of the packet; `clones` looks at the others.
#[test]
fn the_last_piece_has_the_rest_of_the_bytes() {
    for (len, last_offset) in [(1500, 752), (2960, 1480), (2961, 1984), (3400, 2272)] {
        let rig = Rig::new(&[(100_000_000, 1), (100_000_000, 1)], Split::Mtu);
        let packet = outer(len).bytes();
        let outcome = rig.run("bundle_tx", &packet);
        assert_eq!(outcome.verdict, REDIRECT, "{len}");
        let (header, payload) = parse(&outcome.packet);
        assert_eq!(header.fragment_offset.byte_offset(), last_offset, "{len}");
        assert!(!header.more_fragments, "{len}");
        assert_eq!(
            payload,
            &parse(&packet).1[usize::from(last_offset)..],
            "{len}"
        );
    }
}

#[test]
fn links_share_by_rate_and_the_virtual_queue_is_bounded() {
    let rig = Rig::new(&[(3_000_000, 5), (1_000_000, 5)], Split::Mtu);
    let mut sent = 0;
    while rig.drops("tx_queue_full") == 0 {
        rig.run("bundle_tx", &outer(1466).bytes());
        sent += 1;
        assert!(sent < 1000, "no packet is ever refused");
    }
    let bytes = |index| rig.tables.counters(index).unwrap().tx.bytes;
    let share = f64::from(u32::try_from(bytes(0)).unwrap())
        / f64::from(u32::try_from(bytes(0) + bytes(1)).unwrap());
    assert!(
        (0.68..0.82).contains(&share),
        "the link of 3 in 4 Mbit/s carried {share}"
    );
}
