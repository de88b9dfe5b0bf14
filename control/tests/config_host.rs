//! Configurations against machines that they do and do not fit.

use std::path::Path;

use withy::config::{
    self, Loaded,
    host::{InterfaceFacts, Interfaces},
};

mod keys;

const TEXT: &str = "gateway:
  name: a
  lan: [lan0, lan1]
links:
  dsl: {interface: eth1, rate: 1 Mbit/s, latency: 1 ms, mtu: 1500}
  lte:
    interface: wwan0
    rate: 1 Mbit/s
    latency: 1 ms
bundles:
  all: {links: [dsl, lte]}
tunnels:
  b:
    bundle: all
    endpoints: {local: 10.255.0.1, remote: 10.255.0.2}
    subnets: {local: [192.168.1.0/24], remote: [192.168.2.0/24]}
    ivcs:
      - {link: dsl, remote: 198.51.100.1}
      - {link: lte, remote: 198.51.100.2, mtu: 1500}
    security:
      mode: manual
      suite: aes-cbc-128-hmac-sha-256
      outbound: {spi: 0x1001, key_file: cbc-128-a}
      inbound: {spi: 0x1002, key_file: cbc-128-b}
";

fn loaded() -> Loaded {
    let keys = keys::directory();
    config::parse(TEXT, "a.yaml", keys.path()).expect("a valid configuration")
}

fn machine(interfaces: &[(&str, bool, u32)]) -> Interfaces {
    let facts = |(name, ethernet, mtu): &(&str, bool, u32)| {
        (
            (*name).to_owned(),
            InterfaceFacts {
                ethernet: *ethernet,
                mtu: *mtu,
            },
        )
    };
    interfaces.iter().map(facts).collect()
}

#[test]
fn a_machine_that_fits_is_accepted() {
    let machine = machine(&[
        ("lo", false, 65536),
        ("lan0", true, 1500),
        ("lan1", true, 1500),
        ("eth1", true, 1500),
        ("wwan0", true, 1500),
    ]);
    let report = config::host::check(&loaded(), &machine);
    assert!(report.is_empty(), "{report}");
}

#[test]
fn what_does_not_fit_is_reported_in_its_place() {
    let machine = machine(&[
        ("lo", false, 65536),
        ("lan0", true, 1500),
        ("lan2", true, 1500),
        ("eth1", true, 1492),
        ("wwan0", false, 1430),
    ]);
    let report = config::host::check(&loaded(), &machine).to_string();
    let expected = "\
a.yaml:3:15: error: gateway.lan[1]: there is no interface lan1; did you mean `lan0`?
a.yaml:5:62: error: links.dsl.mtu: 1500 is more than the MTU of interface eth1: 1492; write 1492 or less
a.yaml:7:16: error: links.lte.interface: interface wwan0 is not Ethernet; name an Ethernet interface
a.yaml:19:48: error: tunnels.b.ivcs[1].mtu: 1500 is more than the MTU of interface wwan0: 1430; write 1430 or less
";
    assert_eq!(report, expected);
}

#[test]
fn the_names_that_exist_are_given() {
    let machine = machine(&[
        ("lo", false, 65536),
        ("enp1s0", true, 1500),
        ("enp2s0", true, 1500),
    ]);
    let report = config::host::check(&loaded(), &machine).to_string();
    let line = "a.yaml:7:16: error: links.lte.interface: there is no interface wwan0; \
                write one of enp1s0, enp2s0\n";
    assert!(report.contains(line), "{report}");
    let none = config::host::check(&loaded(), &Interfaces::new()).to_string();
    assert!(
        none.contains("this machine has no Ethernet interface"),
        "{none}"
    );
    assert_eq!(none.lines().count(), 4);
}

#[test]
fn an_mtu_taken_from_the_link_is_reported_once() {
    let keys = keys::directory();
    let text = TEXT.replace("198.51.100.1}", "198.51.100.1, mtu: 1500}");
    let loaded = config::parse(&text, "a.yaml", Path::new(keys.path())).expect("valid");
    let machine = machine(&[
        ("lan0", true, 1500),
        ("lan1", true, 1500),
        ("eth1", true, 1492),
        ("wwan0", true, 1500),
    ]);
    let report = config::host::check(&loaded, &machine);
    let fields: Vec<_> = report
        .diagnostics()
        .iter()
        .map(|d| d.field.as_str())
        .collect();
    assert_eq!(fields, ["links.dsl.mtu"]);
}
