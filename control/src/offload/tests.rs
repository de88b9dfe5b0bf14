use proptest::prelude::*;
use withy_common::{
    checksum::{fold, sum_bytes},
    header::{TCP, UDP},
};

use super::*;

/// A flow's packet with room for options, checksums not made.
fn packet(protocol: u8, ports: [u8; 4], sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let transport: Vec<u8> = if protocol == TCP {
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let fixed = [0x80, flags, 1, 0, 0, 0, 0, 0];
        [
            &ports[..],
            &sequence.to_be_bytes(),
            &[0, 0, 0, 9],
            &fixed,
            &options,
        ]
        .concat()
    } else {
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        [&ports[..], &length, &[0, 0]].concat()
    };
    let total = u16::try_from(20 + transport.len() + payload.len()).unwrap();
    let [high, low] = total.to_be_bytes();
    let network = [
        0x45, 0xb8, high, low, 0xff, 0xfe, 0, 0, 63, protocol, 0, 0, 192, 168, 1, 7, 192, 168, 2, 9,
    ];
    [&network[..], &transport, payload].concat()
}

/// What the kernel would hand over: the super-packet with what stands before it.
fn super_packet(protocol: u8, segment: u16, flags: u8, payload: &[u8]) -> (Header, Vec<u8>) {
    let packet = packet(protocol, [1, 2, 3, 4], u32::MAX - 100, flags, payload);
    let transport = if protocol == TCP { 32 } else { 8 };
    let header = Header {
        kind: if protocol == TCP {
            Kind::Tcp
        } else {
            Kind::Udp
        },
        checksum: Some((20, if protocol == TCP { 16 } else { 6 })),
        headers: 20 + transport,
        segment,
    };
    (header, packet)
}

fn cut(header: &Header, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut packet = packet.to_vec();
    let cut = take(header, &mut packet).unwrap().unwrap();
    let write = |at| {
        let mut out = vec![0xee; 70_000];
        let length = cut.write(at, &mut out).unwrap();
        out.truncate(length);
        out
    };
    (0..cut.count()).map(write).collect()
}

/// The units that come of packets, as what is written to the device.
fn join(packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    let mut joiner = Joiner::new(packets.len());
    joiner.plan(packets, 0..packets.len());
    let written = |unit: &Unit| {
        let mut first = packets[unit.first()].clone();
        let pushes = unit.pushes(&packets[unit.last()]);
        let header = unit.finish(&mut first, pushes);
        for at in joiner.rest(unit) {
            first.extend(&packets[at][unit.headers()..]);
        }
        (header, first)
    };
    joiner.units().iter().map(written).collect()
}

fn holds(packet: &[u8]) -> bool {
    let network = fold(sum_bytes(&packet[..20])) == 0xffff;
    network
        && segment::Headers::read(packet)
            .unwrap()
            .checksum_holds(packet)
}

/// Without the fields that are made on the way.
fn bare(mut packet: Vec<u8>) -> Vec<u8> {
    let at = 20 + if packet[9] == TCP { 16 } else { 6 };
    packet[10..12].fill(0);
    packet[at..at + 2].fill(0);
    packet
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(TCP), Just(UDP)]
}

proptest! {
    #[test]
    fn what_is_cut_is_whole_and_right_and_joins_to_what_it_was(
        protocol in protocol(), segment in 1_u16..1_500, push in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
    ) {
        let payload = &payload[..payload.len().min(usize::from(segment) * 60)];
        let (header, packet) = super_packet(protocol, segment, if push { 0x18 } else { 0x10 }, payload);
        let packets = cut(&header, &packet);
        for (at, packet) in packets.iter().enumerate() {
            prop_assert!(holds(packet), "packet {at}");
            prop_assert!(at + 1 == packets.len() || packet.len() == usize::from(header.headers + segment));
        }
        let joined = join(&packets);
        prop_assert_eq!(joined.len(), 1);
        let (made, whole) = &joined[0];
        prop_assert_eq!(bare(whole.clone()), bare(packet.clone()));
        if packets.len() > 1 {
            prop_assert_eq!(*made, header);
            // Made by the kernel's rule, the checksum holds once the rest is added.
            prop_assert_eq!(cut(made, whole), packets);
        }
        prop_assert_eq!(Header::read(&made.bytes()), Ok(*made));
    }

    #[test]
    fn flows_stay_in_order_and_nothing_is_lost(
        flows in prop::collection::vec((0_u8..4, 1_usize..200, any::<bool>()), 1..60),
    ) {
        let mut sent = [0_u32; 4];
        let packets: Vec<_> = flows.iter().map(|(flow, length, push)| {
            let payload = vec![*flow; *length];
            let number = usize::from(*flow);
            let flags = if *push { 0x18 } else { 0x10 };
            let packet = packet(TCP, [0, *flow, 0, 1], sent[number], flags, &payload);
            sent[number] += u32::try_from(*length).unwrap();
            // As it comes: with its checksums.
            let header = Header { kind: Kind::Tcp, checksum: None, headers: 52, segment: 1_500 };
            cut(&header, &packet).remove(0)
        }).collect();
        let mut received = [0_u32; 4];
        for (header, whole) in join(&packets) {
            let flow = usize::from(whole[21]);
            let sequence = u32::from_be_bytes([whole[24], whole[25], whole[26], whole[27]]);
            prop_assert_eq!(sequence, received[flow]);
            let pieces = if header == Header::default() { vec![whole] } else { cut(&header, &whole) };
            for piece in pieces {
                prop_assert!(holds(&piece));
                received[flow] += u32::try_from(piece.len() - 52).unwrap();
            }
        }
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn any_bytes_are_cut_or_refused(
        kind in prop_oneof![Just(Kind::Packet), Just(Kind::Tcp), Just(Kind::Udp)],
        checksum in prop::option::of((any::<u16>(), any::<u16>())), segment in any::<u16>(),
        headers in any::<u16>(), mut bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = Header { kind, checksum, headers, segment };
        if let Ok(Some(cut)) = take(&header, &mut bytes) {
            for at in 0..cut.count() {
                prop_assert!(cut.write(at, &mut [0; 10]).is_none());
                prop_assert!(cut.write(at, &mut [0; 300]).is_some());
            }
        }
        let _any = kin(&bytes);
    }
}

type Change = fn(&mut Vec<u8>);

#[test]
fn what_does_not_follow_is_not_joined() {
    let (header, whole) = super_packet(TCP, 100, 0x10, &[7; 400]);
    let packets = cut(&header, &whole);
    assert_eq!(join(&packets).len(), 1);
    let repaired: [(&str, Change); 9] = [
        ("another service", |packet| packet[1] ^= 4),
        ("another time to live", |packet| packet[8] -= 1),
        ("a gap before it", |packet| packet[27] ^= 1),
        ("another acknowledgement", |packet| packet[31] ^= 1),
        ("another window", |packet| packet[35] ^= 1),
        ("the end of data", |packet| packet[33] |= flag_fin()),
        ("a reduced window", |packet| packet[33] |= 0x80),
        ("another timestamp", |packet| packet[47] ^= 1),
        ("another identification", |packet| packet[5] ^= 1),
    ];
    for (what, change) in repaired {
        let mut packets = packets.clone();
        change(&mut packets[2]);
        repair(&mut packets[2]);
        assert!(join(&packets).len() > 1, "{what}");
    }
    let mut damaged = packets.clone();
    damaged[2][60] ^= 1;
    assert_eq!(join(&damaged).len(), 3, "a wrong checksum stays wrong");
    let mut damaged = packets.clone();
    damaged[0][60] ^= 1;
    assert_eq!(join(&damaged).len(), 2, "also the first one's");
    let mut pushed = packets.clone();
    pushed[1][33] |= 8;
    repair(&mut pushed[1]);
    assert_eq!(join(&pushed).len(), 2, "what is pushed ends");
    let mut fragment = packets;
    fragment[2][6] = 0x20;
    assert_eq!(join(&fragment).len(), 3, "a fragment keeps its place");
}

fn flag_fin() -> u8 {
    1
}

/// Makes a packet's checksums anew.
fn repair(packet: &mut [u8]) {
    let headers = segment::Headers::read(packet).unwrap();
    let total = u16::try_from(headers.total).unwrap();
    let identification = segment::word(packet, 4);
    segment::write_network(packet, headers.network, total, identification);
    headers.write_checksum(packet);
    assert!(holds(packet));
}

#[test]
fn a_checksum_that_is_left_to_the_device_is_made() {
    let mut packet = packet(UDP, [1, 2, 3, 4], 0, 0, b"data!");
    let sum = fold(segment::pseudo_header(&packet, UDP, 13));
    packet[26..28].copy_from_slice(&sum.to_ne_bytes());
    let header = Header {
        checksum: Some((20, 6)),
        ..Header::default()
    };
    assert!(take(&header, &mut packet).unwrap().is_none());
    assert!(
        segment::Headers::read(&packet)
            .unwrap()
            .checksum_holds(&packet)
    );
    let beyond = Header {
        checksum: Some((20, 60)),
        ..Header::default()
    };
    assert_eq!(take(&beyond, &mut packet).err(), Some(Uncuttable));
}

#[test]
fn datagrams_without_a_checksum_stay_alone() {
    let (header, whole) = super_packet(UDP, 100, 0, &[7; 300]);
    let mut packets = cut(&header, &whole);
    packets[1][26..28].fill(0);
    // Nor does the third join one whose checksum nobody can look at.
    assert_eq!(join(&packets).len(), 3);
}

#[test]
fn headers_of_other_kinds_are_refused() {
    // UDP fragmentation offload, and TCP over IPv6.
    for kind in [3, 4] {
        let mut bytes = Header::default().bytes();
        bytes[1] = kind;
        assert_eq!(Header::read(&bytes), Err(Uncuttable));
    }
}

#[test]
fn flows_are_told_apart_by_ports_and_both_ways_of_a_fragment_are_alike() {
    let one = packet(TCP, [1, 2, 3, 4], 0, 0x10, b"");
    let other = packet(TCP, [1, 2, 3, 5], 0, 0x10, b"");
    let later = packet(TCP, [1, 2, 3, 4], 99, 0x18, b"more");
    assert_ne!(kin(&one).flow, kin(&other).flow);
    assert_eq!(kin(&one).flow, kin(&later).flow);
    assert_eq!(kin(&later).bytes, Some((99, 103)));
    let first = packet(TCP, [1, 2, 3, 4], u32::MAX, 0x03, b"");
    assert_eq!(kin(&first).bytes, Some((u32::MAX, 1)), "SYN and FIN count");
    assert_eq!(kin(&packet(UDP, [1, 2, 3, 4], 0, 0, b"x")).bytes, None);
    assert_eq!(kin(&[]), kin(&[0x45; 5]));
}
