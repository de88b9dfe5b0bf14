//! What stands in a cell.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use crate::api::status::{IvcState, IvcStatus, MtuSource, RateSource};

pub(in crate::cli) fn table(header: &[&str], terminal: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if terminal {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(
        header
            .iter()
            .map(|text| Cell::new(text).add_attribute(Attribute::Dim)),
    );
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

pub(in crate::cli) fn good(word: &str, fine: bool) -> Cell {
    Cell::new(word).fg(if fine { Color::Green } else { Color::Red })
}

pub(in crate::cli) fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

pub(super) fn optional(address: Option<Ipv4Addr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// A rate in bits per second. Three digits are enough for people.
pub(in crate::cli) fn rate(bits: u64) -> String {
    let (value, unit) = rate_parts(bits);
    format!("{value} {unit}")
}

fn rate_parts(bits: u64) -> (String, &'static str) {
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
    let bits = bits as f64;
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    // What rounds to a thousand of one unit is one of the next.
    let fits = units
        .into_iter()
        .find(|(factor, _)| bits >= 0.9995 * factor);
    let (factor, unit) = fits.unwrap_or((1.0, "bit/s"));
    let digits = digits(bits / factor);
    let short = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    (short.to_owned(), unit)
}

fn digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// What an IVC carries, and how sure that is.
pub(super) fn ivc_rate(ivc: &IvcStatus) -> String {
    if ivc.rate_bps == 0 {
        return "-".to_owned();
    }
    let (value, unit) = rate_parts(ivc.rate_bps);
    let doubt = match ivc.rate_source {
        RateSource::Assumed => "?",
        RateSource::Old => " (old)",
        RateSource::Stated | RateSource::Measured => "",
    };
    match ivc.rate_cap_bps {
        Some(cap) if ivc.rate_source == RateSource::Stated => format!("{} stated", rate(cap)),
        Some(cap) => {
            let (most, of) = rate_parts(cap);
            let own = if of == unit { "" } else { &*format!(" {unit}") };
            format!("{value}{own}{doubt} of {most} {of}")
        }
        None => format!("{value} {unit}{doubt}"),
    }
}

/// An IVC among those of its tunnel.
pub(in crate::cli) fn ivc_name(link: &str, remote: Ipv4Addr, remote_link: Option<&str>) -> String {
    match remote_link {
        Some(remote_link) => format!("{link} to {remote_link}"),
        None => format!("{link} to {remote}"),
    }
}

pub(super) fn share(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0))
}

pub(super) const fn ivc_state(state: IvcState) -> &'static str {
    match state {
        IvcState::Waiting => "waiting",
        IvcState::Up => "up",
        IvcState::LinkDown => "link down",
        IvcState::Silent => "silent",
        IvcState::Unheard => "unheard",
        IvcState::Impaired => "impaired",
    }
}

/// A time in seconds. Three digits are enough for people.
pub(in crate::cli) fn round_trip(seconds: Option<f64>) -> String {
    match seconds.map(|seconds| seconds * 1000.0) {
        None => "-".to_owned(),
        Some(ms) => format!("{} ms", digits(ms)),
    }
}

/// The loss of the worse direction.
pub(super) fn loss(ivc: &IvcStatus) -> String {
    let worse = [ivc.loss_tx_ratio, ivc.loss_rx_ratio];
    percent(worse.into_iter().flatten().reduce(f64::max))
}

/// A part that had better be small.
pub(in crate::cli) fn percent(ratio: Option<f64>) -> String {
    match ratio.map(|ratio| ratio * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent > 0.0 && percent < 10.0 => format!("{percent:.1}%"),
        Some(percent) => format!("{percent:.0}%"),
    }
}

/// The MTU in use, with a question mark while it is assumed.
pub(super) fn ivc_mtu(ivc: &IvcStatus) -> String {
    match ivc.mtu_source {
        MtuSource::Assumed => format!("{}?", ivc.mtu),
        MtuSource::Probed | MtuSource::Fixed => ivc.mtu.to_string(),
    }
}

/// How long ago a time in seconds since the epoch was.
pub(in crate::cli) fn age(since: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let age = now.as_secs().saturating_sub(since);
    // Two units are enough for people.
    let coarse = match age {
        0..3600 => age,
        3600..86_400 => age / 60 * 60,
        _ => age / 3600 * 3600,
    };
    humantime::format_duration(Duration::from_secs(coarse)).to_string()
}
