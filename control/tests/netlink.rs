//! The reconciler against the kernel at hand, each test in a network namespace of its own.

mod support;

use std::{fs, net::Ipv4Addr, time::Duration};

use support::{Namespace, bundle, desired, in_namespace, name, succeeded};
use tokio::time::timeout;
use withy::{
    kernel::monitor::{Change, Topic},
    reconcile::{Desired, Step, objects::*},
};

const LOCAL_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const REMOTE_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
const LINK_TABLE: u32 = 8701;

fn sysctl(path: &str, value: u32) -> Object {
    Object::Sysctl(Sysctl::exactly(
        SysctlPath::new(path).expect("legal"),
        value,
    ))
}

fn endpoint() -> Object {
    let address = format!("{LOCAL_ENDPOINT}/32").parse().expect("legal");
    Object::Address(Address {
        device: name("withy0"),
        address,
    })
}

fn route_to_bundle(destination: &str) -> Route {
    Route {
        table: TABLE_MAIN,
        destination: destination.parse().expect("legal"),
        priority: 0,
        target: RouteTarget::Device {
            device: name("withy0"),
            gateway: None,
        },
        preferred_source: None,
        metrics: RouteMetrics {
            mtu: Some(PathMtu {
                bytes: 1400,
                locked: false,
            }),
            advertised_mss: Some(1360),
        },
    }
}

fn default_route(gateway: &str) -> Object {
    let gateway = Gateway {
        address: gateway.parse().expect("legal"),
        onlink: false,
    };
    Object::Route(Route {
        table: LINK_TABLE,
        destination: "0.0.0.0/0".parse().expect("legal"),
        priority: 0,
        target: RouteTarget::Device {
            device: name("wan.1"),
            gateway: Some(gateway),
        },
        preferred_source: None,
        metrics: RouteMetrics::default(),
    })
}

fn policy(direction: PolicyDirection, priority: u32) -> Object {
    Object::Policy(Policy {
        direction,
        source: "10.1.0.0/16".parse().expect("legal"),
        destination: "10.2.0.0/16".parse().expect("legal"),
        template: Template {
            source: LOCAL_ENDPOINT,
            destination: REMOTE_ENDPOINT,
            reqid: ReqId(1),
        },
        priority,
    })
}

/// What a gateway with one link and one tunnel wants, except security associations.
fn gateway() -> Vec<Object> {
    vec![
        Object::Bundle(bundle(65_535)),
        sysctl("net/ipv4/ip_forward", 1),
        sysctl("net/ipv4/ipfrag_time", 2),
        sysctl("net/ipv4/conf/wan.1/rp_filter", 2),
        sysctl("net/ipv6/conf/withy0/disable_ipv6", 1),
        endpoint(),
        Object::Route(route_to_bundle("10.2.0.0/16")),
        Object::Route(route_to_bundle("10.255.0.2/32")),
        default_route("192.0.2.1"),
        Object::Rule(Rule {
            priority: 8700,
            from: "192.0.2.10/32".parse().expect("legal"),
            table: LINK_TABLE,
        }),
        policy(PolicyDirection::Out, 100),
        policy(PolicyDirection::Forward, 100),
        policy(PolicyDirection::In, 100),
    ]
}

/// Makes the link of the gateway, with a name in which there is a dot.
async fn make_link(namespace: &Namespace) {
    let mut monitor = namespace.monitor();
    namespace.ip("link set lo up");
    namespace.ip("link add wan.1 type veth peer name isp");
    for device in ["isp", "wan.1"] {
        // IPv6 addresses would be tentative now and valid a second later.
        namespace.ip(&format!("link set {device} addrgenmode none"));
        namespace.ip(&format!("link set {device} up"));
    }
    namespace.ip("address add 192.0.2.10/24 dev wan.1");
    // The kernel puts interfaces to work in its own time, and says when.
    let reconciler = namespace.reconciler();
    let is_up = async |device| {
        let facts = reconciler.netlink().link_facts().await.expect("readable");
        facts[&name(device)].up
    };
    while !(is_up("isp").await && is_up("wan.1").await) {
        let heard = timeout(Duration::from_secs(10), monitor.changed()).await;
        heard.expect("interfaces that come up").expect("a socket");
    }
}

#[test]
fn a_gateway_comes_stays_and_goes_without_a_trace() {
    in_namespace(async |namespace| {
        make_link(&namespace).await;
        let before = namespace.everything();
        let forwarding = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("readable");
        let was_forwarding = forwarding();

        let wanted = desired(gateway());
        let outcome = namespace
            .reconciler()
            .reconcile(&wanted)
            .await
            .expect("observed");
        assert_eq!(succeeded(&outcome), gateway().len());
        assert_eq!(forwarding(), "1\n");

        // Another process finds nothing to do.
        let mut second = namespace.reconciler();
        assert_eq!(second.plan(&wanted).await.expect("observed"), []);

        let outcome = second.reconcile(&Desired::empty()).await.expect("observed");
        succeeded(&outcome);
        assert_eq!(namespace.everything(), before);
        assert_eq!(forwarding(), was_forwarding);
        assert!(!namespace.record().exists());
        assert_eq!(second.plan(&Desired::empty()).await.expect("observed"), []);
    });
}

#[test]
fn the_bundle_device_is_as_described() {
    in_namespace(async |namespace| {
        let mut reconciler = namespace.reconciler();
        let outcome = reconciler
            .ensure_bundle(&bundle(65_535))
            .await
            .expect("observed");
        assert_eq!(succeeded(&outcome), 1);
        for (device, mac) in [
            ("withy0", "02:77:69:74:68:79"),
            ("withy0p", "06:77:69:74:68:79"),
        ] {
            let link = namespace.ip(&format!("-d link show dev {device}"));
            for expected in [
                mac,
                "NOARP",
                "mtu 65535",
                "state UP",
                "alias withy",
                "addrgenmode none",
            ] {
                assert!(link.contains(expected), "{expected} is missing in {link}");
            }
            assert_eq!(namespace.ip(&format!("-6 addr show dev {device}")), "");
        }

        // Repaired in place when someone changes it, and replaced when the pair is another one.
        namespace.ip("link set withy0p mtu 1500 arp on down");
        let outcome = reconciler
            .ensure_bundle(&bundle(9000))
            .await
            .expect("observed");
        assert_eq!(
            outcome.applied,
            [Step::Update(Object::Bundle(bundle(9000)))]
        );
        namespace.ip("link set withy0p down");
        namespace.ip("link set withy0p name other");
        let outcome = reconciler
            .ensure_bundle(&bundle(9000))
            .await
            .expect("observed");
        assert_eq!(
            outcome.applied,
            [Step::Recreate(Object::Bundle(bundle(9000)))]
        );
        assert_eq!(
            succeeded(
                &reconciler
                    .ensure_bundle(&bundle(9000))
                    .await
                    .expect("observed")
            ),
            0
        );
    });
}

#[test]
fn what_someone_removes_comes_back_and_nothing_else_is_touched() {
    in_namespace(async |namespace| {
        make_link(&namespace).await;
        // Things like Withy's own, made by others.
        namespace.ip("route add 10.9.0.0/16 via 192.0.2.1");
        namespace.ip("rule add from 192.0.2.10 priority 99 table 99");
        namespace.ip(
            "xfrm policy add dir out src 10.1.0.0/16 dst 10.9.0.0/16 tmpl src 1.1.1.1 dst 2.2.2.2 \
             proto esp reqid 1 mode tunnel",
        );
        let wanted = desired(gateway());
        let mut reconciler = namespace.reconciler();
        succeeded(&reconciler.reconcile(&wanted).await.expect("observed"));
        namespace.ip("address add 10.99.0.1/32 dev withy0");
        let complete = namespace.everything();

        namespace.ip("route del 10.2.0.0/16");
        namespace.ip("rule del priority 8700");
        namespace.ip("xfrm policy del dir in src 10.1.0.0/16 dst 10.2.0.0/16");
        namespace.ip("address del 10.255.0.1/32 dev withy0");
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("writable");
        assert_eq!(
            succeeded(&reconciler.reconcile(&wanted).await.expect("observed")),
            5
        );
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&namespace.everything()), sorted(&complete));

        succeeded(
            &reconciler
                .reconcile(&Desired::empty())
                .await
                .expect("observed"),
        );
        assert!(namespace.ip("route").contains("10.9.0.0/16 via 192.0.2.1"));
        assert!(namespace.ip("rule").contains("from 192.0.2.10 lookup 99"));
        assert!(namespace.ip("xfrm policy").contains("dst 10.9.0.0/16"));
    });
}

#[test]
fn changes_replace_in_place() {
    in_namespace(async |namespace| {
        make_link(&namespace).await;
        let mut reconciler = namespace.reconciler();
        succeeded(
            &reconciler
                .reconcile(&desired(gateway()))
                .await
                .expect("observed"),
        );

        let mut changed = gateway();
        changed.retain(|object| !matches!(object, Object::Policy(_)));
        changed.push(policy(PolicyDirection::Out, 50));
        for object in &mut changed {
            match object {
                Object::Route(route) if route.table == TABLE_MAIN => {
                    route.metrics.mtu = Some(PathMtu {
                        bytes: 1300,
                        locked: true,
                    });
                }
                Object::Route(_) => *object = default_route("192.0.2.254"),
                _ => {}
            }
        }
        let wanted = desired(changed);
        let steps = reconciler.plan(&wanted).await.expect("observed");
        let updates = steps
            .iter()
            .filter(|step| matches!(step, Step::Update(_)))
            .count();
        assert_eq!((updates, steps.len()), (4, 6), "{steps:#?}");
        succeeded(&reconciler.reconcile(&wanted).await.expect("observed"));
        assert!(
            namespace
                .ip("route show table 8701")
                .contains("default via 192.0.2.254")
        );
        assert!(namespace.ip("route").contains("mtu lock 1300 advmss 1360"));
        assert!(namespace.ip("xfrm policy").contains("priority 50"));
        assert_eq!(reconciler.plan(&wanted).await.expect("observed"), []);
    });
}

#[test]
fn a_missing_interface_stops_nothing_else() {
    in_namespace(async |namespace| {
        let wanted = desired(gateway());
        let mut reconciler = namespace.reconciler();
        let outcome = reconciler.reconcile(&wanted).await.expect("observed");
        let reasons: Vec<String> = outcome.failed.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            [
                "cannot set sysctl net/ipv4/conf/wan.1/rp_filter = 2: cannot read \
                 /proc/sys/net/ipv4/conf/wan.1/rp_filter: No such file or directory (os error 2)",
                "cannot create route 0.0.0.0/0 via 192.0.2.1 dev wan.1 table 8701: there is no \
                 interface wan.1",
            ]
        );
        assert_eq!(outcome.applied.len(), gateway().len() - 2);

        make_link(&namespace).await;
        assert_eq!(
            succeeded(&reconciler.reconcile(&wanted).await.expect("observed")),
            2
        );
    });
}

#[test]
fn the_kernels_own_words_are_reported() {
    in_namespace(async |namespace| {
        make_link(&namespace).await;
        let outcome = namespace
            .reconciler()
            .reconcile(&desired([default_route("198.51.100.1")]))
            .await
            .expect("observed");
        let reason = outcome.failed[0].to_string();
        assert!(reason.contains("Network is unreachable"), "{reason}");
        assert!(reason.contains("Nexthop has invalid gateway"), "{reason}");
    });
}

#[test]
fn what_others_made_is_neither_adopted_nor_replaced() {
    in_namespace(async |namespace| {
        namespace.ip("link add withy0 type veth peer name withy0p");
        let outcome = namespace
            .reconciler()
            .reconcile(&desired([Object::Bundle(bundle(9000))]))
            .await;
        let reason = outcome.expect("observed").failed[0].to_string();
        assert!(reason.contains("File exists"), "{reason}");
        assert!(!namespace.ip("link show dev withy0").contains("NOARP"));

        succeeded(
            &namespace
                .reconciler()
                .reconcile(&Desired::empty())
                .await
                .expect("observed"),
        );
        namespace.ip("link show dev withy0");
    });
}

#[test]
fn settings_that_are_already_larger_are_left_alone() {
    in_namespace(async |namespace| {
        let path = SysctlPath::new("net/ipv4/ipfrag_high_thresh").expect("legal");
        let file = path.file();
        let least = |value| desired([Object::Sysctl(Sysctl::at_least(path.clone(), value))]);
        let original = fs::read_to_string(&file).expect("readable");
        let mut reconciler = namespace.reconciler();
        assert_eq!(
            succeeded(&reconciler.reconcile(&least(1)).await.expect("observed")),
            0
        );

        let mib64 = 64 << 20;
        succeeded(&reconciler.reconcile(&least(mib64)).await.expect("observed"));
        assert_eq!(
            fs::read_to_string(&file).expect("readable"),
            format!("{mib64}\n")
        );

        // A process that knows only the record restores what was there before the first change.
        let mut next = namespace.reconciler();
        assert_eq!(
            succeeded(&next.reconcile(&Desired::empty()).await.expect("observed")),
            1
        );
        assert_eq!(fs::read_to_string(&file).expect("readable"), original);
    });
}

#[test]
fn facts_tell_addresses_and_next_hops() {
    in_namespace(async |namespace| {
        make_link(&namespace).await;
        namespace.ip("address add 192.0.2.11/24 dev wan.1");
        namespace.ip("address add 169.254.7.7/16 dev wan.1 scope link");
        namespace.ip("route add default via 192.0.2.2 metric 200");
        namespace.ip("route add default via 192.0.2.1 metric 100");
        let netlink = namespace.reconciler();
        let facts = netlink.netlink().link_facts().await.expect("readable");
        let wan = &facts[&name("wan.1")];
        assert!(wan.up && wan.ethernet && !wan.point_to_point);
        assert_eq!(wan.mtu, 1500);
        let addresses: Vec<String> = wan.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.10/24", "192.0.2.11/24"]);
        assert_eq!(wan.default_gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));

        // The other end goes down, and the carrier with it.
        namespace.ip("link set isp down");
        let facts = netlink.netlink().link_facts().await.expect("readable");
        assert!(!facts[&name("wan.1")].up);
        assert_eq!(facts[&name("isp")].default_gateway, None);
    });
}

#[test]
fn the_monitor_tells_what_changed() {
    in_namespace(async |namespace| {
        namespace.ip("link set lo up");
        let mut monitor = namespace.monitor();
        let changes: [(&str, Topic); 5] = [
            ("link add wan.1 type veth peer name isp", Topic::Links),
            ("address add 192.0.2.10/24 dev lo", Topic::Addresses),
            ("route add default dev lo", Topic::Routes),
            ("rule add from 192.0.2.10 table 99", Topic::Rules),
            (
                "xfrm policy add dir out src 10.1.0.0/16 dst 10.2.0.0/16 action block",
                Topic::Policies,
            ),
        ];
        for (command, topic) in changes {
            namespace.ip(command);
            let change = monitor.changed().await.expect("a socket");
            assert!(change.contains(topic), "{command}: {change:?}");
            assert_ne!(change, Change::EVERYTHING);
        }
        // A route that is neither a default route nor Withy's is not told.
        namespace.ip("route add 10.77.0.0/16 dev lo");
        namespace.ip("rule del from 192.0.2.10 table 99");
        assert_eq!(
            monitor.changed().await.expect("a socket"),
            Topic::Rules.into()
        );
    });
}

#[test]
fn an_overflow_means_everything() {
    in_namespace(async |namespace| {
        let mut monitor = namespace.monitor();
        // Far more than a socket's buffer holds (rmem_default, some 200 KiB).
        let commands: Vec<String> = (1000..3000)
            .map(|table| format!("rule add from 10.0.0.1 table {table}"))
            .collect();
        let file = namespace.record().with_file_name("batch");
        fs::write(&file, commands.join("\n")).expect("writable");
        namespace.ip(&format!("-batch {}", file.display()));
        assert_eq!(
            monitor.changed().await.expect("a socket"),
            Change::EVERYTHING
        );
    });
}
