//! A link.

use std::net::Ipv4Addr;

use super::{field::Field, name};
use crate::config::{
    draft::{LinkDraft, ProbeDraft, value},
    model::{Probe, Rates},
    sink::{Located, Sink},
    value::{Delay, HostAddress, Setting, ValueError, quote},
};

pub(super) fn decode(key: Located<String>, field: &Field<'_>, sink: &mut Sink) -> LinkDraft {
    let name = name(&key, sink);
    let mut map = field.map(sink);
    let draft = LinkDraft {
        key,
        name,
        interface: map.required("interface", "NAME", sink, Field::parse),
        isp: map.optional("isp", sink, Field::parse),
        address: map.optional("address", sink, address),
        next_hop: map.optional("next_hop", sink, address),
        rate: map.optional("rate", sink, rates),
        latency: map.optional("latency", sink, Field::parse),
        mtu: map.optional("mtu", sink, Field::parse),
        overhead: map.optional("overhead", sink, overhead),
        receive: map.optional("receive", sink, Field::parse),
        pacing: map.optional("pacing", sink, Field::parse),
        metered: map.optional("metered", sink, Field::parse),
        probe: map.optional("probe", sink, |field, sink| Some(probe(field, sink))),
    };
    map.close(sink);
    draft
}

fn address(field: &Field<'_>, sink: &mut Sink) -> Option<Located<Setting<Ipv4Addr>>> {
    let address: Located<Setting<HostAddress>> = field.parse(sink)?;
    Some(address.map(|setting| setting.map(HostAddress::get)))
}

/// Reads the rates of both directions, or one value for both.
fn rates(field: &Field<'_>, sink: &mut Sink) -> Option<Rates> {
    if !field.is_map() {
        let rate = value(field.parse(sink))?;
        return Some(Rates {
            up: rate,
            down: rate,
        });
    }
    let mut map = field.map(sink);
    let up = map.required("up", "20 Mbit/s", sink, Field::parse);
    let down = map.required("down", "80 Mbit/s", sink, Field::parse);
    map.close(sink);
    Some(Rates {
        up: value(up)?,
        down: value(down)?,
    })
}

/// Reads how often the link's IVCs are probed.
fn probe(field: &Field<'_>, sink: &mut Sink) -> ProbeDraft {
    let mut map = field.map(sink);
    let draft = ProbeDraft {
        interval: map.optional("interval", sink, interval),
        idle: map.optional("idle", sink, interval),
    };
    map.close(sink);
    draft
}

fn interval(field: &Field<'_>, sink: &mut Sink) -> Option<Located<Delay>> {
    let interval: Located<Delay> = field.parse(sink)?;
    if interval.value >= Probe::MIN {
        return Some(interval);
    }
    let error = ValueError::OutOfRange {
        text: quote(&interval.value.to_string()),
        low: Probe::MIN.to_string(),
        high: Delay::MAX.to_string(),
    };
    sink.error(&interval.at, error.to_string(), error.help());
    None
}

fn overhead(field: &Field<'_>, sink: &mut Sink) -> Option<u8> {
    let bytes = field.number(&(0..=u32::from(u8::MAX)), " bytes", sink)?;
    u8::try_from(bytes.value).ok()
}
