//! `link_rx`: arrival on a link, at both hooks.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Header, Ipv4Options};
use withy_common::{keepalive, maps::Split};

use crate::{
    packets::{ETHERNET, Frame, parse},
    rig::{ENDPOINTS, NEXT, Rig, SHOT, local, remote},
};

/// The verdicts of XDP programs.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

fn piece(len: usize) -> Frame {
    Frame::esp(remote(0), local(0), len)
}

fn with(frame: Frame, change: impl FnOnce(&mut Ipv4Header)) -> Frame {
    let mut frame = frame;
    change(&mut frame.header);
    frame
}

fn flip(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0xff;
    bytes
}

fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

/// Description, packet in, reason of the drop or `None` where it passes re-addressed.
fn pieces() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let stranger = Ipv4Addr::new(203, 0, 113, 9);
    vec![
        ("whole packet", piece(1480).bytes(), None),
        (
            "TTL of 1: it has arrived",
            with(piece(64), |header| header.time_to_live = 1).bytes(),
            None,
        ),
        ("first fragment", piece(752).fragment(0, true).bytes(), None),
        ("last fragment", piece(3).fragment(752, false).bytes(), None),
        (
            "ECN marked on the way",
            with(piece(64), |header| header.ecn = etherparse::IpEcn::THREE).bytes(),
            None,
        ),
        (
            "unknown source",
            Frame::esp(stranger, local(0), 64).bytes(),
            Some("rx_no_ivc"),
        ),
        (
            "unknown destination",
            Frame::esp(remote(0), stranger, 64).bytes(),
            Some("rx_no_ivc"),
        ),
        (
            "addresses of two different IVCs",
            Frame::esp(remote(0), local(1), 64).bytes(),
            Some("rx_no_ivc"),
        ),
        (
            "forged fragment of no IVC",
            Frame::esp(stranger, local(0), 64).fragment(8, true).bytes(),
            Some("rx_no_ivc"),
        ),
        (
            "cut short on the way",
            cut(piece(200).bytes(), 150),
            Some("rx_truncated"),
        ),
        ("too short for ESP", piece(11).bytes(), Some("rx_truncated")),
        (
            "wrong checksum",
            flip(piece(64).bytes(), ETHERNET + 10),
            Some("rx_checksum"),
        ),
        (
            "altered TTL without its checksum",
            flip(piece(64).bytes(), ETHERNET + 8),
            Some("rx_checksum"),
        ),
        (
            "IP options",
            with(piece(64), |header| {
                header.options = Ipv4Options::from([1, 1, 1, 0]);
            })
            .bytes(),
            Some("rx_options"),
        ),
        (
            "middle fragment of odd length",
            piece(63).fragment(64, true).bytes(),
            Some("rx_bad_fragment"),
        ),
        (
            "empty fragment",
            piece(0).fragment(64, true).bytes(),
            Some("rx_bad_fragment"),
        ),
        (
            "beyond the largest IP packet",
            piece(64).fragment(65_528, false).bytes(),
            Some("rx_oversized"),
        ),
    ]
}

#[test]
fn pieces_are_readdressed_or_dropped_by_reason() {
    for (program, pass, drop) in [
        ("link_rx_tc", NEXT, SHOT),
        ("link_rx_xdp", XDP_PASS, XDP_DROP),
    ] {
        let rig = Rig::new(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
        for (name, packet, reason) in pieces() {
            let before = (rig.all_drops(), reason.map(|reason| rig.drops(reason)));
            let outcome = rig.run(program, &packet);
            if let Some(reason) = reason {
                assert_eq!(outcome.verdict, drop, "{program}: {name}");
                assert_eq!(
                    rig.drops(reason),
                    before.1.unwrap() + 1,
                    "{program}: {name}"
                );
                assert_eq!(rig.all_drops(), before.0 + 1, "{program}: {name}");
                continue;
            }
            assert_eq!(outcome.verdict, pass, "{program}: {name}");
            assert_eq!(rig.all_drops(), before.0, "{program}: {name}");
            let (sent, received) = (parse(&packet), parse(&outcome.packet));
            let mut expected = sent.0.clone();
            expected.source = ENDPOINTS.1.octets();
            // By which IVC it came: the first, but it counts from one.
            expected.time_to_live = 1;
            expected.destination = ENDPOINTS.0.octets();
            expected.header_checksum = expected.calc_header_checksum();
            assert_eq!(received, (expected, sent.1), "{program}: {name}");
        }
    }
}

#[test]
fn other_traffic_passes_untouched() {
    let rig = Rig::new(&[(1_000_000, 1)], Split::Mtu);
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut ipv6 = vec![0; 80];
    ipv6[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
    ipv6[20] = 50;
    let cases = [
        ("ARP", arp),
        ("ESP over IPv6", ipv6),
        (
            "UDP of an IVC's addresses",
            Frame::new(remote(0), local(0), IpNumber::UDP, vec![0; 30]).bytes(),
        ),
        (
            "TCP of others",
            Frame::new(remote(9), local(9), IpNumber::TCP, vec![0; 30]).bytes(),
        ),
    ];
    for (name, packet) in cases {
        for (program, pass) in [("link_rx_tc", NEXT), ("link_rx_xdp", XDP_PASS)] {
            let outcome = rig.run(program, &packet);
            assert_eq!(
                (outcome.verdict, &outcome.packet),
                (pass, &packet),
                "{program}: {name}"
            );
        }
    }
    assert_eq!(rig.all_drops(), 0);
}

/// A keepalive without padding, of bytes that nothing else has.
fn keepalive(padding: usize) -> Frame {
    let mut frame = Frame::esp(remote(1), local(1), 0);
    frame.payload = vec![7; keepalive::LEN];
    frame.payload[..4].copy_from_slice(&keepalive::SPI.to_be_bytes());
    frame.payload.resize(keepalive::LEN + padding, 0);
    frame
}

#[test]
fn keepalives_are_taken_out_for_the_controller() {
    let mut rig = Rig::new(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
    let (mut came, ..) = rig.tables.take_keepalives().unwrap();
    for (program, taken) in [("link_rx_tc", SHOT), ("link_rx_xdp", XDP_DROP)] {
        for padding in [0, 1, 700, 1400] {
            let frame = keepalive(padding);
            let fixed = frame.payload[..keepalive::LEN].to_vec();
            let name = format!("{program}, {padding} bytes of padding");
            assert_eq!(rig.run(program, &frame.bytes()).verdict, taken, "{name}");
            let came = came.take();
            assert_eq!(came.len(), 1, "{name}");
            let found = &came[0];
            assert_eq!((found.counters, found.bytes.to_vec()), (1, fixed), "{name}");
            assert_eq!(
                found.total as usize,
                20 + keepalive::LEN + padding,
                "{name}"
            );
            assert!(found.time > 0, "{name}");
        }
    }
    assert_eq!(
        (rig.all_drops(), rig.tables.counters(1).unwrap().rx.pieces),
        (0, 0)
    );
}

#[test]
fn what_is_no_keepalive_is_not_taken_for_one() {
    let mut rig = Rig::new(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
    let (mut came, ..) = rig.tables.take_keepalives().unwrap();
    let with_payload = |change: fn(&mut Vec<u8>)| {
        let mut frame = keepalive(0);
        change(&mut frame.payload);
        frame
    };
    let pass = [NEXT, XDP_PASS];
    let dropped = [SHOT, XDP_DROP];
    let cases = [
        (
            "another SPI",
            with_payload(|payload| payload[3] = 0x59).bytes(),
            pass,
        ),
        (
            "too short",
            with_payload(|payload| payload.truncate(keepalive::LEN - 1)).bytes(),
            pass,
        ),
        (
            "its first fragment",
            keepalive(800).fragment(0, true).bytes(),
            pass,
        ),
        (
            "a later fragment",
            keepalive(800).fragment(800, false).bytes(),
            pass,
        ),
        ("cut off", cut(keepalive(800).bytes(), 500), dropped),
        (
            "from elsewhere",
            with(keepalive(0), |header| header.source = [203, 0, 113, 9]).bytes(),
            dropped,
        ),
    ];
    for (name, packet, verdicts) in cases {
        for (program, verdict) in ["link_rx_tc", "link_rx_xdp"].into_iter().zip(verdicts) {
            assert_eq!(
                rig.run(program, &packet).verdict,
                verdict,
                "{program}: {name}"
            );
        }
        assert_eq!(came.take().len(), 0, "{name}");
    }
    assert_eq!((rig.drops("rx_truncated"), rig.drops("rx_no_ivc")), (2, 2));
}

#[test]
fn filler_counts_as_received_and_goes_no_further() {
    let rig = Rig::new(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
    let mut filler = keepalive(800);
    filler.payload[..4].copy_from_slice(&keepalive::FILLER.to_be_bytes());
    let length = 20 + filler.payload.len() as u64;
    for (program, taken) in [("link_rx_tc", SHOT), ("link_rx_xdp", XDP_DROP)] {
        assert_eq!(
            rig.run(program, &filler.clone().bytes()).verdict,
            taken,
            "{program}"
        );
    }
    let rx = rig.tables.counters(1).unwrap().rx;
    assert_eq!((rig.all_drops(), rx.pieces, rx.bytes), (0, 2, 2 * length));
    // Of a fragment nobody knows what the others are.
    let first = filler.fragment(0, true).bytes();
    assert_eq!(rig.run("link_rx_tc", &first).verdict, NEXT);
}

#[test]
fn counts_packets_pieces_and_bytes_by_ivc() {
    let rig = Rig::new(&[(1_000_000, 1), (1_000_000, 1)], Split::Mtu);
    let packets = [
        Frame::esp(remote(0), local(0), 100).bytes(),
        Frame::esp(remote(0), local(0), 96)
            .fragment(0, true)
            .bytes(),
        Frame::esp(remote(1), local(1), 4)
            .fragment(96, false)
            .bytes(),
    ];
    for packet in &packets {
        rig.run("link_rx_tc", packet);
        rig.run("link_rx_xdp", packet);
    }
    let rx = |index| rig.tables.counters(index).unwrap().rx;
    assert_eq!(
        (rx(0).packets, rx(0).pieces, rx(0).bytes),
        (4, 4, 2 * (120 + 116))
    );
    assert_eq!((rx(1).packets, rx(1).pieces, rx(1).bytes), (0, 2, 2 * 24));
}
