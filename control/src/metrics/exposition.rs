//! From a status to Prometheus' text format.

use std::collections::BTreeMap;

use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use super::families::{self as f, Family, Kind};
use crate::api::status::{
    IvcState, IvcStatus, LinkState, LinkStatus, MtuSource, OrderStatus, ProbesOnly, RateSource,
    SplittingStatus, Status, TunnelState, TunnelStatus,
};

const LINK_STATES: [(LinkState, &str); 5] = [
    (LinkState::Up, "up"),
    (LinkState::Down, "down"),
    (LinkState::NoAddress, "no-address"),
    (LinkState::Missing, "missing"),
    (LinkState::Disabled, "disabled"),
];
const TUNNEL_STATES: [(TunnelState, &str); 3] = [
    (TunnelState::Up, "up"),
    (TunnelState::Degraded, "degraded"),
    (TunnelState::Down, "down"),
];

const IVC_STATES: [(IvcState, &str); 6] = [
    (IvcState::Waiting, "waiting"),
    (IvcState::Up, "up"),
    (IvcState::LinkDown, "link-down"),
    (IvcState::Silent, "silent"),
    (IvcState::Unheard, "unheard"),
    (IvcState::Impaired, "impaired"),
];
const RATE_SOURCES: [(RateSource, &str); 4] = [
    (RateSource::Assumed, "assumed"),
    (RateSource::Stated, "stated"),
    (RateSource::Measured, "measured"),
    (RateSource::Old, "old"),
];
const PROBES_ONLY: [(Option<ProbesOnly>, &str); 2] = [
    (Some(ProbesOnly::Unusable), "unusable"),
    (Some(ProbesOnly::TooSlow), "too-slow"),
];
const MTU_SOURCES: [(MtuSource, &str); 3] = [
    (MtuSource::Assumed, "assumed"),
    (MtuSource::Probed, "probed"),
    (MtuSource::Fixed, "fixed"),
];

/// Writes a status. The metrics are made anew each time, so that nothing stays of links, tunnels and IVCs that have gone.
///
/// # Errors
///
/// A family is not what the library allows, which the tests exclude.
pub(super) fn text(status: &Status) -> Result<String, prometheus::Error> {
    let mut writer = Writer::default();
    let info = [&*status.gateway, &status.version, &status.engine];
    writer.gauge(&f::GATEWAY_INFO, &info, 1.0)?;
    writer.gauge(&f::START_TIME, &[], float(status.started))?;
    writer.gauge(&f::PROBLEMS, &[], float(status.problems.len() as u64))?;
    for link in &status.links {
        writer.link(link)?;
    }
    for tunnel in &status.tunnels {
        writer.tunnel(tunnel)?;
        for (number, ivc) in (1..).zip(&tunnel.ivcs) {
            writer.ivc(&tunnel.name, number, ivc)?;
        }
    }
    for drop in &status.drops {
        writer.counter(&f::DROPPED, &[&drop.reason], drop.packets)?;
    }
    for refusal in &status.refusals {
        writer.counter(&f::REFUSED, &[&refusal.reason], refusal.connections)?;
    }
    for resend in &status.resends {
        writer.counter(&f::RESENT, &[&resend.event], resend.packets)?;
    }
    TextEncoder::new().encode_to_string(&writer.registry.gather())
}

/// The families that have values so far.
#[derive(Default)]
struct Writer {
    registry: Registry,
    gauges: BTreeMap<&'static str, GaugeVec>,
    counters: BTreeMap<&'static str, CounterVec>,
}

impl Writer {
    fn gauge(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: f64,
    ) -> Result<(), prometheus::Error> {
        debug_assert_eq!(family.kind, Kind::Gauge);
        if !self.gauges.contains_key(family.name) {
            let vec = GaugeVec::new(Opts::new(family.name, family.help), family.labels)?;
            self.registry.register(Box::new(vec.clone()))?;
            self.gauges.insert(family.name, vec);
        }
        self.gauges[family.name]
            .get_metric_with_label_values(labels)?
            .set(value);
        Ok(())
    }

    fn counter(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: u64,
    ) -> Result<(), prometheus::Error> {
        self.count(family, labels, float(value))
    }

    /// Adds to a counter of something that is no number of things.
    fn count(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: f64,
    ) -> Result<(), prometheus::Error> {
        debug_assert_eq!(family.kind, Kind::Counter);
        if !self.counters.contains_key(family.name) {
            let vec = CounterVec::new(Opts::new(family.name, family.help), family.labels)?;
            self.registry.register(Box::new(vec.clone()))?;
            self.counters.insert(family.name, vec);
        }
        self.counters[family.name]
            .get_metric_with_label_values(labels)?
            .inc_by(value);
        Ok(())
    }

    /// Writes 1 for the state that holds, 0 for the others.
    fn state<S: Copy + PartialEq>(
        &mut self,
        family: &'static Family,
        names: &[&str],
        states: &[(S, &str)],
        now: S,
    ) -> Result<(), prometheus::Error> {
        for (state, word) in states {
            let value = if *state == now { 1.0 } else { 0.0 };
            self.gauge(family, &[names, &[word]].concat(), value)?;
        }
        Ok(())
    }

    fn link(&mut self, link: &LinkStatus) -> Result<(), prometheus::Error> {
        let name = &*link.name;
        let receive = link.receive.as_deref().unwrap_or_default();
        self.gauge(&f::LINK_INFO, &[name, &link.interface, receive], 1.0)?;
        self.state(&f::LINK_STATE, &[name], &LINK_STATES, link.state)?;
        self.gauge(&f::LINK_CHANGED, &[name], float(link.since))?;
        let paced = if link.unpaced.is_none() { 1.0 } else { 0.0 };
        self.gauge(&f::LINK_PACED, &[name], paced)?;
        if let Some(mtu) = link.mtu {
            self.gauge(&f::LINK_MTU, &[name], mtu.into())?;
        }
        Ok(())
    }

    fn tunnel(&mut self, tunnel: &TunnelStatus) -> Result<(), prometheus::Error> {
        let name = &*tunnel.name;
        let suite = tunnel.suite.as_deref().unwrap_or_default();
        self.gauge(&f::TUNNEL_INFO, &[name, suite, &tunnel.split], 1.0)?;
        self.state(&f::TUNNEL_STATE, &[name], &TUNNEL_STATES, tunnel.state)?;
        let trouble = if tunnel.trouble.is_some() { 1.0 } else { 0.0 };
        self.gauge(&f::TUNNEL_TROUBLE, &[name], trouble)?;
        // Until the tunnel is negotiated there is nothing to tell.
        if tunnel.suite.is_some() {
            self.gauge(&f::TUNNEL_MTU, &[name], tunnel.mtu.into())?;
            self.counter(&f::TUNNEL_PACKETS, &[name], tunnel.sequence)?;
        }
        if let Some(mss) = tunnel.mss {
            self.gauge(&f::TUNNEL_MSS, &[name], mss.into())?;
        }
        if let Some(splitting) = &tunnel.splitting {
            self.splitting(name, splitting)?;
        }
        match &tunnel.order {
            Some(order) => self.order(name, order),
            None => Ok(()),
        }
    }

    fn splitting(
        &mut self,
        tunnel: &str,
        splitting: &SplittingStatus,
    ) -> Result<(), prometheus::Error> {
        let truth = |value| if value { 1.0 } else { 0.0 };
        self.gauge(&f::TUNNEL_SPLITTING, &[tunnel], truth(splitting.pieces))?;
        self.counter(&f::TUNNEL_SPLIT, &[tunnel], splitting.packets)?;
        let over_limit = truth(splitting.over_limit);
        self.gauge(&f::TUNNEL_SPLIT_LIMIT, &[tunnel], over_limit)
    }

    fn order(&mut self, tunnel: &str, order: &OrderStatus) -> Result<(), prometheus::Error> {
        let active = if order.active { 1.0 } else { 0.0 };
        self.gauge(&f::TUNNEL_ORDER, &[tunnel], active)?;
        let Some(counts) = &order.counts else {
            return Ok(());
        };
        self.counter(&f::TUNNEL_REORDERED, &[tunnel], counts.reordered)?;
        self.counter(&f::TUNNEL_WAITED, &[tunnel], counts.waited)?;
        self.count(&f::TUNNEL_WAIT, &[tunnel], counts.wait_seconds)?;
        self.counter(&f::TUNNEL_APART, &[tunnel], counts.apart)?;
        for (reason, count) in [
            ("lost", counts.lost),
            ("expired", counts.expired),
            ("too_late", counts.too_late),
        ] {
            self.counter(&f::TUNNEL_GIVEN_UP, &[tunnel, reason], count)?;
        }
        Ok(())
    }

    /// Where the other gateway's links have no names, their IVCs have the numbers of their places in the configuration.
    fn ivc(
        &mut self,
        tunnel: &str,
        number: usize,
        ivc: &IvcStatus,
    ) -> Result<(), prometheus::Error> {
        let remote = match &ivc.remote_link {
            Some(name) => name.clone(),
            None => number.to_string(),
        };
        let labels = [tunnel, &*ivc.link, &*remote];
        let usable = if ivc.usable { 1.0 } else { 0.0 };
        self.gauge(&f::IVC_USABLE, &labels, usable)?;
        self.gauge(&f::IVC_RATE, &labels, float(ivc.rate_bps) / 8.0)?;
        self.gauge(&f::IVC_LATENCY, &labels, ivc.latency_seconds)?;
        self.state(&f::IVC_RATE_SOURCE, &labels, &RATE_SOURCES, ivc.rate_source)?;
        self.state(&f::IVC_PROBES_ONLY, &labels, &PROBES_ONLY, ivc.probes_only)?;
        self.state(&f::IVC_STATE, &labels, &IVC_STATES, ivc.state)?;
        self.gauge(&f::IVC_CHANGED, &labels, float(ivc.since))?;
        self.gauge(&f::IVC_MTU, &labels, ivc.mtu.into())?;
        self.state(&f::IVC_MTU_SOURCE, &labels, &MTU_SOURCES, ivc.mtu_source)?;
        for (family, measured) in [
            (&f::IVC_RTT, ivc.rtt_seconds),
            (&f::IVC_RTT_MIN, ivc.rtt_min_seconds),
            (&f::IVC_TX_LOSS, ivc.loss_tx_ratio),
            (&f::IVC_RX_LOSS, ivc.loss_rx_ratio),
            (&f::IVC_LAG, ivc.lag_seconds),
            (&f::IVC_QUEUE, ivc.queue_seconds),
            (&f::IVC_JITTER, ivc.jitter_seconds),
            (&f::IVC_FLOWS, ivc.flows.map(|flows| float(flows as u64))),
            (
                &f::IVC_RATE_CAP,
                ivc.rate_cap_bps.map(|cap| float(cap) / 8.0),
            ),
        ] {
            if let Some(measured) = measured {
                self.gauge(family, &labels, measured)?;
            }
        }
        self.counter(&f::IVC_TX_PACKETS, &labels, ivc.tx.packets)?;
        self.counter(&f::IVC_TX_PIECES, &labels, ivc.tx.pieces)?;
        self.counter(&f::IVC_TX_BYTES, &labels, ivc.tx.bytes)?;
        self.counter(&f::IVC_RX_PACKETS, &labels, ivc.rx.packets)?;
        self.counter(&f::IVC_RX_PIECES, &labels, ivc.rx.pieces)?;
        self.counter(&f::IVC_RX_BYTES, &labels, ivc.rx.bytes)
    }
}

/// All values of the text format are floating-point numbers.
#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::status::{
        DropStatus, OrderCounts, RecentStatus, RefusalStatus, ResendStatus, SCHEMA, TrafficStatus,
    };

    /// A status with a bit of everything.
    pub(crate) fn sample() -> Status {
        Status {
            schema: SCHEMA,
            gateway: "london".to_owned(),
            version: "1.2.3".to_owned(),
            engine: "kernel".to_owned(),
            engine_reason: None,
            started: 1_700_000_000,
            links: vec![
                link("dsl", LinkState::Up, Some(1500)),
                link("lte", LinkState::NoAddress, None),
            ],
            tunnels: vec![
                paris(),
                TunnelStatus {
                    name: "rome".to_owned(),
                    state: TunnelState::Down,
                    suite: None,
                    local: None,
                    remote: None,
                    mtu: 0,
                    mss: None,
                    sequence: 0,
                    recent: None,
                    order: None,
                    splitting: None,
                    ivcs: Vec::new(),
                    ..paris()
                },
            ],
            drops: vec![DropStatus {
                reason: "tx_queue_full".to_owned(),
                packets: 7,
            }],
            refusals: vec![RefusalStatus {
                reason: "unknown_key".to_owned(),
                connections: 3,
            }],
            resends: vec![ResendStatus {
                event: "came".to_owned(),
                packets: 5,
            }],
            problems: vec!["no route".to_owned()],
        }
    }

    fn link(name: &str, state: LinkState, mtu: Option<u32>) -> LinkStatus {
        LinkStatus {
            name: name.to_owned(),
            interface: format!("eth-{name}"),
            state,
            address: Some([203, 0, 113, 2].into()),
            next_hop: None,
            mtu,
            receive: mtu.map(|_| "tc".to_owned()),
            unpaced: mtu.is_none().then(|| "this kernel has no fq".to_owned()),
            since: 1_700_000_100,
        }
    }

    fn paris() -> TunnelStatus {
        let ivc = |remote_link: Option<&str>| IvcStatus {
            link: "dsl".to_owned(),
            local: None,
            remote: [198, 51, 100, 10].into(),
            remote_link: remote_link.map(str::to_owned),
            usable: remote_link.is_some(),
            rate_bps: 20_000_000,
            rate_source: RateSource::Measured,
            rate_cap_bps: remote_link.map(|_| 40_000_000),
            latency_seconds: 0.012,
            lag_seconds: remote_link.map(|_| 0.0035),
            lag_limit_seconds: remote_link.map(|_| 0.129),
            queue_seconds: remote_link.map(|_| 0.0061),
            jitter_seconds: remote_link.map(|_| 0.0004),
            flows: remote_link.map(|_| 2),
            probes_only: remote_link.is_none().then_some(ProbesOnly::Unusable),
            share_tx_ratio: remote_link.map(|_| 0.875),
            share_rx_ratio: None,
            state: if remote_link.is_some() {
                IvcState::Up
            } else {
                IvcState::Silent
            },
            since: 1_700_000_200,
            rtt_seconds: remote_link.map(|_| 0.025),
            rtt_min_seconds: remote_link.map(|_| 0.024),
            loss_tx_ratio: remote_link.map(|_| 0.0),
            loss_rx_ratio: remote_link.map(|_| 0.125),
            mtu: 1492,
            mtu_source: MtuSource::Probed,
            tx: TrafficStatus {
                packets: 1,
                pieces: 2,
                bytes: 3000,
            },
            rx: TrafficStatus {
                packets: 4,
                pieces: 5,
                bytes: 6000,
            },
        };
        TunnelStatus {
            name: "paris".to_owned(),
            state: TunnelState::Degraded,
            split: "auto".to_owned(),
            suite: Some("aes-gcm-256".to_owned()),
            local: Some([10, 255, 0, 1].into()),
            remote: Some([10, 255, 0, 2].into()),
            mtu: 1400,
            mss: Some(1360),
            sequence: 99,
            trouble: Some("nobody answers".to_owned()),
            recent: Some(RecentStatus {
                seconds: 10.0,
                tx_bytes: 12_500_000,
                rx_bytes: 0,
            }),
            order: Some(OrderStatus {
                policy: "auto".to_owned(),
                active: true,
                reason: "packets come out of order, or too few have come to tell".to_owned(),
                counts: Some(OrderCounts {
                    in_order: 1000,
                    reordered: 8,
                    waited: 16,
                    wait_seconds: 0.064,
                    lost: 2,
                    expired: 3,
                    too_late: 1,
                    apart: 70,
                    bound_seconds: 0.05,
                }),
            }),
            splitting: Some(SplittingStatus {
                pieces: true,
                reason: "a full packet arrives 8.9 ms sooner in pieces".to_owned(),
                packets: 70,
                packets_per_second: 33_000.4,
                limit_per_second: 21_845.3,
                over_limit: true,
            }),
            ivcs: vec![ivc(Some("say \"fibre\"\\")), ivc(None)],
        }
    }

    #[test]
    fn a_status_is_this_text() {
        let text = text(&sample()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics/sample.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn what_has_gone_leaves_nothing_behind() {
        let mut status = sample();
        assert!(text(&status).unwrap().contains("paris"));
        status.tunnels.clear();
        status.links.remove(0);
        let text = text(&status).unwrap();
        assert!(!text.contains("tunnel") && !text.contains("dsl") && text.contains("lte"));
    }

    #[test]
    fn addresses_are_no_labels() {
        let text = text(&sample()).unwrap();
        for address in ["203.0.113.2", "198.51.100.10", "10.255.0.1", "10.255.0.2"] {
            assert!(!text.contains(address), "{address}");
        }
    }

    #[test]
    fn links_of_one_name_at_the_other_gateway_count_together() {
        let mut status = sample();
        let twin = status.tunnels[0].ivcs[0].clone();
        status.tunnels[0].ivcs.push(twin);
        let text = text(&status).unwrap();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("withy_ivc_sent_bytes_total"))
            .collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines.iter().any(|line| line.ends_with(" 6000")),
            "{lines:?}"
        );
    }

    #[test]
    fn every_family_has_a_value_somewhere() {
        let text = text(&sample()).unwrap();
        for family in f::ALL {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            assert!(
                text.contains(&format!("# TYPE {} {kind}\n", family.name)),
                "{}",
                family.name
            );
        }
        assert_eq!(text.matches("# TYPE ").count(), f::ALL.len());
    }
}
