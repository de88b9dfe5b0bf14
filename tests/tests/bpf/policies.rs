//! What the classes of a tunnel do to packets: `lan_in` tells them apart, `bundle_tx` treats them so.

use std::{net::Ipv4Addr, time::Duration};

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use etherparse::IpNumber;
use rustix::time::{ClockId, clock_gettime};
use withy::{
    bundle::Steering,
    dataplane::Svcs,
    estimate::{Place, Places, Plan, Term},
};
use withy_common::{
    classes::{Classes, Match},
    label::{HASTE, Label, MARK_MASK, MARK_SHIFT, Policies, Policy},
    maps::{Split, Subnet, Svc},
};
use withy_tests::{capture::CapturePlan, wait::wait_until};

use crate::{
    clones::{FAR, LINK, attach_to_loopback, link},
    packets::{ETHERNET, Frame, parse},
    rig::{ENDPOINTS, NEXT, REDIRECT, Rig, SHOT, local},
};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 9);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// Bits of the mark that are others'.
const OTHERS: u32 = 0x0005_a5a5;
/// Where `struct __sk_buff` has the mark, and where the length of the segments of a super-packet.
const MARK: usize = 8;
const GSO_SIZE: usize = 176;
/// How long a frame may take to arrive.
const LIMIT: Duration = Duration::from_secs(5);

/// Calls, small packets, one protocol, and a service.
fn classes() -> Classes {
    let classes = [
        Match {
            dscp: vec![46, 40],
            ..Match::default()
        },
        Match {
            protocols: vec![17],
            sizes: Some((0, 100)),
            ..Match::default()
        },
        Match {
            protocols: vec![1],
            ..Match::default()
        },
        Match {
            ports: vec![(443, 443), (8000, 8999)],
            ..Match::default()
        },
    ];
    Classes::new(&classes).unwrap()
}

/// A datagram, or a segment.
fn packet(to: Ipv4Addr, protocol: IpNumber, ports: [u16; 2], length: usize) -> Frame {
    let mut payload = ports.map(u16::to_be_bytes).concat();
    payload.resize(length - 20, 0);
    if protocol == IpNumber::TCP {
        payload[12] = 8 << 4;
    }
    Frame::new(HOST, to, protocol, payload)
}

/// Runs a program on a packet with a context; returns the verdict and the mark.
fn run(rig: &Rig, name: &'static str, packet: &[u8], fields: &[(usize, u32)]) -> (u32, u32) {
    let mut context = [0; 192];
    for (at, value) in fields {
        context[*at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let (mut out, mut left) = (vec![0; 16_384], [0; 192]);
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    options.data_out = Some(&mut out);
    options.ctx_in = Some(&context);
    options.ctx_out = Some(&mut left);
    let program: &SchedClassifier = rig.dataplane.program(name).unwrap().try_into().unwrap();
    let result = program.test_run(options).unwrap();
    let mark = left[MARK..MARK + 4].try_into().unwrap();
    (result.return_value, u32::from_ne_bytes(mark))
}

#[test]
fn packets_of_the_private_network_are_told_apart() {
    let mut rig = Rig::new(&[], Split::Mtu);
    let subnet = Subnet {
        mss: Subnet::ANY_MSS,
        classes: 3,
    };
    rig.tables
        .set_subnets(&[("192.168.2.0/24".parse().unwrap(), subnet)])
        .unwrap();
    let (udp, tcp, icmp) = (IpNumber::UDP, IpNumber::TCP, IpNumber::ICMP);
    let mut call = packet(REMOTE, tcp, [1, 2], 200);
    call.header.dscp = etherparse::IpDscp::try_new(46).unwrap();
    let mut fragment = packet(REMOTE, tcp, [40_000, 443], 200);
    fragment = fragment.fragment(0, true);
    let cases = [
        ("a code point", call.clone(), 0, 1),
        ("a small datagram", packet(REMOTE, udp, [1, 2], 100), 0, 2),
        ("a larger one", packet(REMOTE, udp, [1, 2], 101), 0, 0),
        ("a protocol", packet(REMOTE, icmp, [0x0800, 0], 500), 0, 3),
        (
            "a port there",
            packet(REMOTE, tcp, [40_000, 443], 200),
            0,
            4,
        ),
        (
            "a port here",
            packet(REMOTE, tcp, [8999, 40_000], 200),
            0,
            4,
        ),
        ("no port", packet(REMOTE, tcp, [40_000, 9000], 200), 0, 0),
        ("a fragment's bytes are no ports", fragment, 0, 0),
        (
            "a protocol without ports",
            packet(REMOTE, IpNumber::from(99), [443, 443], 200),
            0,
            0,
        ),
        ("datagrams in one", packet(REMOTE, udp, [1, 2], 1000), 72, 2),
        (
            "larger ones in one",
            packet(REMOTE, udp, [1, 2], 1000),
            73,
            0,
        ),
    ];
    // Nothing has classes yet.
    let bytes = call.bytes();
    assert_eq!(
        run(&rig, "lan_in", &bytes, &[(MARK, OTHERS)]),
        (NEXT, OTHERS)
    );
    rig.tables.set_classes(&[(3, classes())]).unwrap();
    for (name, frame, segment, class) in cases {
        let fields = [(MARK, OTHERS | MARK_MASK), (GSO_SIZE, segment)];
        let (verdict, mark) = run(&rig, "lan_in", &frame.bytes(), &fields);
        assert_eq!(verdict, NEXT, "{name}");
        assert_eq!(Label::marked(mark).class(), class, "{name}");
        assert_eq!(mark & !MARK_MASK, OTHERS, "{name}");
    }
    let other = packet(ELSEWHERE, udp, [1, 2], 50).bytes();
    assert_eq!(
        run(&rig, "lan_in", &other, &[(MARK, OTHERS)]),
        (NEXT, OTHERS)
    );
    rig.tables.set_classes(&[]).unwrap();
    assert_eq!(
        run(&rig, "lan_in", &bytes, &[(MARK, OTHERS)]),
        (NEXT, OTHERS)
    );
}

#[test]
fn flows_have_numbers_of_their_own() {
    let mut rig = Rig::new(&[], Split::Mtu);
    let subnet = Subnet {
        mss: Subnet::ANY_MSS,
        classes: 3,
    };
    rig.tables
        .set_subnets(&[("192.168.2.0/24".parse().unwrap(), subnet)])
        .unwrap();
    rig.tables
        .set_classes(&[(3, Classes::new(&[]).unwrap())])
        .unwrap();
    let flow = |port, length| {
        let frame = packet(REMOTE, IpNumber::UDP, [port, 53], length);
        Label::marked(run(&rig, "lan_in", &frame.bytes(), &[]).1).flow()
    };
    let flows: std::collections::BTreeSet<_> = (0..100).map(|port| flow(port, 100)).collect();
    assert!(flows.len() > 70, "{flows:?}");
    assert!((0..100).all(|port| flow(port, 100) == flow(port, 900)));
}

/// A tunnel over `links` that has classes of all policies, in their order.
fn rig(links: &[(u64, u64)], change: impl Fn(&mut Svc)) -> Rig {
    let mut rig = Rig::new(links, Split::Mtu);
    let mut svcs = rig.tables.svcs().unwrap();
    let classes = [Policy::LowestLatency, Policy::Redundant, Policy::Sticky];
    svcs[0].1.policies = Policies::new(Policy::Aggregate, &classes);
    change(&mut svcs[0].1);
    rig.tables.set_svcs(&svcs).unwrap();
    rig
}

/// ESP as the kernel makes it, for a packet that has a label; returns the verdict, and the mark that is left.
fn kernel(rig: &Rig, label: Label, length: usize) -> (u32, u32) {
    let mut payload = [4500_u16, 4500, u16::try_from(length + 8).unwrap(), 0]
        .map(u16::to_be_bytes)
        .concat();
    payload.extend(Frame::esp(ENDPOINTS.0, ENDPOINTS.1, length).payload);
    let frame = Frame::new(ENDPOINTS.0, ENDPOINTS.1, IpNumber::UDP, payload);
    run(
        rig,
        "bundle_tx",
        &frame.bytes(),
        &[(MARK, label.mark(OTHERS))],
    )
}

/// ESP as Withy's own engine makes it; returns the slot by which it goes, if it goes.
fn own(rig: &Rig, label: Label, length: usize) -> Option<usize> {
    identified(rig, label.identification(), length)
}

fn identified(rig: &Rig, identification: u16, length: usize) -> Option<usize> {
    let frame = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, length).identified(identification);
    let outcome = rig.run("bundle_tx", &frame.bytes());
    (outcome.verdict == REDIRECT).then(|| {
        let source = parse(&outcome.packet).0.source;
        (0..8)
            .find(|slot| local(*slot).octets() == source)
            .unwrap()
            .into()
    })
}

/// How many packets each of three slots has sent.
fn sent(rig: &Rig) -> [u64; 3] {
    [0, 1, 2].map(|slot| rig.tables.counters(slot).unwrap().tx.packets)
}

#[test]
fn flows_stay_on_one_ivc_with_either_engine() {
    let links = [(20_000_000, 10), (10_000_000, 10), (10_000_000, 300)];
    let rig = rig(&links, |_| {});
    let mut of_slots = [0; 3];
    for flow in 0..256 {
        let label = Label::new(3, flow);
        let slot = own(&rig, label, 60).unwrap();
        of_slots[slot] += 1;
        for _ in 0..3 {
            assert_eq!(own(&rig, label, 60), Some(slot));
            let before = sent(&rig)[slot];
            assert_eq!(kernel(&rig, label, 60), (REDIRECT, OTHERS));
            assert_eq!(sent(&rig)[slot], before + 1, "flow {flow}");
        }
    }
    assert!(of_slots[0] > of_slots[1] + of_slots[2] - 40, "{of_slots:?}");
    assert!(of_slots[1].min(of_slots[2]) > 30, "{of_slots:?}");
}

/// Steers the tunnel; flows go by the IVCs in these slots.
fn steer(rig: &mut Rig, plan: &Plan<u32>, ways: &[(u8, u32)]) -> Svcs {
    let (_, _, svcs) = rig.tables.take_keepalives().unwrap();
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), 0);
    let ways = ways.iter().map(|(flow, slot)| (*flow, slot));
    let steering = Steering::new(plan, ways, now, |slot| Some(*slot));
    svcs.steer(ENDPOINTS.1, steering).unwrap();
    svcs
}

/// A link of 10 Mbit/s that is so much further away than the nearest, in milliseconds.
fn term(latency: u64, bonded: bool) -> Term {
    Term {
        rate: 10_000_000,
        latency: Duration::from_millis(latency),
        bonded,
        alone: Duration::from_millis(20),
        ..Term::default()
    }
}

/// The second link is too far away to be bonded with the first; flow 5 has it for itself.
#[test]
fn a_flow_that_goes_apart_leaves_the_others_alone() {
    let mut rig = rig(&[(10_000_000, 10), (10_000_000, 300)], |_| {});
    let place = Place {
        rate: None,
        lag: 0.29,
        random: 0.0,
    };
    let plan = Plan {
        horizon: Duration::from_millis(30),
        ivcs: [(0, term(0, true)), (1, term(290, false))].into(),
        places: Places {
            bonded: None,
            others: [(1, place)].into(),
        },
        ..Plan::default()
    };
    let svcs = steer(&mut rig, &plan, &[(5, 1)]);
    let send = |class, flow| {
        (0..100)
            .filter_map(|_| own(&rig, Label::new(class, flow), 1400))
            .collect::<Vec<_>>()
    };
    // 1.2 ms each: 30 ms of queue are 25 of them, and 20 ms 17.
    let others = send(0, 6);
    assert!(
        others.iter().all(|slot| *slot == 0) && (20..40).contains(&others.len()),
        "{others:?}"
    );
    let apart = send(0, 5);
    assert!(
        apart.iter().all(|slot| *slot == 1) && (15..30).contains(&apart.len()),
        "{apart:?}"
    );
    let counted = svcs.flows(ENDPOINTS.1).unwrap();
    assert_eq!(
        [5, 6, 7].map(|flow: usize| counted.0[flow]),
        [5, 6, 7].map(|flow| if flow == 7 { 0 } else { 100 * 1420 })
    );
    // What must not wait may go by any, and a flow's number counts only where it may.
    assert_eq!(own(&rig, Label::new(1, 5), 60), Some(0));
}

/// The first link is near, and not bonded with the second.
#[test]
fn what_engines_tell_each_other_goes_by_the_nearest_link_also_if_it_is_full() {
    let mut rig = rig(&[(10_000_000, 10), (10_000_000, 300)], |_| {});
    let full = |term| Term {
        most: Some(Duration::from_millis(5)),
        ..term
    };
    let plan = Plan {
        horizon: Duration::from_millis(320),
        ivcs: [(0, full(term(0, false))), (1, full(term(290, true)))].into(),
        places: Places {
            bonded: None,
            others: [(0, Place::default())].into(),
        },
        ..Plan::default()
    };
    let _svcs = steer(&mut rig, &plan, &[]);
    assert_eq!(own(&rig, Label::default(), 1400), Some(1));
    // 1.2 ms each.
    let told: Vec<_> = (0..100).map(|_| identified(&rig, HASTE, 1400)).collect();
    assert_eq!(told, [Some(0); 100]);
}

#[test]
fn bulk_leaves_room_for_what_must_not_wait() {
    let fill_with = |rig: &Rig, label| {
        let mut count = 0;
        while own(rig, label, 1400).is_some() {
            count += 1;
        }
        count
    };
    let fill = |rig: &Rig, class| fill_with(rig, Label::new(class, 0));
    // Links so slow that nothing drains meanwhile: 116 ms each. The queue may be a second behind the slower link.
    let links = [(100_000, 10), (100_000, 20)];
    let patient = |svc: &mut Svc| (svc.horizon_ns, svc.calm_ns) = (1_020_000_000, 1_020_000_000);
    let plain = rig(&links, patient);
    let count = fill(&plain, 0);
    assert!((16..20).contains(&count), "{count}");
    // Now flows keep to either; three packets on the nearer are the most, and what is queued on the other arrives as late as before.
    let urgent = rig(&links, patient);
    assert!(own(&urgent, Label::new(1, 0), 60).is_some());
    let count: Vec<_> = (0..8)
        .map(|flow| fill_with(&urgent, Label::new(0, flow)))
        .filter(|count| *count > 0)
        .collect();
    assert!(matches!(count[..], [3, 8 | 9] | [8 | 9, 3]), "{count:?}");
    assert!(urgent.drops("tx_queue_full") > 0);
    // And still there is room.
    assert!(own(&urgent, Label::new(1, 0), 60).is_some());
    assert!(fill(&urgent, 1) > 4);
}

#[test]
fn only_bulk_is_dropped_early() {
    let rig = rig(&[(100_000_000, 10)], |svc| {
        (svc.early, svc.calm_ns) = (u32::MAX, 0);
    });
    let dropped: Vec<_> = (0..4)
        .map(|class| own(&rig, Label::new(class, 0), 60).is_none())
        .collect();
    assert_eq!(dropped, [true, false, false, true]);
    assert_eq!(rig.drops("tx_early"), 2);
}

#[test]
fn what_finds_no_queue_is_not_dropped_early() {
    // A packet takes 116 ms, and 220 may wait: the second finds half of it.
    let rig = rig(&[(100_000, 10)], |svc| {
        (svc.early, svc.horizon_ns, svc.calm_ns) = (u32::MAX, 1_000_000_000, 230_000_000);
    });
    let bulk = || own(&rig, Label::new(0, 0), 1400).is_some();
    assert_eq!((bulk(), bulk()), (true, false));
    assert_eq!(rig.drops("tx_early"), 1);
}

#[test]
fn classes_that_there_are_not_and_marks_of_others_change_nothing() {
    let rig = rig(&[(100_000_000, 10), (100_000_000, 20)], |svc| {
        svc.policies = Policies::new(Policy::Aggregate, &[]);
    });
    for class in 0..16 {
        assert_eq!(own(&rig, Label::new(class, 77), 60), Some(0));
    }
    // Nobody has told these packets apart, so the mark is another's.
    let label = Label::new(7, 7);
    assert_eq!(kernel(&rig, label, 60), (REDIRECT, label.mark(OTHERS)));
    assert_eq!(MARK_MASK >> MARK_SHIFT, 0xfff);
}

/// Both copies are seen on the wire, cut or whole, with numbers of their own.
#[test]
fn copies_go_by_two_links() {
    for (length, pieces) in [(300, 1), (1500, 2)] {
        let (near, far) = link();
        let mut rig = rig(
            &[(100_000_000, 1), (100_000_000, 1), (100_000_000, 2)],
            |_| {},
        );
        rig.lead_to(near.link_index(LINK).unwrap(), FAR);
        attach_to_loopback(&mut rig, &near);
        let capture = CapturePlan::new().keep(16).start(&far, LINK).unwrap();
        let frame = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, length)
            .identified(Label::new(2, 5).identification());
        let outcome = near
            .enter(|| Ok(rig.run("bundle_tx", &frame.bytes())))
            .unwrap();
        assert_eq!(outcome.verdict, REDIRECT, "{length}");
        // All but the last piece of the original, which a test run does not send.
        let awaited = 2 * pieces - 1;
        wait_until(LIMIT, "the clones", || {
            Ok(far.counters(LINK)?.rx_packets >= awaited)
        })
        .unwrap();
        let seen = capture.finish().unwrap();
        let mut headers: Vec<_> = seen
            .kept
            .iter()
            .filter(|frame| !frame.outgoing && frame.bytes[12..ETHERNET] == [8, 0])
            .map(|frame| parse(&frame.bytes).0)
            .collect();
        headers.push(parse(&outcome.packet).0);
        let numbers: Vec<_> = headers.iter().map(|header| header.identification).collect();
        let sources: Vec<_> = headers.iter().map(|header| header.source).collect();
        let half = usize::try_from(pieces).unwrap();
        assert_eq!(numbers, [vec![0; half], vec![1; half]].concat(), "{length}");
        let [first, second] = [local(1), local(0)].map(|address| vec![address.octets(); half]);
        assert_eq!(sources, [first, second].concat(), "{length}");
        assert_eq!(sent(&rig), [1, 1, 0], "{length}");
        assert_eq!(rig.all_drops(), 0, "{length}");
    }
}

#[test]
fn a_copy_that_has_no_second_way_goes_once() {
    let rig = rig(&[(100_000_000, 1)], |_| {});
    assert_eq!(own(&rig, Label::new(2, 0), 60), Some(0));
    assert_eq!(sent(&rig), [1, 0, 0]);
    let none = self::rig(&[], |_| {});
    let frame = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, 60);
    let frame = frame.identified(Label::new(2, 0).identification());
    assert_eq!(none.run("bundle_tx", &frame.bytes()).verdict, SHOT);
    assert_eq!(none.drops("tx_no_ivc"), 1);
}
