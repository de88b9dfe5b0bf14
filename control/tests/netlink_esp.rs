//! Security associations against a kernel that has ESP: `cargo xtask test` runs these in a virtual machine.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{Elsewhere, Namespace, bundle, desired, in_namespace, name, run, succeeded};
use withy::reconcile::{Desired, Outcome, Reconciler, Step, objects::*};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
const REQID: ReqId = ReqId(7);
const OUT_SPI: u32 = 0x1001;
const IN_SPI: u32 = 0x1002;

fn key(suite: Suite, fill: u8) -> EspKey {
    EspKey::new(suite, vec![fill; suite.material_len()]).expect("the right length")
}

fn outbound(suite: Suite, fill: u8, udp_encapsulation: bool) -> SecurityAssociation {
    SecurityAssociation {
        source: HERE,
        destination: THERE,
        spi: Spi::new(OUT_SPI).expect("legal"),
        reqid: REQID,
        key: key(suite, fill),
        direction: Direction::Out(Outbound {
            udp_encapsulation,
            path_mtu_discovery: false,
        }),
    }
}

fn inbound(suite: Suite, fill: u8) -> SecurityAssociation {
    SecurityAssociation {
        source: THERE,
        destination: HERE,
        spi: Spi::new(IN_SPI).expect("legal"),
        reqid: REQID,
        key: key(suite, fill),
        direction: Direction::In(Inbound {
            replay_window: ReplayWindow::MAX,
        }),
    }
}

fn associations(list: impl IntoIterator<Item = SecurityAssociation>) -> Desired {
    desired(list.into_iter().map(Object::Association))
}

async fn reconcile(reconciler: &mut Reconciler, wanted: &Desired) -> Outcome {
    let outcome = reconciler.reconcile(wanted).await.expect("observed");
    succeeded(&outcome);
    outcome
}

#[test]
fn every_kind_is_read_back_as_it_was_made() {
    in_namespace(async |namespace| {
        let mut reconciler = namespace.reconciler();
        for suite in Suite::ALL {
            for (udp_encapsulation, path_mtu_discovery, window) in [
                (false, false, 1),
                (true, false, 33),
                (false, true, 64),
                (true, true, 4096),
            ] {
                let mut out = outbound(suite, 1, udp_encapsulation);
                out.direction = Direction::Out(Outbound {
                    udp_encapsulation,
                    path_mtu_discovery,
                });
                let mut into = inbound(suite, 2);
                let replay_window = ReplayWindow::new(window).expect("legal");
                into.direction = Direction::In(Inbound { replay_window });
                let wanted = associations([out, into]);
                reconcile(&mut reconciler, &wanted).await;
                assert_eq!(
                    namespace
                        .reconciler()
                        .plan(&wanted)
                        .await
                        .expect("observed"),
                    []
                );
            }
        }
        let states = namespace.ip("xfrm state");
        for expected in [
            "reqid 1464401927",
            "encap type espinudp sport 4500",
            "output-mark 0x0/0xfffff",
            "esn",
        ] {
            assert!(
                states.contains(expected),
                "{expected} is missing in {states}"
            );
        }
        reconcile(&mut reconciler, &Desired::empty()).await;
        assert_eq!(namespace.ip("xfrm state"), "");
    });
}

#[test]
fn associations_of_others_are_left_alone() {
    in_namespace(async |namespace| {
        let mut reconciler = namespace.reconciler();
        namespace.ip(
            "xfrm state add src 1.1.1.1 dst 2.2.2.2 proto esp spi 0x99 reqid 7 mode tunnel aead \
             rfc4106(gcm(aes)) 0x0101010101010101010101010101010101010101 128",
        );
        reconcile(&mut reconciler, &Desired::empty()).await;
        let states = namespace.ip("xfrm state");
        assert!(
            states.contains("spi 0x00000099") && !states.contains("spi 0x00001002"),
            "{states}"
        );
    });
}

#[test]
fn a_new_key_replaces_and_an_old_key_goes_on_counting() {
    in_namespace(async |namespace| {
        let mut reconciler = namespace.reconciler();
        let policy = Object::Policy(tunnel_policy(PolicyDirection::Out));
        let route = Object::Route(Route {
            table: TABLE_MAIN,
            destination: "0.0.0.0/0".parse().expect("legal"),
            priority: 0,
            target: RouteTarget::Device {
                device: name("withy0"),
                gateway: None,
            },
            preferred_source: None,
            metrics: RouteMetrics::default(),
        });
        let with_key = |fill| {
            let association = Object::Association(outbound(Suite::AesGcm256, fill, true));
            desired([
                Object::Bundle(bundle(9000)),
                policy.clone(),
                route.clone(),
                association,
            ])
        };
        namespace.ip("link set lo up");
        namespace.ip("address add 10.1.0.2/32 dev lo");
        namespace.ip(&format!("address add {HERE}/32 dev lo"));
        reconcile(&mut reconciler, &with_key(1)).await;
        let sender = UdpSocket::bind("10.1.0.2:0").expect("bound");
        for _ in 0..3 {
            sender.send_to(b"inner", "10.2.0.2:9").expect("sent");
        }
        // The sequence number is seen before someone removes the association.
        assert_eq!(reconciler.plan(&with_key(1)).await.expect("observed"), []);
        assert!(sent_packets(&namespace) == 3);
        namespace.ip("xfrm state flush");
        reconcile(&mut reconciler, &with_key(1)).await;
        assert!(
            sent_packets(&namespace) > 1 << 20,
            "{}",
            namespace.ip("-s xfrm state")
        );
        sender.send_to(b"inner", "10.2.0.2:9").expect("sent");

        let outcome = reconcile(&mut reconciler, &with_key(2)).await;
        assert!(matches!(
            outcome.applied[..],
            [Step::Recreate(Object::Association(_))]
        ));
        assert_eq!(sent_packets(&namespace), 0);
    });
}

/// The sequence number of the one association, as `ip` tells it.
fn sent_packets(namespace: &Namespace) -> u64 {
    let states = namespace.ip("xfrm state");
    let number = |label: &str| {
        let rest = states.split_once(label).map(|(_, rest)| rest).expect(label);
        let text: String = rest
            .trim_start()
            .trim_start_matches("0x")
            .chars()
            .take_while(char::is_ascii_hexdigit)
            .collect();
        u64::from_str_radix(&text, 16).expect(label)
    };
    number("oseq-hi ") << 32 | number("oseq ")
}

fn tunnel_policy(direction: PolicyDirection) -> Policy {
    let (near, far) = (
        "10.1.0.0/24".parse().expect("legal"),
        "10.2.0.0/24".parse().expect("legal"),
    );
    let (outer_near, outer_far) = (HERE, THERE);
    let outgoing = direction == PolicyDirection::Out;
    let pick = |a, b| if outgoing { (a, b) } else { (b, a) };
    let (source, destination) = pick(near, far);
    let (outer_source, outer_destination) = if outgoing {
        (outer_near, outer_far)
    } else {
        (outer_far, outer_near)
    };
    let template = Template {
        source: outer_source,
        destination: outer_destination,
        reqid: REQID,
    };
    Policy {
        direction,
        source,
        destination,
        template,
        priority: 100,
    }
}

/// What a TC egress program of the tunnel's device gets to see.
#[derive(Debug, Default)]
struct AtTheHook {
    /// Tunnel packets (ESP, or UDP between the ESP ports).
    packets: usize,
    /// Those longer than the device's MTU: not yet cut into packets.
    oversized: usize,
    /// Those in which the inner packet can be read.
    readable: usize,
    /// Tunnel packets that bore the mark of their inner packets.
    marked: usize,
    /// Packets outside the tunnel that bore the mark: one is sent.
    marked_others: usize,
}

#[test]
fn encapsulation_brings_encryption_before_the_egress_hook() {
    in_namespace(async |namespace| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("procfs");
        for offload in [false, true] {
            set_module("esp4_offload", offload);
            for encapsulation in [false, true] {
                let mut reconciler = namespace.reconciler();
                let seen = measure(&namespace, &mut reconciler, encapsulation).await;
                println!(
                    "{} esp4_offload {offload} encapsulation {encapsulation}: {seen:?}",
                    release.trim()
                );
                assert!(seen.packets > 50, "{seen:?}");
                assert_eq!(seen.marked, 0, "{seen:?}");
                assert_eq!(seen.marked_others, 1, "{seen:?}");
                if encapsulation || !offload {
                    assert_eq!((seen.oversized, seen.readable), (0, 0));
                } else if is_before_6_14(&release) {
                    // Otherwise nothing would show that this observer can tell the difference.
                    assert!(seen.oversized > 0 && seen.readable > 0, "{seen:?}");
                }
                reconcile(&mut reconciler, &Desired::empty()).await;
            }
        }
    });
}

/// From 6.14 on the kernel offloads only where it is asked to.
fn is_before_6_14(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(6), Some(14))
}

fn set_module(module: &str, loaded: bool) {
    if loaded {
        run("modprobe", module);
    } else if Path::new("/sys/module").join(module).exists() {
        run("modprobe", &format!("-r {module}"));
    }
}

/// Sends a TCP stream from a host behind this gateway to the other gateway, which iproute2 has
/// configured, and watches the egress hook of the device between them.
async fn measure(
    namespace: &Namespace,
    reconciler: &mut Reconciler,
    encapsulation: bool,
) -> AtTheHook {
    let (host, there) = (Elsewhere::new(), Elsewhere::new());
    connect(namespace, &host, &there);
    let wanted = desired([
        Object::Sysctl(Sysctl::exactly(
            SysctlPath::new("net/ipv4/ip_forward").expect("legal"),
            1,
        )),
        Object::Association(outbound(Suite::AesGcm128, 1, encapsulation)),
        Object::Association(inbound(Suite::AesGcm128, 2)),
        Object::Policy(tunnel_policy(PolicyDirection::Out)),
        Object::Policy(tunnel_policy(PolicyDirection::Forward)),
        Object::Policy(tunnel_policy(PolicyDirection::In)),
    ]);
    reconcile(reconciler, &wanted).await;
    configure_with_iproute2(&there, encapsulation);
    // The kernel takes ESP out of UDP only where a socket says so.
    let decapsulator = there.enter(|| UdpSocket::bind((THERE, 4500)).expect("bound"));
    if encapsulation {
        accept_esp_in_udp(&decapsulator);
    }

    let directory = tempfile::tempdir().expect("a directory");
    let at_hook = Capture::start("seen", directory.path().join("seen"));
    let marked = Capture::start("marked", directory.path().join("marked"));
    stream(&host, &there);
    // Outside of the tunnel: it shows that the mark is there, and ends the captures.
    host.enter(|| run("ping", &format!("-c 1 -W 5 -p {SENTINEL_HEX} {THERE}")));

    let mut result = AtTheHook::default();
    for frame in at_hook.stop() {
        if is_tunnel(&frame) {
            result.packets += 1;
            result.oversized += usize::from(frame.len() > 9000 + 14);
            result.readable += usize::from(contains(&frame, MARKER));
        }
    }
    for frame in marked.stop() {
        result.marked += usize::from(is_tunnel(&frame));
        result.marked_others += usize::from(contains(&frame, SENTINEL));
    }
    namespace.ip("link del wire");
    namespace.ip("link del lan");
    namespace.ip("link del seen");
    namespace.ip("link del marked");
    result
}

/// Lays the cables: host --- lan, this gateway, tunnel --- the other gateway.
fn connect(namespace: &Namespace, host: &Elsewhere, there: &Elsewhere) {
    namespace.ip("link set lo up");
    namespace.ip("link add lan type veth peer name lan-end");
    namespace.ip("link add wire mtu 9000 type veth peer name wire-end mtu 9000");
    namespace.ip(&format!("link set lan-end netns {}", host.path()));
    namespace.ip(&format!("link set wire-end netns {}", there.path()));
    namespace.ip("address add 10.1.0.1/24 dev lan");
    namespace.ip(&format!("address add {HERE}/30 dev wire"));
    for device in ["lan", "wire"] {
        namespace.ip(&format!("link set {device} up"));
    }
    namespace.ip(&format!("route add 10.2.0.0/24 via {THERE} src 10.1.0.1"));
    host.ip("address add 10.1.0.2/24 dev lan-end");
    host.ip("link set lan-end up");
    host.ip("route add default via 10.1.0.1");
    there.ip(&format!("address add {THERE}/30 dev wire-end"));
    there.ip("address add 10.2.0.1/32 dev lo");
    there.ip("link set wire-end up");
    there.ip(&format!("route add 10.1.0.0/24 via {HERE} src 10.2.0.1"));

    // Copies of what reaches the hook go to "seen", those with the host's mark to "marked" too.
    for device in ["seen", "marked"] {
        namespace.ip(&format!(
            "link add {device} type veth peer name {device}-end"
        ));
        namespace.ip(&format!("link set {device} arp off up"));
        namespace.ip(&format!("link set {device}-end arp off up"));
        // The capture comes before this; without it the copies would be forwarded once more.
        run("tc", &format!("qdisc add dev {device} clsact"));
        run(
            "tc",
            &format!("filter add dev {device} ingress matchall action drop"),
        );
    }
    run("tc", "qdisc add dev lan clsact");
    run(
        "tc",
        "filter add dev lan ingress matchall action skbedit mark 0x77",
    );
    run("tc", "qdisc add dev wire clsact");
    run(
        "tc",
        "filter add dev wire egress prio 1 protocol ip handle 0x77 fw action mirred ingress \
         mirror dev marked pipe action continue",
    );
    run(
        "tc",
        "filter add dev wire egress prio 2 matchall action mirred ingress mirror dev seen",
    );
}

fn configure_with_iproute2(there: &Elsewhere, encapsulation: bool) {
    let state = |source, destination, spi: u32, fill: &str, more: &str| {
        let key = fill.repeat(20);
        there.ip(&format!(
            "xfrm state add src {source} dst {destination} proto esp spi {spi} reqid 1 mode tunnel \
             replay-window 32 flag esn aead rfc4106(gcm(aes)) 0x{key} 128 {more}"
        ));
    };
    let encap = if encapsulation {
        "encap espinudp 4500 4500 0.0.0.0"
    } else {
        ""
    };
    state(HERE, THERE, OUT_SPI, "01", encap);
    state(THERE, HERE, IN_SPI, "02", "");
    for (direction, source, destination, outer_source, outer_destination) in [
        ("out", "10.2.0.0/24", "10.1.0.0/24", THERE, HERE),
        ("in", "10.1.0.0/24", "10.2.0.0/24", HERE, THERE),
    ] {
        there.ip(&format!(
            "xfrm policy add dir {direction} src {source} dst {destination} tmpl src \
             {outer_source} dst {outer_destination} proto esp reqid 1 mode tunnel"
        ));
    }
}

/// Makes a socket the kernel's place to take ESP out of UDP (RFC 3948).
fn accept_esp_in_udp(socket: &UdpSocket) {
    /// `UDP_ENCAP` and `UDP_ENCAP_ESPINUDP` of `linux/udp.h`.
    const UDP_ENCAP: i32 = 100;
    let esp_in_udp: i32 = 2;
    let value = (&raw const esp_in_udp).cast();
    let size = libc::socklen_t::try_from(size_of::<i32>()).expect("four");
    // SAFETY: the descriptor is open, and the value is an int of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_UDP,
            UDP_ENCAP,
            value,
            size,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// What the last packet of each capture has in it.
const SENTINEL: &[u8] = b"!the end";
const SENTINEL_HEX: &str = "2174686520656e64";
const MARKER: &[u8] = b"this is what an eavesdropper wants to read; ";

/// Sends two megabytes from the host to the other gateway, and compares them.
fn stream(host: &Elsewhere, there: &Elsewhere) {
    let contents = MARKER.repeat(2_000_000 / MARKER.len());
    let listener = there.enter(|| TcpListener::bind("10.2.0.1:7000").expect("bound"));
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut received = Vec::new();
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.read_to_end(&mut received).expect("read");
            received
        });
        let mut sender = host.enter(|| TcpStream::connect("10.2.0.1:7000").expect("connected"));
        sender.write_all(&contents).expect("sent");
        sender.shutdown(Shutdown::Write).expect("closed");
        assert!(receiver.join().expect("no panic") == contents);
    });
}

/// Whether an Ethernet frame is ESP, or UDP between the ports of ESP.
fn is_tunnel(frame: &[u8]) -> bool {
    match frame.get(23) {
        Some(50) => true,
        Some(17) => frame.get(34..38) == Some(&[0x11, 0x94, 0x11, 0x94]),
        _ => false,
    }
}

fn contains(frame: &[u8], needle: &[u8]) -> bool {
    frame.windows(needle.len()).any(|window| window == needle)
}

/// A tcpdump that writes to a file.
struct Capture {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    file: PathBuf,
}

impl Capture {
    fn start(device: &str, file: PathBuf) -> Self {
        let mut child = Command::new("tcpdump")
            .args([
                "-Z",
                "root",
                "-Q",
                "in",
                "-B",
                "65536",
                "-U",
                "--immediate-mode",
                "-i",
                device,
                "-w",
            ])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(
                errors.read_line(&mut line).expect("text") > 0,
                "tcpdump ended"
            );
        }
        Self {
            child,
            errors,
            file,
        }
    }

    /// Ends it, and returns the frames.
    fn stop(mut self) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut bytes = Vec::new();
        while !contains(&bytes, SENTINEL) {
            assert!(Instant::now() < deadline, "the last packet is missing");
            thread::yield_now();
            bytes = fs::read(&self.file).expect("readable");
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("alive");
        let mut summary = String::new();
        self.errors.read_to_string(&mut summary).expect("text");
        assert!(summary.contains("0 packets dropped by kernel"), "{summary}");
        assert!(self.child.wait().expect("a child").success(), "{summary}");
        read_pcap(&fs::read(&self.file).expect("readable")[24..])
    }
}

/// Reads the records of a capture in the byte order of this machine.
fn read_pcap(mut records: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = records.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes(header[8..12].try_into().expect("four")) as usize;
        frames.push(rest[..length].to_vec());
        records = &rest[length..];
    }
    frames
}
