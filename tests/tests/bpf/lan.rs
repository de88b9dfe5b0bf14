//! `lan_in` and `lan_out`: the MSS of connections through a tunnel.

use std::net::Ipv4Addr;

use etherparse::{PacketHeaders, TransportHeader};
use withy_common::maps::{Split, Subnet};

use crate::{
    packets::tcp,
    rig::{NEXT, Rig},
};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 9);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

/// A remote subnet without classes.
const CLAMPED: Subnet = Subnet {
    mss: 1406,
    classes: Subnet::NO_CLASSES,
};

/// The options of a Linux SYN with the given MSS.
fn options(mss: u16) -> Vec<u8> {
    let mss = mss.to_be_bytes();
    vec![
        2, 4, mss[0], mss[1], 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ]
}

#[test]
fn clamps_syns_of_remote_subnets_in_both_directions() {
    let mut rig = Rig::new(&[], Split::Mtu);
    rig.tables
        .set_subnets(&[("192.168.2.0/24".parse().unwrap(), CLAMPED)])
        .unwrap();
    let cases = [
        (
            "from a host",
            "lan_in",
            tcp(HOST, REMOTE, true, &options(1460)),
            1406,
        ),
        (
            "to a host",
            "lan_out",
            tcp(REMOTE, HOST, true, &options(1460)),
            1406,
        ),
        (
            "already small enough",
            "lan_in",
            tcp(HOST, REMOTE, true, &options(1200)),
            1200,
        ),
        (
            "to elsewhere",
            "lan_in",
            tcp(HOST, ELSEWHERE, true, &options(1460)),
            1460,
        ),
        (
            "wrong side",
            "lan_out",
            tcp(HOST, REMOTE, true, &options(1460)),
            1460,
        ),
        (
            "not a SYN",
            "lan_in",
            tcp(HOST, REMOTE, false, &options(1460)),
            1460,
        ),
    ];
    for (name, program, packet, expected) in cases {
        let outcome = rig.run(program, &packet);
        assert_eq!(outcome.verdict, NEXT, "{name}");
        let parsed = PacketHeaders::from_ethernet_slice(&outcome.packet).unwrap();
        let Some(TransportHeader::Tcp(header)) = parsed.transport else {
            panic!("{name}: no TCP header");
        };
        let options = header.options.as_slice();
        assert_eq!(
            u16::from_be_bytes([options[2], options[3]]),
            expected,
            "{name}"
        );
        let (source, destination) = if program == "lan_in" {
            (HOST, REMOTE)
        } else {
            (REMOTE, HOST)
        };
        if name.contains("host") {
            let checksum = header
                .calc_checksum_ipv4_raw(source.octets(), destination.octets(), &[])
                .unwrap();
            assert_eq!(header.checksum, checksum, "{name}");
        }
    }
}

#[test]
fn odd_options_are_left_alone() {
    let mut rig = Rig::new(&[], Split::Mtu);
    rig.tables
        .set_subnets(&[("192.168.2.0/24".parse().unwrap(), CLAMPED)])
        .unwrap();
    let cases: [&[u8]; 4] = [
        &[],
        &[1, 1, 1, 1],
        &[8, 1, 2, 4],
        &[2, 3, 5, 0xb4, 0, 0, 0, 0],
    ];
    for options in cases {
        let packet = tcp(HOST, REMOTE, true, options);
        let outcome = rig.run("lan_in", &packet);
        assert_eq!(
            (outcome.verdict, outcome.packet),
            (NEXT, packet),
            "{options:?}"
        );
    }
}

#[test]
fn subnets_that_left_are_no_longer_clamped() {
    let mut rig = Rig::new(&[], Split::Mtu);
    rig.tables
        .set_subnets(&[("192.168.2.0/24".parse().unwrap(), CLAMPED)])
        .unwrap();
    rig.tables
        .set_subnets(&[("192.168.3.0/24".parse().unwrap(), CLAMPED)])
        .unwrap();
    let packet = tcp(HOST, REMOTE, true, &options(1460));
    assert_eq!(rig.run("lan_in", &packet).packet, packet);
}
