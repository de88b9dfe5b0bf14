//! What holds for every text and for every valid configuration.

use std::{fmt::Write as _, path::Path};

use proptest::{collection::vec, option, prelude::*, sample::select};
use withy::config::{self, Severity, Suite};

mod keys;

/// A text made of what configurations are made of, in any order.
fn shuffled_yaml() -> impl Strategy<Value = String> {
    let words = select(vec![
        "gateway",
        "links",
        "bundles",
        "tunnels",
        "name",
        "lan",
        "limits",
        "svcs",
        "ivcs",
        "dsl",
        "interface",
        "rate",
        "latency",
        "mtu",
        "bundle",
        "endpoints",
        "subnets",
        "local",
        "remote",
        "link",
        "security",
        "peer",
        "key",
        "pool",
        "listen",
        "suites",
        "rekey",
        "mode",
        "negotiated",
        "suite",
        "outbound",
        "inbound",
        "spi",
        "key_file",
        ":",
        ": ",
        " ",
        "  ",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "#",
        "\"",
        "'",
        "|\n",
        ">\n",
        "&a ",
        "*a",
        "!t ",
        "%",
        "? ",
        "---\n",
        "...\n",
        "~",
        "<<",
        "20 Mbit/s",
        "12 ms",
        "10.0.0.0/8",
        "192.168.1.1",
        "0x1001",
        "1500",
        "\t",
        "\r",
        "\r\n",
        "\u{feff}",
        "\u{0}",
        "\u{85}",
        "\u{2028}",
        "é",
        "😀",
        "\\",
        "\\x",
        "@",
        "`",
    ]);
    vec(words, 0..80).prop_map(|words| words.concat())
}

/// Mutilates a valid file.
fn mutilated() -> impl Strategy<Value = String> {
    let texts = vec![
        include_str!("../../deploy/examples/london.yaml"),
        include_str!("../../deploy/examples/hub.yaml"),
    ];
    let cut = (any::<prop::sample::Index>(), 0_usize..40, "\\PC{0,6}");
    (select(texts), vec(cut, 1..4)).prop_map(|(text, cuts)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (index, length, new) in cuts {
            let start = index.index(chars.len());
            let end = (start + length).min(chars.len());
            chars.splice(start..end, new.chars());
        }
        chars.into_iter().collect()
    })
}

/// Checks what holds for every report: it has positions inside the text, in order, and renders.
fn examine(text: &str) -> Result<(), TestCaseError> {
    let Err(report) = config::parse(text, "x.yaml", Path::new("/nonexistent")) else {
        return Ok(());
    };
    prop_assert!(report.has_errors(), "refused without a reason: {text:?}");
    let lines = text.split(['\n', '\r']).count() + 1;
    let mut last = (0, 0);
    for finding in report.diagnostics() {
        let Some(position) = finding.position else {
            continue;
        };
        prop_assert!(
            (1..=lines).contains(&position.line),
            "{finding:?}\n{text:?}"
        );
        prop_assert!(position.column >= 1);
        prop_assert!(
            last <= (position.line, position.column),
            "out of order: {text:?}"
        );
        last = (position.line, position.column);
        prop_assert!(finding.help.is_some());
        prop_assert!(
            !finding.message.chars().any(char::is_control),
            "{finding:?}"
        );
        prop_assert!(!finding.field.chars().any(char::is_control), "{finding:?}");
    }
    for colour in [config::Colour::Always, config::Colour::Never] {
        prop_assert!(!report.render(colour).is_empty());
    }
    Ok(())
}

/// An optional field of a flow mapping.
fn field(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<String> {
    option::of(select(values))
        .prop_map(move |value| value.map_or(String::new(), |value| format!(", {name}: {value}")))
        .boxed()
}

fn link() -> impl Strategy<Value = String> {
    (
        select(vec![
            "10 Mbit/s",
            "1.5 Gbit/s",
            "{up: 123456 bit/s, down: 100 Gbit/s}",
        ]),
        select(vec!["0 ms", "1.25 ms", "10 s", "17 us"]),
        field(
            "isp",
            &["Example", "\"no\"", "'123'", "\"a: b # c\"", "null-island"],
        ),
        field("mtu", &["auto", "576", "9216"]),
        field("overhead", &["0", "14", "255"]),
        (
            field("receive", &["auto", "xdp", "tc"]),
            field("pacing", &["auto", "off"]),
        ),
        field("next_hop", &["auto", "203.0.113.1"]),
        field("metered", &["true", "false"]),
        field(
            "probe",
            &["{}", "{interval: 20 ms}", "{idle: 10 s}", "{interval: 1 s, idle: 1 s}"],
        ),
    )
        .prop_map(|(rate, latency, isp, mtu, overhead, (receive, pacing), hop, metered, probe)| {
            format!("rate: {rate}, latency: {latency}{isp}{mtu}{overhead}{receive}{pacing}{hop}{metered}{probe}")
        })
}

#[derive(Debug, Clone)]
struct TunnelPlan {
    /// For each of 4 links, how many IVCs.
    ivcs: [usize; 4],
    suite: Suite,
    subnets: usize,
    ivc_fields: String,
    fields: Vec<String>,
    replay_window: String,
}

fn tunnel() -> impl Strategy<Value = TunnelPlan> {
    let ivc = (
        field("rate", &["1 kbit/s", "999999 bit/s"]),
        field("latency", &["3 ms", "0.5 s"]),
        field("mtu", &["576", "auto"]),
    );
    let fields = vec![
        field("description", &["'0x10'", "\"~\"", "Some office"]),
        field("split", &["auto", "mtu", "always", "whole-only"]),
        field("mss", &["auto", "off", "256", "9176"]),
        field("queue", &["1 ms", "100 ms", "10 s"]),
        field("resequence", &["auto", "on", "off"]),
        field(
            "policy",
            &["aggregate", "lowest-latency", "redundant", "sticky"],
        ),
        field(
            "classes",
            &[
                "[{match: {dscp: ef}, policy: redundant}]",
                "[{match: {dscp: [cs5, 1], size: {at_most: 300}}, policy: lowest-latency}, \
                 {match: {protocol: [tcp, 99], ports: [22, 10000-20000]}, policy: sticky}]",
            ],
        ),
        field("resend", &["auto", "off"]),
    ];
    (
        [1_usize..=4, 0..=4, 0..=4, 0..=4],
        select(Suite::ALL.to_vec()),
        1_usize..=8,
        ivc.prop_map(|(rate, latency, mtu)| rate + &latency + &mtu),
        fields,
        field("replay_window", &["32", "4096", "65536"]),
    )
        .prop_map(
            |(ivcs, suite, subnets, ivc_fields, fields, replay_window)| TunnelPlan {
                ivcs,
                suite,
                subnets,
                ivc_fields,
                fields,
                replay_window,
            },
        )
}

/// What a negotiated tunnel says beyond its peer's key.
fn negotiation() -> impl Strategy<Value = String> {
    let security = (
        field(
            "suites",
            &["[aes-gcm-128]", "[chacha20-poly1305, aes-gcm-256]"],
        ),
        field(
            "rekey",
            &["{}", "{after: 1 min}", "{after: 24 h, bytes: 1025 KiB}"],
        ),
        field("replay_window", &["32", "4096", "65536"]),
    );
    let section = security.prop_map(|(suites, rekey, window)| {
        format!(", security: {{mode: negotiated{suites}{rekey}{window}}}")
    });
    let address = field("address", &["198.18.9.1", "'198.18.9.1:1'"]);
    (address, option::of(section))
        .prop_map(|(address, section)| format!("{address}}}{}", section.unwrap_or_default()))
}

/// Writes negotiated tunnels after those of [`write`], with which they do not collide.
fn write_negotiated(plans: &[String]) -> String {
    let keys = [
        "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
        "/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=",
    ];
    let mut text = String::new();
    for (index, (plan, key)) in plans.iter().zip(keys).enumerate() {
        writeln!(
            text,
            "  n{index}: {{bundle: '1', subnets: {{local: [10.90.{index}.0/24], \
             remote: [10.190.{index}.0/24]}}, peer: {{key: {key}{plan}}}"
        )
        .expect("a string");
    }
    text
}

/// Writes a valid file: whatever is chosen, names, addresses and subnets do not collide.
fn write(links: &[String], tunnels: &[TunnelPlan]) -> String {
    let mut text =
        "gateway: {name: g, lan: [lan0, br-lan], key_file: gateway, pool: 172.16.0.0/30}\nlinks:\n"
            .to_owned();
    for (index, link) in links.iter().enumerate() {
        writeln!(text, "  l{index}: {{interface: eth{index}, {link}}}").expect("a string");
    }
    text += "bundles:\n  '1': {links: [l0, l1, l2, l3]}\ntunnels:\n";
    for (index, plan) in tunnels.iter().enumerate() {
        let lists = |first: usize| -> Vec<String> {
            (0..plan.subnets)
                .map(|n| format!("10.{first}.{n}.0/24"))
                .collect()
        };
        let (local, remote) = (lists(index).join(", "), lists(100 + index).join(", "));
        let ivcs = (0..4).flat_map(|link| {
            (0..plan.ivcs[link]).map(move |n| {
                format!(
                    "{{link: l{link}, remote: 198.18.{index}.{}{}}}",
                    n + 1,
                    plan.ivc_fields
                )
            })
        });
        let ivcs: Vec<String> = ivcs.collect();
        let (spi, suite) = (0x1000 + index * 2, plan.suite);
        let suffixes = [["a", "b"], ["2a", "2b"]][index];
        writeln!(
            text,
            "  t{index}: {{bundle: '1', endpoints: {{local: 10.255.0.1, remote: 10.255.1.{index}}}, \
             subnets: {{local: [{local}], remote: [{remote}]}}, ivcs: [{}]{}, security: {{\
             mode: manual, suite: {suite}, outbound: {{spi: {spi}, key_file: {suite}-{}}}, \
             inbound: {{spi: {}, key_file: {suite}-{}}}{}}}}}",
            ivcs.join(", "),
            plan.fields.concat(),
            suffixes[0],
            spi + 1,
            suffixes[1],
            plan.replay_window,
        )
        .expect("a string");
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        examine(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,100}") {
        examine(&text)?;
    }

    #[test]
    fn no_yaml_makes_the_reader_panic(text in shuffled_yaml()) {
        examine(&text)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_mutilation_makes_the_reader_panic(text in mutilated()) {
        examine(&text)?;
    }

    #[test]
    fn a_valid_configuration_is_accepted_and_reads_as_it_is_written(
        links in vec(link(), 4),
        tunnels in vec(tunnel(), 0..=2),
        negotiated in vec(negotiation(), 0..=2),
    ) {
        let keys = keys::directory();
        let text = write(&links, &tunnels) + &write_negotiated(&negotiated);
        let text = if tunnels.is_empty() && negotiated.is_empty() { text.trim_end().to_owned() + " {}\n" } else { text };
        let read = config::parse(&text, "x.yaml", keys.path());
        let read = read.map_err(|report| TestCaseError::fail(format!("{report}\n{text}")))?;
        for finding in read.warnings.diagnostics() {
            prop_assert_eq!(finding.severity, Severity::Warning);
        }
        let written = serde_yaml::to_string(&read.config).expect("a text");
        let again = config::parse(&written, "x.yaml", keys.path());
        let again = again.map_err(|report| TestCaseError::fail(format!("{report}\n{written}")))?;
        prop_assert_eq!(read.config, again.config);
    }
}
