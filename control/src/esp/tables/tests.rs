use withy_common::{checksum, header::ESP, label::Label};

use super::*;
use crate::{
    config::{Class, Takes, TrafficPolicy},
    esp::{HEADROOM, TAILROOM},
    reconcile::objects::Spi,
    suite::Suite,
};

/// Tunnel number `number` as one side sees it, with SAs of these SPIs.
pub(crate) fn tunnel(number: u8, turned: bool, spis: &[u32]) -> (TunnelName, Running) {
    let endpoint = |side| Ipv4Addr::new(10, 255, number, side);
    let subnet = |side: u8| {
        vec![
            format!("192.168.{}.0/28", number * 2 + side)
                .parse()
                .unwrap(),
        ]
    };
    let (here, there) = if turned { (1, 0) } else { (0, 1) };
    let sas = |side: u8| -> Vec<RunningSa> {
        let sa = |spi: &u32| RunningSa {
            spi: Spi::new(spi + u32::from(side)).unwrap(),
            key: EspKey::new(Suite::AesGcm128, vec![spi.to_be_bytes()[3] ^ side; 20]).unwrap(),
        };
        spis.iter().map(sa).collect()
    };
    let running = Running {
        subnets: Subnets {
            local: subnet(here),
            remote: subnet(there),
        },
        outbound: sas(here),
        inbound: sas(there),
        ..Running::bare(endpoint(here), endpoint(there))
    };
    (format!("t{number}").parse().unwrap(), running)
}

fn packet(from: [u8; 2], to: [u8; 2]) -> Vec<u8> {
    vec![
        0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, from[0], from[1], 192, 168, to[0],
        to[1],
    ]
}

fn seal(outbound: &Outbound, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut buffer = [&[0; HEADROOM], packet, &[0; TAILROOM]].concat();
    let (sealer, label) = outbound.find(packet, packet.len())?;
    let length = sealer.seal(&mut buffer, packet.len())?;
    Sealer::label(&mut buffer, label);
    buffer.truncate(length);
    Ok(buffer)
}

fn spi(sealed: &[u8]) -> u32 {
    assert_eq!(sealed[9], ESP);
    Opener::spi_of(sealed).unwrap()
}

#[test]
fn packets_find_their_tunnel_or_go_nowhere() {
    let running = [tunnel(1, false, &[0x1000]), tunnel(2, false, &[])].into();
    let (outbound, failed) = Outbound::default().follow(&running);
    assert!(failed.is_empty());
    let sealed = seal(&outbound, &packet([2, 1], [3, 15])).unwrap();
    assert_eq!(spi(&sealed), 0x1000);
    assert_eq!(sealed[16..20], [10, 255, 1, 1]);
    let cases = [
        (
            "behind the subnet",
            packet([2, 1], [3, 16]),
            Refused::NoTunnel,
        ),
        (
            "before all subnets",
            packet([2, 1], [1, 1]),
            Refused::NoTunnel,
        ),
        ("from elsewhere", packet([9, 1], [3, 1]), Refused::Selector),
        ("no SA yet", packet([4, 1], [5, 1]), Refused::NoSa),
        ("no packet", vec![0; 20], Refused::NotIp),
        (
            "IPv6",
            [&[0x60, 0, 0, 0, 0, 0, 59, 1][..], &[0; 32]].concat(),
            Refused::NoTunnel,
        ),
    ];
    for (what, packet, expected) in cases {
        assert_eq!(seal(&outbound, &packet), Err(expected), "{what}");
    }
}

#[test]
fn new_keys_take_over_and_old_ones_still_open() {
    let (mut outbound, mut inbound) = (Outbound::default(), Inbound::default());
    let mut follow = |outbound: &mut Outbound, spis: &[u32]| {
        let failed;
        (*outbound, failed) = outbound.follow(&[tunnel(1, false, spis)].into());
        assert!(failed.is_empty());
        inbound = inbound.follow(&[tunnel(1, true, spis)].into()).0;
    };
    let data = packet([2, 1], [3, 1]);
    follow(&mut outbound, &[0x1000]);
    let first = seal(&outbound, &data).unwrap();
    follow(&mut outbound, &[0x1000, 0x2000]);
    let second = seal(&outbound, &data).unwrap();
    assert_eq!((spi(&first), spi(&second)), (0x1000, 0x2000));
    // The same SA goes on where it was: no sequence number and no nonce comes twice.
    follow(&mut outbound, &[0x1000, 0x2000]);
    let third = seal(&outbound, &data).unwrap();
    assert_eq!(third[24..28], [0, 0, 0, 2]);
    for sealed in [&second, &first, &third] {
        let mut sealed = sealed.clone();
        let opened = inbound.open(&mut sealed).unwrap();
        let Content::Packet(inner) = opened.content else {
            panic!("{opened:?}")
        };
        assert_eq!(sealed[inner], data);
    }
    assert_eq!(inbound.open(&mut first.clone()), Err(Refused::Replayed));
    // What engines tell each other goes by the SA in use.
    let remote = Ipv4Addr::new(10, 255, 1, 1);
    assert_eq!(outbound.towards(remote).map(Sealer::sequence), Some(2));
    assert!(outbound.towards(Ipv4Addr::new(10, 255, 1, 0)).is_none());
    assert_eq!(inbound.remote(0x1000), Some(Ipv4Addr::new(10, 255, 1, 0)));
    assert!(outbound.has(0x1000) && !outbound.has(0x1001));
    let (later, _) = inbound.follow(&[tunnel(1, true, &[0x2000])].into());
    assert_eq!(later.open(&mut first.clone()), Err(Refused::UnknownSpi));
    assert_eq!(
        later.traffic(0x2000).map(|traffic| traffic.packets),
        Some(2)
    );
    assert_eq!(later.traffic(0x1000), None);
    assert_eq!(
        outbound.traffic(0x1000).map(|traffic| traffic.bytes),
        Some(20)
    );
}

#[test]
fn what_is_inside_must_be_of_the_tunnel() {
    let (name, mut wide) = tunnel(1, false, &[0x1000]);
    wide.subnets.local = vec!["0.0.0.0/0".parse().unwrap()];
    wide.subnets.remote = vec!["0.0.0.0/0".parse().unwrap()];
    let (outbound, _) = Outbound::default().follow(&[(name, wide)].into());
    let (inbound, _) = Inbound::default().follow(&[tunnel(1, true, &[0x1000])].into());
    for (from, to) in [([9, 1], [3, 1]), ([2, 1], [9, 1]), ([3, 1], [2, 1])] {
        let mut sealed = seal(&outbound, &packet(from, to)).unwrap();
        assert_eq!(inbound.open(&mut sealed), Err(Refused::Selector));
    }
}

/// Calls are copied, and flows of TCP stay on one IVC.
fn with_classes((name, mut running): (TunnelName, Running)) -> (TunnelName, Running) {
    let class = |takes, policy| Class { takes, policy };
    let calls = Takes {
        dscp: vec!["ef".parse().unwrap()],
        ..Takes::default()
    };
    let tcp = Takes {
        protocol: vec!["tcp".parse().unwrap()],
        ports: vec!["443".parse().unwrap()],
        ..Takes::default()
    };
    running.classes = vec![
        class(calls, TrafficPolicy::Redundant),
        class(tcp, TrafficPolicy::Sticky),
    ];
    (name, running)
}

/// A segment between ports.
fn segment(ports: [u16; 2]) -> Vec<u8> {
    let mut packet = packet([2, 1], [3, 1]);
    (packet[3], packet[9]) = (40, 6);
    packet.extend(ports.map(u16::to_be_bytes).concat());
    packet.resize(40, 0);
    packet
}

#[test]
fn sealed_packets_say_what_they_are_taken_for() {
    let (outbound, _) =
        Outbound::default().follow(&[with_classes(tunnel(1, false, &[0x1000]))].into());
    let label = |packet: &[u8]| {
        let sealed = seal(&outbound, packet).unwrap();
        let words: Vec<_> = sealed[..20]
            .chunks(2)
            .map(|word| u16::from_ne_bytes([word[0], word[1]]))
            .collect();
        assert!(checksum::holds(&words));
        Label::identified(u16::from_be_bytes([sealed[4], sealed[5]]))
    };
    let mut call = packet([2, 1], [3, 1]);
    call[1] = 46 << 2 | 1;
    assert_eq!(label(&call).class(), 1);
    assert_eq!(label(&packet([2, 1], [3, 1])).class(), 0);
    let (here, there) = (
        label(&segment([443, 50_000])),
        label(&segment([50_000, 443])),
    );
    assert_eq!((here.class(), there.class()), (2, 2));
    assert_eq!(label(&segment([50_000, 444])).class(), 0);
    // Only the first of a packet's fragments has ports.
    let mut fragment = segment([50_000, 443]);
    fragment[6] = 0x20;
    assert_eq!(label(&fragment).class(), 0);
    let flows: std::collections::BTreeSet<_> = (0..100)
        .map(|port| label(&segment([port, 443])).flow())
        .collect();
    assert!(flows.len() > 70, "{flows:?}");
}

#[test]
fn copies_are_counted_apart_and_bulk_alone_waits() {
    let (outbound, _) = Outbound::default().follow(&[tunnel(1, false, &[0x1000])].into());
    let (inbound, _) =
        Inbound::default().follow(&[with_classes(tunnel(1, true, &[0x1000]))].into());
    let mut call = packet([2, 1], [3, 1]);
    call[1] = 46 << 2;
    for (inner, waits) in [
        (call, false),
        (packet([2, 1], [3, 1]), true),
        (segment([9, 443]), false),
    ] {
        let mut sealed = seal(&outbound, &inner).unwrap();
        let mut copy = sealed.clone();
        assert_eq!(inbound.open(&mut sealed).unwrap().waits, waits);
        assert_eq!(inbound.open(&mut copy), Err(Refused::Copied));
    }
}

#[test]
fn a_suite_that_the_engine_does_not_have_is_reported() {
    let (name, mut running) = tunnel(1, false, &[0x1000]);
    let suite = Suite::AesCbc128HmacSha256;
    running.inbound[0].key = EspKey::new(suite, vec![1; 48]).unwrap();
    let (_, failed) = Inbound::default().follow(&[(name.clone(), running)].into());
    assert_eq!(failed, [(name, Unusable::Suite(suite))]);
}
