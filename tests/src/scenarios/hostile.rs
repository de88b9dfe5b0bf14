//! Packets that no honest gateway sends.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::config::Receive;
use withy_common::keepalive;

use super::{
    Scenario,
    kernel_tools::{run, xfrm_errors},
    stage::{PING_LIMIT, Stage, fast_links, launch, play, status, terminate},
    transfer::small_transfers,
};
use crate::{
    capture::{CapturePlan, Ipv4Fields, Needle, ethernet, inject, ipv4},
    lab::{Lab, Link},
    site_config::{TunnelSpec, endpoint},
    traffic::icmp::{Ping, ping},
    wait::wait_until,
};
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("hostile_packets_are_dropped_and_counted_at_xdp", || {
        hostile(Receive::Xdp)
    }),
    Scenario::new("hostile_packets_are_dropped_and_counted_at_tc", || {
        hostile(Receive::Tc)
    })
    .smoke(),
    Scenario::new(
        "cleartext_never_leaves_through_the_bundle_device",
        cleartext,
    ),
];

const ESP: u8 = 50;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Copies of each packet: one alone might be anything's.
const COPIES: u64 = 10;

/// An integrity check that fails, among others.
const BAD_PROTECTION: &str = "XfrmInStateProtoError";

const BYTES: u64 = 300_000;

/// What must become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Dropped by an eBPF program or the daemon, for this reason in the status.
    Dropped(&'static str),
    /// Passed to IPsec, which refuses it: the counter of `/proc/net/xfrm_stat`.
    Refused(&'static str),
    /// Passed to reassembly, where it waits in vain.
    Waits,
}

/// A packet from the link's far end, and its fate.
struct Attack {
    name: &'static str,
    /// Injected one after the other, in turn.
    packets: Vec<Vec<u8>>,
    fate: Fate,
}

/// Traffic flows while each kind is injected, and afterwards.
fn hostile(receive: Receive) -> Result<()> {
    let spec = TunnelSpec {
        receive,
        ..TunnelSpec::default()
    };
    play(Lab::paired(&fast_links()), &spec, |stage| {
        let (a, b) = stage.hosts("a")?;
        let link = a.link("wan1")?;
        let far = b.link("wan1")?.address();
        let spi = stage.spec.spi(b, a);
        for attack in attacks(far, link.address(), spi) {
            attempt(stage, link, &attack).with_context(|| attack.name)?;
        }
        small_transfers(stage, BYTES)?;
        let answer = provider_ping(link)?;
        ensure!(
            matches!(answer, Ping::Reply { .. }),
            "the provider's ping: {answer:?}"
        );
        println!("    the tunnel is unharmed, and what is not ESP passes");
        Ok(())
    })
}

/// Injects copies and waits until all of them have met their fate; pings meanwhile.
fn attempt(stage: &Stage<'_>, link: &Link, attack: &Attack) -> Result<()> {
    let (gateway, provider) = link.macs();
    let packets = attack.packets.iter();
    let turn: Vec<_> = packets
        .map(|packet| ethernet(provider, gateway, packet))
        .collect();
    let frames = (0..COPIES).flat_map(|_| turn.iter().map(Vec::as_slice));
    let before = fates(stage)?;
    let (netns, device) = link.provider();
    inject(netns, device, frames)?;
    stage.expect_ping("a", 1472)?;
    stage.expect_ping("b", 1472)?;
    let mut after = before.clone();
    let wanted = match attack.fate {
        Fate::Dropped(name) | Fate::Refused(name) => Some(name),
        Fate::Waits => None,
    };
    let met = wait_until(Duration::from_secs(3), "the packets' fate", || {
        after = fates(stage)?;
        Ok(wanted.is_none_or(|name| count(&after, name) >= count(&before, name) + COPIES))
    });
    let changed: Vec<String> = after
        .iter()
        .filter_map(|(name, now)| {
            let grown = now - count(&before, name);
            (grown > 0).then(|| format!("{name} +{grown}"))
        })
        .collect();
    println!(
        "    {}: {:?}; {}",
        attack.name,
        attack.fate,
        changed.join(", ")
    );
    met?;
    // Nothing but what was to happen.
    let wanted: Vec<String> = wanted
        .map(|name| format!("{name} +{COPIES}"))
        .into_iter()
        .collect();
    ensure!(changed == wanted, "{changed:?} instead of {wanted:?}");
    Ok(())
}

type Fates = Vec<(String, u64)>;

/// The drop counters of gateway A and what its IPsec refused.
fn fates(stage: &Stage<'_>) -> Result<Fates> {
    let drops = status(&stage.a)?.drops;
    let mut fates: Fates = drops
        .into_iter()
        .map(|drop| (drop.reason, drop.packets))
        .collect();
    fates.extend(xfrm_errors(stage.a.site().gateway())?);
    Ok(fates)
}

fn count(fates: &Fates, name: &str) -> u64 {
    let found = fates.iter().find(|(known, _)| known == name);
    found.map_or(0, |(_, count)| *count)
}

/// Every kind of packet, as it comes from the link's far end.
fn attacks(far: Ipv4Addr, near: Ipv4Addr, spi: u32) -> Vec<Attack> {
    let fields = Ipv4Fields::new(far, near, ESP);
    let with = |change: fn(&mut Ipv4Fields)| {
        let mut changed = fields.clone();
        change(&mut changed);
        changed
    };
    let esp = forged_esp(spi, 400);
    let stranger = Ipv4Fields::new(Ipv4Addr::new(192, 0, 2, 99), near, ESP);
    let mut truncated = ipv4(&fields, &esp);
    truncated.truncate(200);
    let mut spoiled = ipv4(&fields, &esp);
    spoiled[10] ^= 0x55;
    let options = with(|fields| fields.options = vec![1; 4]);
    let beyond = with(|fields| fields.fragment = 0x1fff);
    let middle = with(|fields| fields.fragment = MORE_FRAGMENTS);
    let dying = with(|fields| fields.ttl = 1);
    vec![
        dropped(
            "an unknown address pair",
            ipv4(&stranger, &esp),
            "rx_no_ivc",
        ),
        dropped("a truncated packet", truncated, "rx_truncated"),
        dropped("no room for ESP", ipv4(&fields, &[0; 8]), "rx_truncated"),
        dropped("a wrong checksum", spoiled, "rx_checksum"),
        dropped("IP options", ipv4(&options, &esp), "rx_options"),
        dropped(
            "a fragment beyond 65,535 bytes",
            ipv4(&beyond, &esp[..32]),
            "rx_oversized",
        ),
        dropped(
            "a fragment of odd length",
            ipv4(&middle, &esp[..33]),
            "rx_bad_fragment",
        ),
        dropped(
            "a forged keepalive",
            ipv4(&fields, &forged_esp(keepalive::SPI, keepalive::LEN)),
            "rx_keepalive",
        ),
        refused("TTL 1", vec![ipv4(&dying, &esp)], BAD_PROTECTION),
        refused(
            "forged ESP of a known SPI",
            vec![ipv4(&fields, &esp)],
            BAD_PROTECTION,
        ),
        refused("forged fragments", fragments(&fields, &esp), BAD_PROTECTION),
        refused(
            "ESP of an unknown SPI",
            vec![ipv4(&fields, &forged_esp(0x0bad_cafe, 400))],
            "XfrmInNoStates",
        ),
        Attack {
            name: "a forged first fragment",
            packets: fragments(&fields, &esp)[..1].to_vec(),
            fate: Fate::Waits,
        },
    ]
}

fn dropped(name: &'static str, packet: Vec<u8>, reason: &'static str) -> Attack {
    Attack {
        name,
        packets: vec![packet],
        fate: Fate::Dropped(reason),
    }
}

fn refused(name: &'static str, packets: Vec<Vec<u8>>, counter: &'static str) -> Attack {
    Attack {
        name,
        packets,
        fate: Fate::Refused(counter),
    }
}

/// A packet in two legal fragments.
fn fragments(fields: &Ipv4Fields, payload: &[u8]) -> Vec<Vec<u8>> {
    let cut = payload.len() / 16 * 8;
    let offset = u16::try_from(cut / 8).unwrap_or(0);
    let part = |fragment| Ipv4Fields {
        fragment,
        identification: 0xf00d,
        ..fields.clone()
    };
    vec![
        ipv4(&part(MORE_FRAGMENTS), &payload[..cut]),
        ipv4(&part(offset), &payload[cut..]),
    ]
}

/// SPI, a sequence number that no window has passed, and what nobody can decrypt (RFC 4303).
fn forged_esp(spi: u32, length: usize) -> Vec<u8> {
    let mut esp = vec![0xa5; length];
    esp[..4].copy_from_slice(&spi.to_be_bytes());
    esp[4..8].copy_from_slice(&0x7fff_0000_u32.to_be_bytes());
    esp
}

fn provider_ping(link: &Link) -> Result<Ping> {
    ping(link.provider().0, link.address(), 56, true, PING_LIMIT)
}

/// Packets that miss IPsec, for its policies are gone, end at the bundle device.
fn cleartext() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let (a, b) = stage.hosts("a")?;
            terminate(&mut stage.a)?;
            run(a.gateway(), "ip xfrm policy flush")?;
            let needle = Needle::addresses(a.lan().host, b.lan().host);
            let name = needle.name().to_owned();
            let captures = a.links().iter().map(|link| {
                let (netns, device) = link.provider();
                let plan = CapturePlan::new().needle(needle.clone());
                Ok((link.address(), plan.start(netns, device)?))
            });
            let captures = captures.collect::<Result<Vec<_>>>()?;
            // Nobody repairs the policies meanwhile.
            for _ in 0..COPIES {
                let answer = ping(a.host(), b.lan().host, 56, true, Duration::from_millis(50))?;
                ensure!(answer == Ping::Timeout, "there was an answer: {answer:?}");
            }
            // The gateway itself reaches the far endpoint in cleartext only: not at all.
            let answer = ping(
                a.gateway(),
                endpoint(b)?,
                56,
                true,
                Duration::from_millis(50),
            )?;
            ensure!(answer == Ping::Timeout, "the endpoint answered: {answer:?}");
            for (own, capture) in captures {
                let tally = capture.finish()?;
                ensure!(
                    tally.missed == 0 && tally.found(&name) == Some(0),
                    "{tally:?}"
                );
                // The far gateway's keepalives come in; nothing may go out.
                let left = tally.pairs.keys().any(|(source, _)| *source == own);
                ensure!(!left, "something left: {:?}", tally.pairs);
            }
            launch(&mut stage.a)?;
            stage.wait_healthy()?;
            // To the far private network leads no SVC; the far endpoint has one, for ESP only.
            let fates = fates(stage)?;
            let drops = ["tx_no_svc", "tx_not_esp"].map(|name| count(&fates, name));
            println!("    without an SVC, without ESP: {drops:?} dropped and counted");
            ensure!(drops == [COPIES, 1], "{drops:?} were counted");
            small_transfers(stage, BYTES)
        },
    )
}
