use withy_common::header::ESP;

use super::*;
use crate::{
    config::{Delay, Mss, SplitPolicy},
    esp::TAILROOM,
    reconcile::objects::Spi,
    suite::Suite,
};

/// Tunnel number `number` as one side sees it, with SAs of these SPIs.
fn tunnel(number: u8, turned: bool, spis: &[u32]) -> (TunnelName, Running) {
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
        endpoints: Endpoints {
            local: endpoint(here),
            remote: endpoint(there),
        },
        subnets: Subnets {
            local: subnet(here),
            remote: subnet(there),
        },
        ivcs: Vec::new(),
        split: SplitPolicy::Mtu,
        mss: Mss::Auto,
        queue: "1 ms".parse::<Delay>().unwrap(),
        suite: Suite::AesGcm128,
        outbound: sas(here),
        inbound: sas(there),
        replay_window: 64,
    };
    (format!("t{number}").parse().unwrap(), running)
}

fn packet(from: [u8; 2], to: [u8; 2]) -> Vec<u8> {
    vec![
        0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, from[0], from[1], 192, 168, to[0],
        to[1],
    ]
}

fn seal(outbound: &mut Outbound, packet: &[u8]) -> Result<(Vec<u8>, Ipv4Addr), Refused> {
    let mut buffer = [&[0; HEADROOM], packet, &[0; TAILROOM]].concat();
    let (length, endpoint) = outbound.seal(&mut buffer, packet.len())?;
    buffer.truncate(length);
    Ok((buffer, endpoint))
}

fn spi(sealed: &[u8]) -> u32 {
    assert_eq!(sealed[9], ESP);
    Opener::spi_of(sealed).unwrap()
}

#[test]
fn packets_find_their_tunnel_or_go_nowhere() {
    let mut outbound = Outbound::default();
    let running = [tunnel(1, false, &[0x1000]), tunnel(2, false, &[])].into();
    assert!(outbound.set(&running).is_empty());
    let (sealed, endpoint) = seal(&mut outbound, &packet([2, 1], [3, 15])).unwrap();
    assert_eq!((spi(&sealed), endpoint), (0x1000, [10, 255, 1, 1].into()));
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
        let before = outbound.refusals().of(expected);
        assert_eq!(seal(&mut outbound, &packet), Err(expected), "{what}");
        assert_eq!(outbound.refusals().of(expected), before + 1, "{what}");
    }
}

#[test]
fn new_keys_take_over_and_old_ones_still_open() {
    let (mut outbound, mut inbound) = (Outbound::default(), Inbound::default());
    let mut set = |outbound: &mut Outbound, spis: &[u32]| {
        assert!(outbound.set(&[tunnel(1, false, spis)].into()).is_empty());
        assert!(inbound.set(&[tunnel(1, true, spis)].into()).is_empty());
    };
    let data = packet([2, 1], [3, 1]);
    set(&mut outbound, &[0x1000]);
    let (first, _) = seal(&mut outbound, &data).unwrap();
    set(&mut outbound, &[0x1000, 0x2000]);
    let (second, _) = seal(&mut outbound, &data).unwrap();
    assert_eq!((spi(&first), spi(&second)), (0x1000, 0x2000));
    // The same SA goes on where it was: no sequence number and no nonce comes twice.
    set(&mut outbound, &[0x1000, 0x2000]);
    let (third, _) = seal(&mut outbound, &data).unwrap();
    assert_eq!(third[24..28], [0, 0, 0, 2]);
    for sealed in [&second, &first, &third] {
        let mut sealed = sealed.clone();
        let inner = inbound.open(&mut sealed).unwrap();
        assert_eq!(sealed[inner], data);
    }
    assert_eq!(inbound.open(&mut first.clone()), Err(Refused::Replayed));
    inbound.set(&[tunnel(1, true, &[0x2000])].into());
    assert_eq!(inbound.open(&mut first.clone()), Err(Refused::UnknownSpi));
    let counted: Vec<_> = inbound
        .traffic()
        .map(|(spi, traffic)| (spi, traffic.packets))
        .collect();
    assert_eq!(counted, [(0x2000, 2)]);
}

#[test]
fn what_is_inside_must_be_of_the_tunnel() {
    let (mut outbound, mut inbound) = (Outbound::default(), Inbound::default());
    let (name, mut wide) = tunnel(1, false, &[0x1000]);
    wide.subnets.local = vec!["0.0.0.0/0".parse().unwrap()];
    wide.subnets.remote = vec!["0.0.0.0/0".parse().unwrap()];
    outbound.set(&[(name, wide)].into());
    inbound.set(&[tunnel(1, true, &[0x1000])].into());
    for (from, to) in [([9, 1], [3, 1]), ([2, 1], [9, 1]), ([3, 1], [2, 1])] {
        let (mut sealed, _) = seal(&mut outbound, &packet(from, to)).unwrap();
        assert_eq!(inbound.open(&mut sealed), Err(Refused::Selector));
    }
    assert_eq!(inbound.refusals().of(Refused::Selector), 3);
}

#[test]
fn a_suite_that_the_engine_does_not_have_is_reported() {
    let (name, mut running) = tunnel(1, false, &[0x1000]);
    let suite = Suite::AesCbc128HmacSha256;
    running.inbound[0].key = EspKey::new(suite, vec![1; 48]).unwrap();
    let failed = Inbound::default().set(&[(name.clone(), running)].into());
    assert_eq!(failed, [(name, Unusable::Suite(suite))]);
}
