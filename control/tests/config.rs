//! Configurations that are right: what they mean, and that they survive being written back.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use withy::config::{
    self, Loaded, Manual, Mss, Pacing, Rate, Receive, Resend, Resequence, Setting, Severity,
    SplitPolicy, Suite, Tunnel,
};

mod keys;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn accepted(text: &str, base: &Path) -> Loaded {
    match config::parse(text, "test.yaml", base) {
        Ok(loaded) => loaded,
        Err(report) => panic!("refused:\n{report}\n{text}"),
    }
}

const SMALL: &str = "
gateway: {name: a, lan: [lan0]}
links:
  dsl: {interface: eth1, rate: 1.5 Mbit/s, latency: 500 us}
bundles:
  all: {links: [dsl]}
tunnels:
  b:
    bundle: all
    endpoints: {local: 10.255.0.1, remote: 10.255.0.2}
    subnets: {local: [192.168.1.0/24], remote: [192.168.2.0/24]}
    ivcs: [{link: dsl, remote: 198.51.100.1}]
    security:
      mode: manual
      suite: aes-cbc-128-hmac-sha-256
      outbound: {spi: 0x1001, key_file: cbc-128-a}
      inbound: {spi: 0x1002, key_file: cbc-128-b}
";

#[test]
fn what_is_left_out_has_its_default() {
    let keys = keys::directory();
    let loaded = accepted(SMALL, keys.path());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(
        (config.gateway.limits.svcs, config.gateway.limits.ivcs),
        (4096, 4096)
    );
    let listen = config.gateway.metrics.listen;
    assert_eq!(listen.to_string(), "127.0.0.1:9710");
    let link = &config.links["dsl"];
    assert_eq!(
        (link.address, link.next_hop, link.mtu),
        (Setting::Auto, Setting::Auto, Setting::Auto)
    );
    assert_eq!((link.rate.up, link.rate.down), (mbit("1.5"), mbit("1.5")));
    assert_eq!((link.overhead, link.receive), (14, Receive::Auto));
    assert_eq!(link.pacing, Pacing::Auto);
    let times = (link.probe.interval.duration(), link.probe.idle.duration());
    let ms = Duration::from_millis;
    assert_eq!((link.metered, times), (false, (ms(100), ms(100))));
    let tunnel = &config.tunnels["b"];
    assert_eq!((tunnel.split, tunnel.mss), (SplitPolicy::Mtu, Mss::Auto));
    assert_eq!(tunnel.queue.duration(), Duration::from_millis(100));
    assert_eq!(tunnel.resequence, Resequence::Auto);
    assert_eq!(tunnel.resend, Resend::Auto);
    let manual = manual(tunnel);
    let ivc = &manual.ivcs[0];
    assert_eq!((ivc.rate, ivc.mtu), (mbit("1.5"), Setting::Auto));
    assert_eq!(ivc.latency.duration(), Duration::from_micros(500));
    assert_eq!(manual.replay_window, 4096);
    assert_eq!(
        (manual.outbound.spi.get(), manual.inbound.spi.get()),
        (0x1001, 0x1002)
    );
    assert_eq!(manual.outbound.key.cipher_key().len(), 16);
    assert_eq!(manual.outbound.key.auth_key().len(), 32);
}

#[test]
fn what_is_written_is_taken() {
    let keys = keys::directory();
    let text = SMALL
        .replace(
            "lan: [lan0]",
            "lan: [lan0, lan1], limits: {svcs: 1, ivcs: 65536}",
        )
        .replace(
            "rate: 1.5 Mbit/s,",
            "isp: I, address: 203.0.113.2, next_hop: 203.0.113.1, overhead: 0, receive: tc, pacing: off, metered: true, probe: {interval: 50 ms},
            mtu: 1500, rate: {up: 20 Mbit/s, down: 80 Mbit/s},",
        )
        .replace(
            "198.51.100.1}",
            "198.51.100.1, rate: 10 Mbit/s, latency: 20 ms, mtu: 1492}",
        )
        .replace(
            "    bundle: all",
            "    description: B\n    split: always\n    queue: 1 s\n    bundle: all",
        )
        .replace("      suite:", "      replay_window: 32\n      suite:");
    let config = accepted(&text, keys.path()).config;
    assert_eq!(
        (config.gateway.limits.svcs, config.gateway.limits.ivcs),
        (1, 65536)
    );
    assert_eq!(config.gateway.lan.len(), 2);
    let link = &config.links["dsl"];
    assert_eq!(link.isp.as_ref().map(config::Text::as_str), Some("I"));
    assert_eq!(link.address, Setting::Fixed(Ipv4Addr::new(203, 0, 113, 2)));
    assert_eq!(link.next_hop, Setting::Fixed(Ipv4Addr::new(203, 0, 113, 1)));
    assert_eq!((link.rate.up, link.rate.down), (mbit("20"), mbit("80")));
    assert_eq!((link.overhead, link.receive), (0, Receive::Tc));
    assert_eq!(link.pacing, Pacing::Off);
    let times = [link.probe.interval, link.probe.idle].map(config::Delay::as_micros);
    assert_eq!((link.metered, times), (true, [50_000, 5_000_000]));
    let tunnel = &config.tunnels["b"];
    assert_eq!((tunnel.split, tunnel.mss), (SplitPolicy::Always, Mss::Off));
    assert_eq!(tunnel.queue.duration(), Duration::from_secs(1));
    let manual = manual(tunnel);
    let ivc = &manual.ivcs[0];
    assert_eq!((ivc.rate, ivc.latency.as_micros()), (mbit("10"), 20_000));
    assert_eq!(ivc.mtu.fixed().map(config::Mtu::get), Some(1492));
    assert_eq!(manual.replay_window, 32);
}

#[test]
fn a_window_that_only_one_engine_has_is_worth_a_warning_where_either_may_be_taken() {
    let keys = keys::directory();
    let wide = SMALL.replace("      suite:", "      replay_window: 65536\n      suite:");
    let loaded = accepted(&wide, keys.path());
    assert_eq!(manual(&loaded.config.tunnels["b"]).replay_window, 65_536);
    let warnings = loaded.warnings.to_string();
    assert!(
        warnings.contains(
            "tunnels.b.security.replay_window: the kernel's engine has replay windows of 4096 packets at most"
        ),
        "{warnings}"
    );
    let own = wide
        .replace("lan: [lan0]", "lan: [lan0], engine: userspace")
        .replace("aes-cbc-128-hmac-sha-256", "aes-gcm-128")
        .replace("cbc-128", "gcm-128");
    let warnings = accepted(&own, keys.path()).warnings.to_string();
    assert!(!warnings.contains("replay_window"), "{warnings}");
}

fn manual(tunnel: &Tunnel) -> &Manual {
    tunnel.manual().expect("a tunnel with manual keys")
}

fn mbit(number: &str) -> Setting<Rate> {
    Setting::Fixed(format!("{number} Mbit/s").parse().expect("a legal rate"))
}

#[test]
fn metrics_for_everybody_are_worth_a_warning() {
    for (listen, warnings) in [
        ("'off'", 0),
        ("off", 0),
        ("'[::1]:1'", 0),
        ("192.0.2.1:9710", 1),
    ] {
        let text = format!(
            "gateway: {{name: a, lan: [lan0], metrics: {{listen: {listen}}}}}\nlinks: {{}}\nbundles: {{}}\ntunnels: {{}}\n"
        );
        let loaded = accepted(&text, Path::new(""));
        assert_eq!(loaded.warnings.diagnostics().len(), warnings, "{listen}");
        let again = serde_yaml::to_string(&loaded.config).expect("a text");
        assert_eq!(accepted(&again, Path::new("")).config, loaded.config);
    }
}

#[test]
fn a_gateway_may_have_no_tunnel_yet() {
    let text = "gateway: {name: a, lan: [lan0]}\nlinks: {}\nbundles: {}\ntunnels: {}\n";
    assert!(accepted(text, Path::new("")).warnings.is_empty());
}

#[test]
fn the_tunnels_of_a_hub_may_share_its_endpoint_and_subnets() {
    let keys = keys::directory();
    let second = SMALL[SMALL.find("  b:").expect("the tunnel")..]
        .replace("  b:", "  c:")
        .replace("10.255.0.2", "10.255.0.3")
        .replace("192.168.2.0", "192.168.3.0")
        .replace("198.51.100.1", "198.51.100.2")
        .replace("0x100", "0x200")
        .replace(": cbc-128-", ": cbc-128-2");
    let config = accepted(&format!("{SMALL}{second}"), keys.path()).config;
    assert_eq!(
        manual(&config.tunnels["b"]).endpoints.local,
        manual(&config.tunnels["c"]).endpoints.local
    );
}

#[test]
fn the_examples_are_valid_and_fit_each_other() {
    let directory = keys::empty_directory();
    std::fs::create_dir(directory.path().join("keys")).expect("a directory");
    for (name, seed) in [("keys/london-paris", 1), ("keys/paris-london", 2)] {
        keys::write(directory.path(), name, &keys::hex(seed, 64), 0o600);
    }
    let [london, paris] = ["london", "paris"].map(|name| {
        let file = directory.path().join(format!("{name}.yaml"));
        let example = repository(&format!("deploy/examples/{name}.yaml"));
        std::fs::copy(example, &file).expect("the example");
        match config::load(&file) {
            Ok(loaded) => loaded,
            Err(report) => panic!("{report}"),
        }
    });
    for loaded in [&london, &paris] {
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!(loaded.config.links.len(), 4);
    }
    let (there, back) = (
        &london.config.tunnels["paris"],
        &paris.config.tunnels["london"],
    );
    assert_eq!(
        (&there.subnets.local, &there.subnets.remote),
        (&back.subnets.remote, &back.subnets.local)
    );
    let (there, back) = (manual(there), manual(back));
    assert_eq!(there.endpoints.local, back.endpoints.remote);
    assert_eq!(there.endpoints.remote, back.endpoints.local);
    assert_eq!(there.ivcs.len(), back.ivcs.len());
    assert_eq!(
        (&there.outbound, &there.inbound),
        (&back.inbound, &back.outbound)
    );
}

const PEER: &str = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";

/// The gateway and links of `SMALL` with one negotiated tunnel.
fn negotiated(gateway: &str, peer: &str, security: &str) -> String {
    let head = &SMALL[..SMALL.find("  b:").expect("the tunnel")];
    let head = head.replace("lan: [lan0]", &format!("lan: [lan0], {gateway}"));
    format!(
        "{head}  b:
    bundle: all
    peer: {{key: {peer}}}
    subnets: {{local: [192.168.1.0/24], remote: [192.168.2.0/24]}}
{security}"
    )
}

#[test]
fn a_negotiated_tunnel_needs_little() {
    let keys = keys::directory();
    let text = negotiated("key_file: gateway, pool: 10.255.0.0/24", PEER, "");
    let loaded = accepted(&text, keys.path());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let identity = config.gateway.identity.as_ref().expect("an identity");
    assert_eq!(*identity.key.to_text(), keys::IDENTITY.trim());
    assert_eq!(config.gateway.listen, 5710);
    assert_eq!(
        config.gateway.pool,
        Some("10.255.0.0/24".parse().expect("a subnet"))
    );
    let tunnel = config.tunnels["b"].negotiated().expect("negotiated");
    assert_eq!(tunnel.peer.key.to_string(), PEER);
    assert_eq!(tunnel.peer.address, None);
    assert_eq!(tunnel.suites, [Suite::AesGcm256, Suite::ChaCha20Poly1305]);
    assert_eq!(tunnel.rekey.after.duration(), Duration::from_hours(1));
    assert_eq!(tunnel.rekey.bytes.bytes(), 64 << 30);
    assert_eq!(tunnel.replay_window, 4096);
}

#[test]
fn gateways_that_are_awaited_may_be_allowed_the_same_subnets() {
    let keys = keys::directory();
    let other = "EAABi3LcI7s5kYJkQ0JYtVJ9Vc+8mbbDFKUTZyQ2G0w=";
    let both = |address: &str| {
        let text = negotiated("key_file: gateway, pool: 10.255.0.0/24", PEER, "");
        let second = format!(
            "  c:
    bundle: all
    peer: {{key: {other}{address}}}
    subnets: {{local: [192.168.1.0/24], remote: [192.168.0.0/16]}}
"
        );
        // The local subnet of both lies outside.
        (text + &second).replace("192.168.1.0/24", "10.9.0.0/24")
    };
    let config = accepted(&both(""), keys.path()).config;
    assert_eq!(config.tunnels.len(), 2);
    // One that this gateway opens itself needs its subnets for certain.
    let text = both(", address: 198.51.100.9");
    let report = config::parse(&text, "test.yaml", keys.path()).expect_err("an overlap");
    let report = report.to_string();
    assert!(report.contains("overlaps 192.168.2.0/24"), "{report}");
}

#[test]
fn what_is_written_of_a_negotiated_tunnel_is_taken() {
    let keys = keys::directory();
    let text = negotiated(
        "key_file: gateway, listen: 443",
        &format!("{PEER}, address: '198.51.100.1:444'"),
        "    security:
      mode: negotiated
      suites: [chacha20-poly1305]
      rekey: {after: 90 min, bytes: 1 TiB}
      replay_window: 64
",
    );
    let config = accepted(&text, keys.path()).config;
    assert_eq!((config.gateway.listen, config.gateway.pool), (443, None));
    let tunnel = config.tunnels["b"].negotiated().expect("negotiated");
    let address = tunnel.peer.address.expect("an address");
    assert_eq!(address.address, Ipv4Addr::new(198, 51, 100, 1));
    assert_eq!(address.port, 444);
    assert_eq!(tunnel.suites, [Suite::ChaCha20Poly1305]);
    assert_eq!(tunnel.rekey.after.duration(), Duration::from_mins(90));
    assert_eq!(tunnel.rekey.bytes.bytes(), 1 << 40);
    assert_eq!(tunnel.replay_window, 64);
}

#[test]
fn the_examples_of_negotiation_are_valid_and_fit_each_other() {
    let directory = keys::empty_directory();
    keys::write(directory.path(), "gateway.key", keys::IDENTITY, 0o600);
    let [hub, branch] = ["hub", "branch"].map(|name| {
        let path = repository(&format!("deploy/examples/{name}.yaml"));
        let text = std::fs::read_to_string(path).expect("the example");
        accepted(&text, directory.path())
    });
    for loaded in [&hub, &branch] {
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
    let (here, there) = (&hub.config.tunnels["lyon"], &branch.config.tunnels["paris"]);
    let sides = (here.negotiated(), there.negotiated());
    let (Some(here_peer), Some(there_peer)) = sides else {
        panic!("not negotiated");
    };
    assert_eq!(here_peer.peer.address, None);
    assert!(there_peer.peer.address.is_some());
    assert_eq!(
        (&here.subnets.local, &here.subnets.remote),
        (&there.subnets.remote, &there.subnets.local)
    );
}

#[test]
fn no_private_key_of_a_gateway_is_shown() {
    let keys = keys::directory();
    let text = negotiated("key_file: gateway, pool: 10.255.0.0/24", PEER, "");
    let loaded = accepted(&text, keys.path());
    let yaml = serde_yaml::to_string(&loaded.config).expect("a text");
    for shown in [format!("{loaded:?}"), yaml] {
        assert!(!shown.contains(keys::IDENTITY.trim()), "{shown}");
    }
}

#[test]
fn aead_suites_with_manual_keys_are_warned_of() {
    let keys = keys::directory();
    for (suite, warnings) in [
        ("aes-gcm-128", 1),
        ("aes-gcm-256", 1),
        ("chacha20-poly1305", 1),
        ("aes-cbc-128-hmac-sha-256", 0),
        ("aes-cbc-256-hmac-sha-256", 0),
    ] {
        let text = SMALL
            .replace("aes-cbc-128-hmac-sha-256", suite)
            .replace("cbc-128-a", &format!("{suite}-a"))
            .replace("cbc-128-b", &format!("{suite}-b"));
        let report = accepted(&text, keys.path()).warnings;
        assert_eq!(report.diagnostics().len(), warnings, "{report}");
        for finding in report.diagnostics() {
            assert_eq!(finding.severity, Severity::Warning);
            assert_eq!(finding.field, "tunnels.b.security.suite");
        }
    }
}

#[test]
fn positions_are_known_by_field_and_fall_back_to_what_contains_it() {
    let keys = keys::directory();
    let loaded = accepted(SMALL, keys.path());
    let place = |field: &str| loaded.position(field).map(|p| (p.line, p.column));
    assert_eq!(place("gateway.lan[0]"), Some((2, 26)));
    assert_eq!(place("links.dsl.interface"), Some((4, 20)));
    assert_eq!(place("links.dsl.mtu"), Some((4, 3)));
    assert_eq!(place("tunnels.b.ivcs[0].remote"), Some((12, 32)));
    assert_eq!(place("tunnels.b.ivcs[0].rate"), Some((12, 12)));
    assert_eq!(place("tunnels.b.mss"), Some((8, 3)));
}

#[test]
fn no_key_is_shown() {
    let keys = keys::directory();
    let loaded = accepted(SMALL, keys.path());
    let secret = std::fs::read_to_string(keys.path().join("cbc-128-a")).expect("the key");
    let bytes = format!("{:?}", loaded.config.tunnels["b"].keying);
    assert!(bytes.contains("secret"));
    let yaml = serde_yaml::to_string(&loaded.config).expect("a text");
    for shown in [format!("{loaded:?}"), format!("{loaded:#?}"), yaml] {
        assert!(!shown.contains(secret[..16].trim()), "{shown}");
        assert!(!shown.contains("bytes:"), "{shown}");
    }
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let keys = keys::directory();
    let plain = accepted(SMALL, keys.path());
    let windows = accepted(
        &format!("\u{feff}{}", SMALL.replace('\n', "\r\n")),
        keys.path(),
    );
    assert_eq!(plain.config, windows.config);
    assert_eq!(
        plain.position("tunnels.b.bundle"),
        windows.position("tunnels.b.bundle")
    );
}
