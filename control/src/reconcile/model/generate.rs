//! Random configurations that contradict neither themselves nor the kernel.
//!
//! Names and numbers are few, so that two configurations have much in common.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{Desired, FOREIGN_DEVICES, Object, objects_of};
use crate::reconcile::objects::*;

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).expect("a legal name")
}

/// A whole configuration.
pub(super) fn configuration() -> impl Strategy<Value = Desired> {
    bundles().prop_flat_map(|bundles| {
        let mut devices: Vec<InterfaceName> = FOREIGN_DEVICES.map(name).to_vec();
        devices.extend(bundles.iter().map(|bundle| bundle.name.clone()));
        let addresses = vec(address(devices.clone()), 0..4);
        (Just((bundles, devices)), addresses).prop_flat_map(|((bundles, devices), addresses)| {
            let fixed: Vec<Object> = bundles
                .into_iter()
                .map(Object::Bundle)
                .chain(addresses.iter().cloned().map(Object::Address))
                .collect();
            let rest = prop_oneof![
                sysctl(devices.clone()).prop_map(Object::Sysctl),
                select(FOREIGN_DEVICES.map(name).to_vec())
                    .prop_map(|device| Object::Pacer(Pacer { device })),
                route(devices, addresses).prop_map(Object::Route),
                rule().prop_map(Object::Rule),
                association().prop_map(Object::Association),
                policy().prop_map(Object::Policy),
            ];
            vec(rest, 0..12).prop_map(move |rest| objects_of(fixed.iter().cloned().chain(rest)))
        })
    })
}

/// At most one, since pairs may share names; it may go by another name or peer in the next one.
fn bundles() -> impl Strategy<Value = Vec<BundleDevice>> {
    let pair = select(vec![
        ("withy0", "withy0p"),
        ("withy0", "far"),
        ("withy1", "withy0p"),
    ]);
    let bundle = (pair, select(vec![1500, 9000])).prop_map(|((near, far), mtu)| BundleDevice {
        name: name(near),
        peer: name(far),
        mtu: BundleMtu::new(mtu).expect("legal"),
    });
    vec(bundle, 0..=1)
}

fn address(devices: Vec<InterfaceName>) -> impl Strategy<Value = Address> {
    (select(devices), 1..4_u8).prop_map(|(device, last)| Address {
        device,
        address: Ipv4Net::new(Ipv4Addr::new(10, 255, 0, last), 32).expect("legal"),
    })
}

fn sysctl(devices: Vec<InterfaceName>) -> impl Strategy<Value = Sysctl> {
    let of_device = select(devices)
        .prop_map(|device| SysctlPath::ipv4_interface(&device, "rp_filter").expect("legal"));
    let path = prop_oneof![
        Just(SysctlPath::new("net/ipv4/ip_forward").expect("legal")),
        Just(SysctlPath::new("net/ipv4/ipfrag_time").expect("legal")),
        of_device,
    ];
    let value = prop_oneof![
        (0..3_u64).prop_map(|value| SysctlValue::Exactly(value.to_string())),
        (0..3_u64).prop_map(SysctlValue::AtLeast),
    ];
    (path, value).prop_map(|(path, value)| Sysctl { path, value })
}

/// A route; its source address, if it has one, is an address of its device.
fn route(devices: Vec<InterfaceName>, addresses: Vec<Address>) -> impl Strategy<Value = Route> {
    let onward =
        (select(devices), option::of((1..3_u8, any::<bool>()))).prop_map(|(device, gateway)| {
            RouteTarget::Device {
                device,
                gateway: gateway.map(|(last, onlink)| Gateway {
                    address: Ipv4Addr::new(192, 0, 2, last),
                    onlink,
                }),
            }
        });
    let target = prop_oneof![4 => onward, 1 => Just(RouteTarget::Blackhole), 1 => Just(RouteTarget::Unreachable)];
    let mtu = option::of((select(vec![1400, 65_535]), any::<bool>()))
        .prop_map(|mtu| mtu.map(|(bytes, locked)| PathMtu { bytes, locked }));
    (
        select(vec![TABLE_MAIN, 100]),
        0..3_u8,
        select(vec![0, 10]),
        target,
        mtu,
        any::<bool>(),
    )
        .prop_map(move |(table, net, priority, target, mtu, sourced)| {
            let mut route = Route {
                table,
                destination: Ipv4Net::new(Ipv4Addr::new(10, net, 3, 4), 16).expect("legal"),
                priority,
                target,
                preferred_source: None,
                metrics: RouteMetrics {
                    mtu,
                    advertised_mss: None,
                },
            };
            let own = addresses
                .iter()
                .find(|address| Some(&address.device) == route.device());
            route.preferred_source = own.filter(|_| sourced).map(|own| own.address.addr());
            route
        })
}

fn rule() -> impl Strategy<Value = Rule> {
    (1..3_u32, 1..3_u8, 100..102_u32).prop_map(|(priority, last, table)| Rule {
        priority,
        from: Ipv4Net::new(Ipv4Addr::new(192, 0, 2, last), 32).expect("legal"),
        table,
    })
}

fn association() -> impl Strategy<Value = SecurityAssociation> {
    let direction = prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(udp_encapsulation, path_mtu_discovery)| {
            Direction::Out(Outbound {
                udp_encapsulation,
                path_mtu_discovery,
            })
        }),
        select(vec![32, 4096]).prop_map(|packets| {
            let replay_window = ReplayWindow::new(packets).expect("legal");
            Direction::In(Inbound { replay_window })
        }),
    ];
    (
        256..259_u32,
        1..3_u8,
        select(Suite::ALL.to_vec()),
        0..2_u8,
        direction,
    )
        .prop_map(|(spi, last, suite, fill, direction)| SecurityAssociation {
            source: Ipv4Addr::new(10, 255, 0, 9),
            destination: Ipv4Addr::new(10, 255, 0, last),
            spi: Spi::new(spi).expect("legal"),
            reqid: ReqId(1),
            key: EspKey::new(suite, vec![fill; suite.material_len()]).expect("the right length"),
            direction,
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    let direction = select(vec![
        PolicyDirection::In,
        PolicyDirection::Forward,
        PolicyDirection::Out,
    ]);
    (direction, 1..3_u8, 1..3_u32).prop_map(|(direction, net, priority)| Policy {
        direction,
        source: Ipv4Net::new(Ipv4Addr::new(10, net, 0, 0), 16).expect("legal"),
        destination: Ipv4Net::new(Ipv4Addr::new(10, 9, 0, 0), 16).expect("legal"),
        template: Template {
            source: Ipv4Addr::new(10, 255, 0, 9),
            destination: Ipv4Addr::new(10, 255, 0, 1),
            reqid: ReqId(1),
        },
        priority,
    })
}
