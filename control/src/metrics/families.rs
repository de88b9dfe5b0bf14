//! Every metric that there is: its name, its labels, what it means.

/// What can be done with a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, but for restarts.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric: one value for each combination of its labels' values.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

const LINK: &[&str] = &["link"];
const TUNNEL: &[&str] = &["tunnel"];
/// What tells an IVC from others. Addresses change, and would leave a series behind with each change.
const IVC: &[&str] = &["tunnel", "link", "remote_link"];

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

macro_rules! families {
    ($($ident:ident = $family:expr;)+) => {
        $(pub(super) static $ident: Family = $family;)+

        /// All of them, in the order of `deploy/METRICS.md`.
        #[cfg(test)]
        pub(super) static ALL: &[&Family] = &[$(&$ident),+];
    };
}

families! {
    GATEWAY_INFO = gauge(
        "withy_gateway_info",
        &["gateway", "version", "engine"],
        "The gateway, the version of its daemon and its IPsec engine; always 1.",
    );
    START_TIME = gauge(
        "withy_start_time_seconds",
        &[],
        "When the daemon started, in seconds since the epoch.",
    );
    PROBLEMS = gauge(
        "withy_problems",
        &[],
        "How many things cannot be brought to the stated condition at present.",
    );
    LINK_INFO = gauge(
        "withy_link_info",
        &["link", "interface", "receive"],
        "The link's interface and where it receives, xdp or tc; always 1.",
    );
    LINK_STATE = gauge(
        "withy_link_state",
        &["link", "state"],
        "1 for the state that the link is in, 0 for the others.",
    );
    LINK_CHANGED = gauge(
        "withy_link_state_change_timestamp_seconds",
        LINK,
        "Since when the link has been in its state, in seconds since the epoch.",
    );
    LINK_PACED = gauge(
        "withy_link_paced",
        LINK,
        "1 if packets leave at the link's rate, 0 if they leave as they come.",
    );
    LINK_MTU = gauge("withy_link_mtu_bytes", LINK, "The MTU of the link's interface.");
    TUNNEL_INFO = gauge(
        "withy_tunnel_info",
        &["tunnel", "suite", "split"],
        "The tunnel's ESP suite, empty until it is negotiated, and its split policy; always 1.",
    );
    TUNNEL_STATE = gauge(
        "withy_tunnel_state",
        &["tunnel", "state"],
        "1 for the state that the tunnel is in, 0 for the others.",
    );
    TUNNEL_TROUBLE = gauge(
        "withy_tunnel_trouble",
        TUNNEL,
        "1 if something keeps the two gateways from making the tunnel or its keys anew, else 0.",
    );
    TUNNEL_MTU = gauge(
        "withy_tunnel_mtu_bytes",
        TUNNEL,
        "The longest packet that hosts may send through the tunnel.",
    );
    TUNNEL_MSS = gauge(
        "withy_tunnel_mss_bytes",
        TUNNEL,
        "What TCP's MSS is clamped to; absent where it is not.",
    );
    TUNNEL_PACKETS = counter(
        "withy_tunnel_sent_packets_total",
        TUNNEL,
        "ESP packets sent to the other gateway.",
    );
    TUNNEL_SPLITTING = gauge(
        "withy_tunnel_splitting",
        TUNNEL,
        "1 while packets are split that would fit a link whole, else 0.",
    );
    TUNNEL_SPLIT = counter(
        "withy_tunnel_split_packets_total",
        TUNNEL,
        "Packets sent in more than one piece, be it by choice or because they fit no link.",
    );
    TUNNEL_SPLIT_LIMIT = gauge(
        "withy_tunnel_split_over_limit",
        TUNNEL,
        "1 while so many packets are split that numbers of pieces come again while pieces of that number may wait, else 0.",
    );
    TUNNEL_ORDER = gauge(
        "withy_tunnel_resequencing",
        TUNNEL,
        "1 while packets that arrive out of order are put back in order, else 0.",
    );
    TUNNEL_REORDERED = counter(
        "withy_tunnel_reordered_packets_total",
        TUNNEL,
        "Packets that arrived after one that had been sent later.",
    );
    TUNNEL_WAITED = counter(
        "withy_tunnel_resequenced_packets_total",
        TUNNEL,
        "Packets that waited for one sent before them.",
    );
    TUNNEL_WAIT = counter(
        "withy_tunnel_resequencing_wait_seconds_total",
        TUNNEL,
        "For how long those have waited in sum.",
    );
    TUNNEL_APART = counter(
        "withy_tunnel_apart_packets_total",
        TUNNEL,
        "Packets received of flows that go by an IVC of their own, for which no other packet waits.",
    );
    TUNNEL_GIVEN_UP = counter(
        "withy_tunnel_resequencing_given_up_total",
        &["tunnel", "reason"],
        "How often waiting was given up: lost, because every live IVC had brought something later; expired, because it took too long; too_late, of what came after that.",
    );
    IVC_USABLE = gauge(
        "withy_ivc_usable",
        IVC,
        "1 if the IVC may carry data: its link is up, and something comes over it; else 0.",
    );
    IVC_STATE = gauge(
        "withy_ivc_state",
        &["tunnel", "link", "remote_link", "state"],
        "1 for the state that the IVC is in, 0 for the others.",
    );
    IVC_CHANGED = gauge(
        "withy_ivc_state_change_timestamp_seconds",
        IVC,
        "Since when the IVC has been in its state, in seconds since the epoch.",
    );
    IVC_RTT = gauge(
        "withy_ivc_rtt_seconds",
        IVC,
        "The smoothed round-trip time of keepalives.",
    );
    IVC_RTT_MIN = gauge(
        "withy_ivc_rtt_min_seconds",
        IVC,
        "The smallest round-trip time of the last one to two minutes.",
    );
    IVC_TX_LOSS = gauge(
        "withy_ivc_sent_loss_ratio",
        IVC,
        "The part of what this gateway sent over the IVC that was lost in the last half minute.",
    );
    IVC_RX_LOSS = gauge(
        "withy_ivc_received_loss_ratio",
        IVC,
        "The part of what the other gateway sent over the IVC that was lost in the last half minute.",
    );
    IVC_RATE = gauge(
        "withy_ivc_rate_bytes_per_second",
        IVC,
        "What the IVC carries, as has been found out; before that, as is stated.",
    );
    IVC_RATE_SOURCE = gauge(
        "withy_ivc_rate_source",
        &["tunnel", "link", "remote_link", "source"],
        "1 for where that rate comes from, 0 for the others: measured while the IVC was busy, or old; stated, or assumed, until it is busy.",
    );
    IVC_RATE_CAP = gauge(
        "withy_ivc_rate_cap_bytes_per_second",
        IVC,
        "The most that the IVC is given; absent where the configuration does not say.",
    );
    IVC_LATENCY = gauge(
        "withy_ivc_latency_seconds",
        IVC,
        "The one-way latency of the IVC as is stated, which counts until it is measured.",
    );
    IVC_LAG = gauge(
        "withy_ivc_lag_seconds",
        IVC,
        "By how much the IVC's one-way latency, without queues, is more than that of the tunnel's fastest.",
    );
    IVC_QUEUE = gauge(
        "withy_ivc_queue_seconds",
        IVC,
        "How long a packet that is sent over the IVC now waits on the way.",
    );
    IVC_JITTER = gauge(
        "withy_ivc_jitter_seconds",
        IVC,
        "By how much the IVC's one-way delay varies without a queue.",
    );
    IVC_FLOWS = gauge(
        "withy_ivc_flows",
        IVC,
        "How many flows at present have the IVC for themselves, which is too far away to be bonded with the others; not there where it is bonded.",
    );
    IVC_PROBES_ONLY = gauge(
        "withy_ivc_probes_only",
        &["tunnel", "link", "remote_link", "reason"],
        "1 for why the IVC carries nothing but keepalives at present, 0 for other reasons: unusable, or too slow beside the others.",
    );
    IVC_MTU = gauge("withy_ivc_mtu_bytes", IVC, "The longest piece that the IVC carries.");
    IVC_MTU_SOURCE = gauge(
        "withy_ivc_mtu_source",
        &["tunnel", "link", "remote_link", "source"],
        "1 for where the IVC's MTU comes from, 0 for the others.",
    );
    IVC_TX_PACKETS = counter(
        "withy_ivc_sent_packets_total",
        IVC,
        "ESP packets whose first byte was sent over the IVC.",
    );
    IVC_TX_PIECES = counter(
        "withy_ivc_sent_pieces_total",
        IVC,
        "Pieces, whole packets and fragments, sent over the IVC.",
    );
    IVC_TX_BYTES = counter(
        "withy_ivc_sent_bytes_total",
        IVC,
        "Bytes of the pieces sent over the IVC, IP headers included.",
    );
    IVC_RX_PACKETS = counter(
        "withy_ivc_received_packets_total",
        IVC,
        "ESP packets whose first byte was received over the IVC.",
    );
    IVC_RX_PIECES = counter(
        "withy_ivc_received_pieces_total",
        IVC,
        "Pieces, whole packets and fragments, received over the IVC.",
    );
    IVC_RX_BYTES = counter(
        "withy_ivc_received_bytes_total",
        IVC,
        "Bytes of the pieces received over the IVC, IP headers included.",
    );
    DROPPED = counter(
        "withy_dropped_packets_total",
        &["reason"],
        "Packets dropped, by reason.",
    );
    REFUSED = counter(
        "withy_refused_connections_total",
        &["reason"],
        "Connections of other gateways that were refused, by reason.",
    );
    RESENT = counter(
        "withy_resent_packets_total",
        &["event"],
        "Packets that links lost: asked for here, sent again to the other gateway, and that came in time, or late.",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const REFERENCE: &str = include_str!("../../../deploy/METRICS.md");

    #[test]
    fn the_reference_has_exactly_these() {
        let row = |family: &&Family| {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let labels = family.labels.iter().map(|label| format!("`{label}`"));
            let labels = labels.collect::<Vec<_>>().join(", ");
            format!(
                "| `{}` | {kind} | {labels} | {} |",
                family.name, family.help
            )
        };
        let wanted: Vec<_> = ALL.iter().map(row).collect();
        let rows = REFERENCE
            .lines()
            .filter(|line| line.starts_with("| `withy_"));
        assert_eq!(rows.collect::<Vec<_>>(), wanted, "\n{}", wanted.join("\n"));
    }

    /// The names of metrics in a text.
    fn names(text: &str) -> BTreeSet<&str> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(|c| !word(c))
            .filter(|name| name.starts_with("withy_"))
            .collect()
    }

    #[test]
    fn dashboard_and_rules_name_metrics_that_there_are() {
        let known: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        for text in [
            include_str!("../../../deploy/grafana/withy.json"),
            include_str!("../../../deploy/prometheus/withy.rules.yml"),
        ] {
            let used = names(text);
            assert!(used.len() > 5, "{used:?}");
            assert!(used.is_subset(&known), "{:?}", used.difference(&known));
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Kind::Counter, "{}", family.name);
            assert!(family.name.starts_with("withy_"), "{}", family.name);
        }
    }
}
