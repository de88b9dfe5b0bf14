//! Everything that is known of an IVC.

use humansize::{DECIMAL, format_size};

use super::cells::{age, ivc_name, ivc_rate, ivc_state, optional, percent, round_trip, share};
use crate::api::status::{IvcStatus, MtuSource, ProbesOnly, TrafficStatus};

/// Writes an IVC of a tunnel.
pub(in crate::cli) fn ivc(tunnel: &str, ivc: &IvcStatus) -> String {
    let name = ivc_name(&ivc.link, ivc.remote, ivc.remote_link.as_deref());
    let heading = format!(
        "tunnel {tunnel}, IVC {name} is {} for {}: {} to {}\n",
        ivc_state(ivc.state),
        age(ivc.since),
        optional(ivc.local),
        ivc.remote
    );
    let lines = [
        ("rate", ivc_rate(ivc)),
        ("delay", delay(ivc)),
        ("loss", loss(ivc)),
        ("MTU", mtu(ivc)),
        ("sent", traffic(ivc.tx, ivc.share_tx_ratio)),
        ("received", traffic(ivc.rx, ivc.share_rx_ratio)),
        ("carries", carries(ivc)),
    ];
    let lines = lines.map(|(word, line)| format!("  {word:<9} {line}\n"));
    heading + &lines.concat()
}

fn delay(ivc: &IvcStatus) -> String {
    let lag = match ivc.lag_seconds {
        Some(lag) if lag > 0.0 => format!("{} slower than the fastest", round_trip(Some(lag))),
        Some(_) => "the fastest".to_owned(),
        None => format!(
            "{} one way as stated",
            round_trip(Some(ivc.latency_seconds))
        ),
    };
    format!(
        "RTT {} (at least {}), queue {}, jitter {}\n{:12}{lag}",
        round_trip(ivc.rtt_seconds),
        round_trip(ivc.rtt_min_seconds),
        round_trip(ivc.queue_seconds),
        round_trip(ivc.jitter_seconds),
        ""
    )
}

fn loss(ivc: &IvcStatus) -> String {
    format!(
        "{} of what is sent, {} of what is received",
        percent(ivc.loss_tx_ratio),
        percent(ivc.loss_rx_ratio)
    )
}

fn mtu(ivc: &IvcStatus) -> String {
    let source = match ivc.mtu_source {
        MtuSource::Assumed => "assumed until it is found out",
        MtuSource::Probed => "found out",
        MtuSource::Fixed => "as configured",
    };
    format!("{} bytes, {source}", ivc.mtu)
}

fn traffic(traffic: TrafficStatus, ratio: Option<f64>) -> String {
    let TrafficStatus { bytes, pieces, .. } = traffic;
    format!(
        "{} in {pieces} pieces; {} of the tunnel's of late",
        format_size(bytes, DECIMAL),
        share(ratio)
    )
}

/// What an IVC carries that is not bonded with the others.
pub(super) fn own_flows(flows: usize) -> String {
    let s = if flows == 1 { "" } else { "s" };
    format!("{flows} own flow{s}")
}

fn carries(ivc: &IvcStatus) -> String {
    match ivc.probes_only {
        None => match ivc.flows {
            None => "data".to_owned(),
            Some(flows) => format!("{}, for it is too slow to be bonded", own_flows(flows)),
        },
        Some(ProbesOnly::Unusable) => {
            format!("only keepalives: it is {}", ivc_state(ivc.state))
        }
        Some(ProbesOnly::TooSlow) => format!(
            "only keepalives: at most {} slower than the fastest is of use",
            round_trip(ivc.lag_limit_seconds)
        ),
    }
}
