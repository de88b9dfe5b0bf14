//! Packets of one engine that come to the other altered, or more than once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    engine,
    wiretap::{Packet, Wiretap},
};
use crate::{
    capture::{CapturePlan, Needle},
    gateway::Gateway,
    lab::{HOST_DEVICE, Site},
    scenarios::{
        kernel_tools::xfrm_errors,
        stage::{Stage, status},
    },
    traffic::icmp::{Ping, ping},
    wait::wait_until,
};

/// Copies of each packet.
const COPIES: u64 = 3;
/// How long a packet may take to be dropped on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet that cannot arrive gets to leave.
const DEPARTURE: Duration = Duration::from_millis(500);

/// A change of a packet, from its SPI on.
type Change = fn(&mut [u8]);

/// What is changed (RFC 4303 section 2).
const ALTERATIONS: [(&str, Change); 4] = [
    ("sequence number", |esp| esp[5] ^= 1),
    ("initialisation vector", |esp| esp[15] ^= 1),
    ("ciphertext", |esp| esp[16] ^= 0x80),
    ("check value", |esp| {
        let last = esp.len() - 1;
        esp[last] ^= 1;
    }),
];

/// Why an engine drops packets, as it says itself.
pub(super) struct Reasons {
    pub(super) altered: &'static str,
    pub(super) replayed: &'static str,
}

impl Reasons {
    pub(super) fn of(engine: &str) -> Self {
        match engine {
            "userspace" => Self {
                altered: "esp_forged",
                replayed: "esp_replayed",
            },
            _ => Self {
                altered: "XfrmInStateProtoError",
                replayed: "XfrmInStateSeqError",
            },
        }
    }
}

/// Holds up packets from a site, whole and in pieces, and lets the other have them altered, then as they were, then again.
pub(super) fn play(stage: &Stage<'_>, from: &str) -> Result<()> {
    let (sender, receiver) = stage.hosts(from)?;
    let gateway = if from == "a" { &stage.b } else { &stage.a };
    let engine = engine(stage, gateway);
    let reasons = Reasons::of(engine);
    for (size, pieces) in [(100, 1), (1472, 2)] {
        let packet = withheld(stage, sender, receiver, size)?;
        ensure!(packet.pieces() == pieces, "{} pieces", packet.pieces());
        let needle = Needle::addresses(sender.lan().host, receiver.lan().host);
        let plan = CapturePlan::new().needle(needle.clone());
        let arrivals = plan.start(receiver.host(), HOST_DEVICE)?;
        for (what, change) in ALTERATIONS {
            let altered = packet.altered(change);
            expect_drops(gateway, engine, reasons.altered, COPIES, || {
                (0..COPIES).try_for_each(|_| altered.send(receiver))
            })
            .with_context(|| format!("another {what}"))?;
        }
        // Altered packets have not used up its number.
        packet.send(receiver)?;
        expect_drops(gateway, engine, reasons.replayed, COPIES, || {
            (0..COPIES).try_for_each(|_| packet.send(receiver))
        })
        .context("the same again")?;
        let found = arrivals.finish()?.found(needle.name());
        ensure!(
            found == Some(1),
            "{found:?} packets have come instead of one"
        );
    }
    println!(
        "      engine {engine}: altered packets are dropped as {}, replayed ones as {}",
        reasons.altered, reasons.replayed
    );
    Ok(())
}

/// Has a site send a packet that does not arrive.
fn withheld(stage: &Stage<'_>, from: &Site, to: &Site, size: usize) -> Result<Packet> {
    let swallow = |on| {
        let mut links = from.links().iter();
        links.try_for_each(|link| link.blackhole(on))
    };
    swallow(true)?;
    let tap = Wiretap::start(from)?;
    let answer = ping(from.host(), to.lan().host, size, true, DEPARTURE)?;
    let packets = tap.finish(stage.spec.spi(from, to))?;
    swallow(false)?;
    ensure!(answer == Ping::Timeout, "it was not held up: {answer:?}");
    packets.into_iter().next().context("no packet was sent")
}

/// Fails unless `provoke` makes an engine drop so many packets for this reason, and none for another.
pub(super) fn expect_drops(
    gateway: &Gateway<'_>,
    engine: &str,
    reason: &str,
    count: u64,
    provoke: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = drops(gateway, engine)?;
    provoke()?;
    let mut changed = Vec::new();
    let met = wait_until(PATIENCE, "the drops", || {
        let now = drops(gateway, engine)?.into_iter().zip(&before);
        let grown = now.map(|((name, now), (_, before))| (name, now - before));
        changed = grown.filter(|(_, grown)| *grown > 0).collect();
        Ok(changed
            .iter()
            .any(|(name, grown)| name == reason && *grown >= count))
    });
    met.with_context(|| format!("{changed:?}"))?;
    ensure!(changed == [(reason.to_owned(), count)], "{changed:?}");
    Ok(())
}

/// What a gateway's engine and programs have dropped, by reason.
fn drops(gateway: &Gateway<'_>, engine: &str) -> Result<Vec<(String, u64)>> {
    let drops = status(gateway)?.drops.into_iter();
    let mut drops: Vec<_> = drops.map(|drop| (drop.reason, drop.packets)).collect();
    // With Withy's own engine the kernel knows none of the packets, and says so of each.
    if engine == "kernel" {
        drops.extend(xfrm_errors(gateway.site().gateway())?);
    }
    Ok(drops)
}
