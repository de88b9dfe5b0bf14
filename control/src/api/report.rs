//! Writing the status.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use withy_common::maps::{IvcCounters, Traffic};

use super::status::{
    DropStatus, IvcState, IvcStatus, LinkState, LinkStatus, MtuSource, OrderCounts, OrderStatus,
    ProbesOnly, RateSource, RecentStatus, RefusalStatus, ResendStatus, SCHEMA, SaDirection,
    SaStatus, SaUsage, SplittingStatus, Status, TrafficStatus, TunnelState, TunnelStatus,
};
use crate::{
    bundle::{IvcId, Slots, ident},
    config::{Config, LinkName, Rate, Resequence, SplitPolicy, Tunnel, TunnelName},
    daemon::{
        engine::{BOUND, Kept},
        recent::{Bytes, Carried},
    },
    dataplane::{DataplaneError, Tables},
    estimate::{Confidence, Gauged},
    link::{LinkView, Links},
    liveness::{Report, State},
    reconcile::objects::Spi,
    splitting::{MOST, Splitting, Why},
    terminal::disarm,
    vpn::{IvcMtu, Path, Running, RunningIvc, RunningTunnels, path_mtu},
};

/// What seals and opens packets.
pub(crate) struct EngineReport {
    /// `kernel` or `userspace`.
    pub(crate) name: &'static str,
    /// Why it was chosen.
    pub(crate) reason: String,
    /// What it has dropped, by reason.
    pub(crate) drops: Vec<(&'static str, u64)>,
    /// How it went with the order of packets; nothing where it does not look at that.
    pub(crate) kept: Option<BTreeMap<TunnelName, Kept>>,
    /// What it has done about packets that links lost, by event.
    pub(crate) resends: Vec<(&'static str, u64)>,
}

/// What a status is written from.
pub(crate) struct View<'a> {
    pub(crate) config: &'a Config,
    pub(crate) running: &'a RunningTunnels,
    pub(crate) links: &'a Links,
    pub(crate) since: &'a BTreeMap<LinkName, u64>,
    pub(crate) receive: &'a BTreeMap<LinkName, &'static str>,
    pub(crate) tables: &'a Tables,
    pub(crate) silent: &'a BTreeSet<IvcId>,
    pub(crate) remote_links: &'a BTreeMap<IvcId, String>,
    pub(crate) reports: &'a BTreeMap<IvcId, Report>,
    /// What IVCs carry, as far as has been found out.
    pub(crate) estimates: &'a BTreeMap<IvcId, Gauged>,
    /// What comes of splitting tunnels' packets, by their remote endpoints, as far as has been found out.
    pub(crate) splittings: &'a BTreeMap<Ipv4Addr, Splitting>,
    /// What they have carried of late, once that is known.
    pub(crate) recent: &'a Carried,
    pub(crate) rejected: u64,
    pub(crate) engine: &'a EngineReport,
    pub(crate) started: u64,
    /// The time in seconds since the epoch.
    pub(crate) now: u64,
    pub(crate) problems: Vec<String>,
    pub(crate) refused: Vec<(&'static str, u64)>,
    pub(crate) troubles: BTreeMap<TunnelName, String>,
}

/// Writes the status.
pub(crate) fn status(view: &View<'_>, slots: &Slots) -> Result<Status, DataplaneError> {
    let config = view.config;
    Ok(Status {
        schema: SCHEMA,
        gateway: config.gateway.name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: view.engine.name.to_owned(),
        engine_reason: Some(engine_reason(view)),
        started: view.started,
        links: view
            .links
            .iter()
            .map(|(name, link)| link_status(view, name, link))
            .collect(),
        tunnels: config
            .tunnels
            .iter()
            .map(|(name, tunnel)| match view.running.get(name) {
                Some(running) => tunnel_status(view, slots, name, running),
                None => Ok(waiting(view, name, tunnel)),
            })
            .collect::<Result<_, _>>()?,
        drops: view
            .tables
            .drops()?
            .into_iter()
            .chain([("rx_keepalive", view.rejected)])
            .chain(view.engine.drops.iter().copied())
            .map(|(reason, packets)| DropStatus {
                reason: reason.to_owned(),
                packets,
            })
            .collect(),
        refusals: view
            .refused
            .iter()
            .map(|(reason, connections)| RefusalStatus {
                reason: (*reason).to_owned(),
                connections: *connections,
            })
            .collect(),
        resends: view
            .engine
            .resends
            .iter()
            .map(|(event, packets)| ResendStatus {
                event: (*event).to_owned(),
                packets: *packets,
            })
            .collect(),
        problems: view.problems.clone(),
    })
}

/// Why the engine is the one that it is, and what of the configuration it does not have.
fn engine_reason(view: &View<'_>) -> String {
    let reason = &view.engine.reason;
    let narrowed: Vec<_> = match view.engine.name {
        "kernel" => view.config.wide_windows().map(TunnelName::as_str).collect(),
        _ => Vec::new(),
    };
    if narrowed.is_empty() {
        return reason.clone();
    }
    format!(
        "{reason}; its replay window of {} packets is narrower than configured for {}",
        Tunnel::KERNEL_REPLAY_WINDOW,
        narrowed.join(", ")
    )
}

/// Lists the security associations of the tunnels that run, with how much they have been used: by direction, destination and SPI.
pub(crate) fn associations(
    running: &RunningTunnels,
    usage: impl Fn(SaDirection, Ipv4Addr, Spi) -> Option<SaUsage>,
) -> Vec<SaStatus> {
    let mut all = Vec::new();
    for (name, tunnel) in running {
        let ends = tunnel.endpoints;
        for (direction, sas, destination) in [
            (SaDirection::Out, &tunnel.outbound, ends.remote),
            (SaDirection::In, &tunnel.inbound, ends.local),
        ] {
            for (index, sa) in sas.iter().enumerate() {
                all.push(SaStatus {
                    tunnel: name.to_string(),
                    direction,
                    spi: sa.spi.get(),
                    suite: sa.key.suite().name().to_owned(),
                    newest: index + 1 == sas.len(),
                    usage: usage(direction, destination, sa.spi),
                });
            }
        }
    }
    all
}

fn link_status(view: &View<'_>, name: &LinkName, link: &LinkView) -> LinkStatus {
    let configured = view.config.links.get(name);
    LinkStatus {
        name: name.to_string(),
        interface: configured.map_or_else(String::new, |link| link.interface.to_string()),
        state: link.state,
        address: link.address,
        next_hop: link.next_hop,
        mtu: link.interface.as_ref().map(|interface| interface.mtu),
        receive: view.receive.get(name).map(|word| (*word).to_owned()),
        unpaced: unpaced(view, name, link),
        since: view.since.get(name).copied().unwrap_or(view.started),
    }
}

/// Why packets do not leave at the link's rate; nothing if they do.
fn unpaced(view: &View<'_>, name: &LinkName, link: &LinkView) -> Option<String> {
    if !link.pacing.is_paced() {
        return Some(link.pacing.to_string());
    }
    let mut ivcs = view.running.values().flat_map(|tunnel| {
        let ivcs = tunnel.ivcs.iter().filter(|ivc| ivc.link == *name);
        ivcs.map(|ivc| view.estimates.get(&ident(tunnel, ivc)))
    });
    let is_known = |gauged: Option<&Gauged>| gauged.is_some_and(|it| it.estimate.leave.is_some());
    let known = ivcs.any(is_known);
    (!known).then(|| "it is not known yet what it carries".to_owned())
}

fn tunnel_status(
    view: &View<'_>,
    slots: &Slots,
    name: &TunnelName,
    tunnel: &Running,
) -> Result<TunnelStatus, DataplaneError> {
    let path = Path::of(tunnel, view.links);
    let splitting = view.splittings.get(&tunnel.endpoints.remote);
    let recent = recent(view, tunnel);
    let ivcs = tunnel
        .ivcs
        .iter()
        .map(|ivc| ivc_status(view, slots, (tunnel, recent), ivc))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TunnelStatus {
        name: name.to_string(),
        state: match ivcs.iter().filter(|ivc| ivc.usable).count() {
            0 => TunnelState::Down,
            usable if usable == ivcs.len() => TunnelState::Up,
            _ => TunnelState::Degraded,
        },
        split: tunnel.split.to_string(),
        suite: Some(tunnel.suite.name().to_owned()),
        local: Some(tunnel.endpoints.local),
        remote: Some(tunnel.endpoints.remote),
        mtu: path.inner,
        mss: path.mss,
        sequence: sequence(view, slots, tunnel.endpoints.remote)?,
        trouble: view.troubles.get(name).cloned().map(disarm),
        recent: (!view.recent.time.is_zero()).then_some(RecentStatus {
            seconds: view.recent.time.as_secs_f64(),
            tx_bytes: recent.tx,
            rx_bytes: recent.rx,
        }),
        order: Some(order(view, name, tunnel.resequence)),
        splitting: Some(self::splitting(tunnel, splitting)),
        ivcs,
    })
}

/// What a tunnel has carried of late.
fn recent(view: &View<'_>, tunnel: &Running) -> Bytes {
    let ivcs = tunnel.ivcs.iter();
    let carried = ivcs.filter_map(|ivc| view.recent.ivcs.get(&ident(tunnel, ivc)));
    carried.fold(Bytes::default(), |sum, ivc| Bytes {
        tx: sum.tx + ivc.tx,
        rx: sum.rx + ivc.rx,
    })
}

fn splitting(tunnel: &Running, known: Option<&Splitting>) -> SplittingStatus {
    let (pieces, reason) = match (tunnel.split, known) {
        (SplitPolicy::Auto, None) => (tunnel.pieces, Why::Unknown.to_string()),
        (SplitPolicy::Auto, Some(known)) => (tunnel.pieces, known.choice.why.to_string()),
        (SplitPolicy::Always, _) => (true, "as configured".to_owned()),
        (SplitPolicy::Mtu | SplitPolicy::WholeOnly, _) => (false, "as configured".to_owned()),
    };
    SplittingStatus {
        pieces,
        reason,
        packets: known.map(|known| known.count).unwrap_or_default(),
        packets_per_second: known.map(|known| known.per_second).unwrap_or_default(),
        limit_per_second: MOST,
        over_limit: known.is_some_and(Splitting::is_reusing),
    }
}

fn order(view: &View<'_>, name: &TunnelName, policy: Resequence) -> OrderStatus {
    let kept = view
        .engine
        .kept
        .as_ref()
        .filter(|_| policy != Resequence::Off);
    let kept = kept.map(|kept| kept.get(name).copied().unwrap_or_default());
    let (active, reason) = match (policy, kept) {
        (Resequence::Off, _) => (false, "as configured"),
        (_, None) => (false, "the kernel's engine takes packets as they come"),
        (Resequence::On, Some(_)) => (true, "as configured"),
        (Resequence::Auto, Some(kept)) if kept.disturbed => (
            true,
            "packets come out of order, or too few have come to tell",
        ),
        (Resequence::Auto, Some(_)) => (false, "packets come in order, or nearly so"),
    };
    OrderStatus {
        policy: policy.to_string(),
        active,
        reason: reason.to_owned(),
        counts: kept.map(|kept| OrderCounts {
            in_order: kept.figures.in_order,
            reordered: kept.figures.late,
            waited: kept.figures.held,
            wait_seconds: kept.figures.waited.as_secs_f64(),
            lost: kept.figures.lost,
            expired: kept.figures.expired,
            too_late: kept.figures.too_late,
            apart: kept.figures.apart,
            bound_seconds: BOUND.as_secs_f64(),
        }),
    }
}

/// A tunnel that is configured and does not run yet.
fn waiting(view: &View<'_>, name: &TunnelName, tunnel: &Tunnel) -> TunnelStatus {
    TunnelStatus {
        name: name.to_string(),
        state: TunnelState::Down,
        split: tunnel.split.to_string(),
        suite: None,
        local: None,
        remote: None,
        mtu: 0,
        mss: None,
        sequence: 0,
        trouble: view.troubles.get(name).cloned().map(disarm),
        recent: None,
        order: None,
        splitting: None,
        ivcs: Vec::new(),
    }
}

fn sequence(view: &View<'_>, slots: &Slots, remote: Ipv4Addr) -> Result<u64, DataplaneError> {
    match slots.svc_of(remote) {
        Some(slot) => Ok(view.tables.state(slot)?.sequence),
        None => Ok(0),
    }
}

fn ivc_status(
    view: &View<'_>,
    slots: &Slots,
    (tunnel, recent): (&Running, Bytes),
    ivc: &RunningIvc,
) -> Result<IvcStatus, DataplaneError> {
    let link = view.links.get(&ivc.link);
    let local = link.and_then(|link| link.address);
    let id = ident(tunnel, ivc);
    let counters = match slots.ivc_of(&id) {
        Some(slot) => view.tables.counters(slot)?,
        None => IvcCounters::default(),
    };
    let up = link.is_some_and(|link| link.state == LinkState::Up);
    let report = view.reports.get(&id);
    let probed = |of: fn(&Report) -> Option<f64>| report.and_then(of);
    let usable = up && !view.silent.contains(&id);
    let gauged = view.estimates.get(&id);
    // What is known of queue and latency is of the time when it was usable.
    let current = gauged.filter(|_| usable);
    let flows = current.filter(|gauged| !gauged.standing.bonded);
    let flows = flows.map(|gauged| gauged.flows);
    let carried = view.recent.ivcs.get(&id);
    Ok(IvcStatus {
        link: ivc.link.to_string(),
        local,
        remote: ivc.remote,
        remote_link: view.remote_links.get(&id).cloned(),
        usable,
        rate_bps: gauged
            .map(|gauged| gauged.estimate.bits_per_second())
            .or(ivc.rate.fixed().map(Rate::bits_per_second))
            .unwrap_or_default(),
        rate_source: rate_source(ivc, gauged),
        rate_cap_bps: ivc.rate.fixed().map(Rate::bits_per_second),
        latency_seconds: ivc.latency.duration().as_secs_f64(),
        lag_seconds: current.map(|gauged| gauged.standing.lag.as_secs_f64()),
        lag_limit_seconds: current.map(|gauged| gauged.standing.horizon.as_secs_f64()),
        queue_seconds: current.map(|gauged| gauged.estimate.queue),
        jitter_seconds: current.map(|gauged| gauged.estimate.jitter),
        flows,
        probes_only: match flows {
            _ if !usable => Some(ProbesOnly::Unusable),
            Some(0) => Some(ProbesOnly::TooSlow),
            _ => None,
        },
        share_tx_ratio: carried.and_then(|ivc| share(ivc.tx, recent.tx)),
        share_rx_ratio: carried.and_then(|ivc| share(ivc.rx, recent.rx)),
        state: ivc_state(view, &id, up),
        since: ivc_since(view, ivc, report, up),
        rtt_seconds: probed(|report| Some(report.round_trip?.as_secs_f64())),
        rtt_min_seconds: probed(|report| Some(report.least_round_trip?.as_secs_f64())),
        loss_tx_ratio: probed(|report| report.loss_tx),
        loss_rx_ratio: probed(|report| report.loss_rx),
        mtu: path_mtu(ivc, view.links),
        mtu_source: match ivc.mtu {
            IvcMtu::Fixed(_) => MtuSource::Fixed,
            IvcMtu::Probed { .. } if report.is_some_and(|report| report.mtu_found) => {
                MtuSource::Probed
            }
            IvcMtu::Probed { .. } => MtuSource::Assumed,
        },
        tx: traffic(counters.tx),
        rx: traffic(counters.rx),
    })
}

fn rate_source(ivc: &RunningIvc, gauged: Option<&Gauged>) -> RateSource {
    match gauged.map(|gauged| gauged.estimate) {
        Some(estimate) if estimate.stated => RateSource::Stated,
        Some(estimate) => match estimate.confidence {
            Confidence::Unknown => RateSource::Assumed,
            Confidence::Measured => RateSource::Measured,
            Confidence::Old => RateSource::Old,
        },
        None if ivc.rate.fixed().is_some() => RateSource::Stated,
        None => RateSource::Assumed,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn ivc_state(view: &View<'_>, id: &IvcId, up: bool) -> IvcState {
    let state = view.reports.get(id).map(|report| report.state);
    match state {
        _ if !up => IvcState::LinkDown,
        Some(State::Live) if view.silent.contains(id) => IvcState::Impaired,
        Some(State::Live) => IvcState::Up,
        Some(State::Silent) => IvcState::Silent,
        Some(State::Unheard) => IvcState::Unheard,
        Some(State::Waiting) | None => IvcState::Waiting,
    }
}

/// Since when an IVC is as it is, in seconds since the epoch.
fn ivc_since(view: &View<'_>, ivc: &RunningIvc, report: Option<&Report>, up: bool) -> u64 {
    match report {
        Some(report) if up => view.now.saturating_sub(report.age.as_secs()),
        _ => view.since.get(&ivc.link).copied().unwrap_or(view.started),
    }
}

fn traffic(traffic: Traffic) -> TrafficStatus {
    TrafficStatus {
        packets: traffic.packets,
        pieces: traffic.pieces,
        bytes: traffic.bytes,
    }
}
