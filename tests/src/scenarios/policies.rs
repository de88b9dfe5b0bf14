//! The split policies: what passes, in how many pieces, and what hosts are told.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};
use withy::config::SplitPolicy;

use super::{
    Scenario,
    stage::{PING_LIMIT, Stage, fast_links, play, tunnel},
    transfer::small_transfers,
};
use crate::{
    capture::{Capture, CapturePlan, Frame},
    lab::{HOST_DEVICE, Lab},
    site_config::{TunnelSpec, inner_mtu},
    traffic::{
        icmp::{Ping, path_mtu},
        tcp::Volume,
    },
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "mtu_passes_all_sizes_without_icmp_and_keeps_bulk_whole",
        mtu,
    )
    .smoke(),
    Scenario::new(
        "always_passes_all_sizes_without_icmp_and_splits_bulk",
        always,
    ),
    Scenario::new(
        "whole_only_tells_the_right_mtu_and_splits_nothing",
        whole_only,
    ),
];

/// IPv4 and ICMP headers.
const PING_HEADERS: usize = 28;

/// IPv4 and TCP headers without options.
pub(super) const TCP_HEADERS: usize = 40;

/// ICMP's type for what cannot be delivered.
const UNREACHABLE: u8 = 3;

/// Bytes of TCP each way.
const BULK: u64 = 2_000_000;

pub(super) const PATH_MTU: usize = 1500;

fn spec(split: SplitPolicy) -> TunnelSpec {
    TunnelSpec {
        split,
        ..TunnelSpec::default()
    }
}

fn mtu() -> Result<()> {
    let spec = spec(SplitPolicy::Mtu);
    play(Lab::paired(&fast_links()), &spec, |stage| {
        all_sizes_without_icmp(stage)?;
        let (packets, pieces) = bulk(stage, Some(inner_mtu(stage.spec.suite, PATH_MTU)))?;
        ensure!(
            packets == pieces,
            "{packets} packets of bulk made {pieces} pieces"
        );
        limits_of_whole(stage)
    })
}

fn always() -> Result<()> {
    let spec = spec(SplitPolicy::Always);
    play(Lab::paired(&fast_links()), &spec, |stage| {
        all_sizes_without_icmp(stage)?;
        let (packets, pieces) = bulk(stage, None)?;
        ensure!(
            pieces * 2 > packets * 3,
            "{packets} packets of bulk made only {pieces} pieces"
        );
        Ok(())
    })
}

fn whole_only() -> Result<()> {
    let spec = spec(SplitPolicy::WholeOnly);
    play(Lab::paired(&fast_links()), &spec, |stage| {
        let inner = inner_mtu(stage.spec.suite, PATH_MTU);
        for from in ["a", "b"] {
            told_the_mtu(stage, from, inner)?;
        }
        // Hosts that know the MTU fragment what they must before it enters the tunnel.
        all_sizes(stage)?;
        bulk(stage, Some(inner))?;
        for gateway in [&stage.a, &stage.b] {
            let (packets, pieces) = sent(&tunnel(gateway)?);
            ensure!(packets == pieces, "{packets} packets made {pieces} pieces");
        }
        Ok(())
    })
}

/// Sends every size both ways, and fails if a host hears of anything undeliverable.
fn all_sizes_without_icmp(stage: &Stage<'_>) -> Result<()> {
    let captures = ["a", "b"].map(|site| {
        let host = stage.lab.site(site)?.host();
        CapturePlan::new().start(host, HOST_DEVICE)
    });
    for from in ["a", "b"] {
        stage.expect_ping(from, PATH_MTU - PING_HEADERS)?;
    }
    all_sizes(stage)?;
    for capture in captures {
        let tally = capture?.finish()?;
        ensure!(
            tally.missed == 0,
            "a capture missed {} frames",
            tally.missed
        );
        let complaints = tally.icmp.keys().filter(|(kind, _)| *kind == UNREACHABLE);
        ensure!(complaints.count() == 0, "ICMP came back: {:?}", tally.icmp);
    }
    println!("    ping -M do -s 1472 and all UDP sizes pass, no ICMP error");
    Ok(())
}

/// UDP of every size that fits an Ethernet frame, echoed; from one side is both ways.
fn all_sizes(stage: &Stage<'_>) -> Result<()> {
    let report = stage.probe("a")?.echo(1..=1472, Duration::from_secs(3))?;
    ensure!(
        report.missing.is_empty() && report.wrong == 0 && report.echoed.len() == 1472,
        "missing {:?}, {} wrong",
        report.missing,
        report.wrong
    );
    Ok(())
}

/// Lets a host find out what fits: exactly `inner` bytes.
fn told_the_mtu(stage: &Stage<'_>, from: &str, inner: usize) -> Result<()> {
    let told = stage.ping(from, PATH_MTU - PING_HEADERS)?;
    println!("    {from} sends {PATH_MTU} bytes with DF: {told:?}; {inner} bytes fit");
    let Ping::FragNeeded { mtu, from: Some(_) } = told else {
        anyhow::bail!("no router said what fits: {told:?}");
    };
    ensure!(mtu as usize == inner, "told {mtu} bytes, but {inner} fit");
    let (here, there) = stage.hosts(from)?;
    let believed = path_mtu(here.host(), there.lan().host)?;
    ensure!(
        believed as usize == inner,
        "the host believes in {believed} bytes"
    );
    stage.expect_ping(from, inner - PING_HEADERS)?;
    let longer = stage.ping(from, inner - PING_HEADERS + 1)?;
    ensure!(
        matches!(longer, Ping::FragNeeded { from: None, .. }),
        "one byte more: {longer:?}"
    );
    Ok(())
}

/// The longest packet that is to stay whole does, and one byte more makes two pieces.
fn limits_of_whole(stage: &Stage<'_>) -> Result<()> {
    let inner = inner_mtu(stage.spec.suite, PATH_MTU);
    for (size, wanted) in [(inner, 1), (inner + 1, 2)] {
        let before = sent(&tunnel(&stage.a)?);
        stage.expect_ping("a", size - PING_HEADERS)?;
        let after = sent(&tunnel(&stage.a)?);
        let (packets, pieces) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            (packets, pieces) == (1, wanted),
            "{size} bytes: {packets} packets in {pieces} pieces within {PING_LIMIT:?}"
        );
    }
    println!(
        "    {inner} bytes stay whole, {} make two pieces",
        inner + 1
    );
    Ok(())
}

/// Transfers bulk each way; `inner` is what the MSS must be clamped to fit, if it is. Returns
/// packets and pieces that A sent for it.
fn bulk(stage: &Stage<'_>, inner: Option<usize>) -> Result<(u64, u64)> {
    let captures: Vec<(&str, Capture)> = ["a", "b"]
        .into_iter()
        .map(|site| {
            let host = stage.lab.site(site)?.host();
            Ok((site, CapturePlan::new().keep(64).start(host, HOST_DEVICE)?))
        })
        .collect::<Result<_>>()?;
    let before = sent(&tunnel(&stage.a)?);
    small_transfers(stage, BULK)?;
    let after = sent(&tunnel(&stage.a)?);
    let wanted = inner.unwrap_or(PATH_MTU) - TCP_HEADERS;
    for (site, capture) in captures {
        let tally = capture.finish()?;
        let seen = tally.kept.iter().find_map(syn_mss).context("no SYN came")?;
        println!("    {site} hears of an MSS of {seen} bytes");
        ensure!(
            usize::from(seen) == wanted,
            "{site} hears of {seen}, not {wanted}"
        );
    }
    let (packets, pieces) = (after.0 - before.0, after.1 - before.1);
    println!("    {packets} packets of bulk in {pieces} pieces");
    Ok((packets, pieces))
}

/// The MSS in the SYN that the host of site B receives from a new connection of A's.
pub(super) fn told_mss(stage: &Stage<'_>) -> Result<usize> {
    let host = stage.lab.site("b")?.host();
    let capture = CapturePlan::new().keep(64).start(host, HOST_DEVICE)?;
    stage.transfer("a", Volume::Bytes(1))?.run()?;
    let seen = capture.finish()?.kept.iter().find_map(syn_mss);
    Ok(seen.context("no SYN came")?.into())
}

/// The MSS in a SYN that a host received.
fn syn_mss(frame: &Frame) -> Option<u16> {
    if frame.outgoing {
        return None;
    }
    let packet = SlicedPacket::from_ethernet(&frame.bytes).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    if !tcp.syn() {
        return None;
    }
    tcp.options_iterator()
        .flatten()
        .find_map(|option| match option {
            TcpOptionElement::MaximumSegmentSize(mss) => Some(mss),
            _ => None,
        })
}

/// Packets and pieces sent over all IVCs.
pub(super) fn sent(tunnel: &withy::api::status::TunnelStatus) -> (u64, u64) {
    let sum = |field: fn(&withy::api::status::TrafficStatus) -> u64| {
        tunnel.ivcs.iter().map(|ivc| field(&ivc.tx)).sum()
    };
    (sum(|tx| tx.packets), sum(|tx| tx.pieces))
}
