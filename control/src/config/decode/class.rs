//! A class of a tunnel's traffic.

use withy_common::{classes::MAX_RANGES, label::MAX_CLASSES};

use super::field::Field;
use crate::config::{
    Sizes, Takes,
    draft::ClassDraft,
    sink::{Located, Sink},
};

/// The most code points, protocols or ranges of ports in one list.
const MAX_VALUES: usize = 64;

/// Reads the classes of a tunnel.
pub(super) fn decode_all(field: &Field<'_>, sink: &mut Sink) -> Option<Vec<ClassDraft>> {
    let classes = field.list(MAX_CLASSES, sink, |field, sink| Some(decode(field, sink)))?;
    let ranges = classes.iter().filter_map(|class| class.takes.as_ref());
    let ranges: usize = ranges.map(|takes| takes.value.ports.len()).sum();
    if ranges > MAX_RANGES {
        let message = format!("the classes have {ranges} ranges of ports together");
        sink.error(&field.at, message, format!("give at most {MAX_RANGES}"));
    }
    Some(classes)
}

fn decode(field: &Field<'_>, sink: &mut Sink) -> ClassDraft {
    let mut map = field.map(sink);
    let form = "{dscp: …, protocol: …, ports: …, size: …}, or some of them";
    let takes = map.required("match", form, sink, |field, sink| Some(takes(field, sink)));
    let form = "aggregate, lowest-latency, redundant or sticky";
    let policy = map.required("policy", form, sink, Field::parse);
    map.close(sink);
    ClassDraft { takes, policy }
}

fn takes(field: &Field<'_>, sink: &mut Sink) -> Located<Takes> {
    let mut map = field.map(sink);
    let dscp = map.optional("dscp", sink, |field, sink| {
        field.one_or_more(MAX_VALUES, sink, Field::parse)
    });
    let protocol = map.optional("protocol", sink, |field, sink| {
        field.one_or_more(MAX_VALUES, sink, Field::parse)
    });
    let ports = map.optional("ports", sink, |field, sink| {
        field.one_or_more(MAX_RANGES, sink, Field::parse)
    });
    let size = map.optional("size", sink, |field, sink| Some(sizes(field, sink)));
    map.close(sink);
    if field.is_empty_map() {
        let message = "a class that takes every packet";
        let help = "state dscp, protocol, ports or size; the tunnel's own policy is for all others";
        sink.error(&field.at, message, help);
    }
    Located {
        value: Takes {
            dscp: values(dscp),
            protocol: values(protocol),
            ports: values(ports),
            size: size.unwrap_or_default(),
        },
        at: field.at.clone(),
    }
}

fn values<T>(located: Option<Vec<Located<T>>>) -> Vec<T> {
    let values = located.unwrap_or_default().into_iter();
    values.map(|located| located.value).collect()
}

fn sizes(field: &Field<'_>, sink: &mut Sink) -> Sizes {
    let mut map = field.map(sink);
    let mut end = |name, sink: &mut Sink| {
        let end = map.optional(name, sink, |field, sink| {
            field.number(&(0..=u16::MAX.into()), " bytes", sink)
        });
        end.and_then(|end| u16::try_from(end.value).ok())
    };
    let sizes = Sizes {
        at_least: end("at_least", sink),
        at_most: end("at_most", sink),
    };
    map.close(sink);
    if field.is_empty_map() {
        sink.error(
            &field.at,
            "no size at all",
            "write at_least, at_most or both",
        );
    }
    let (least, most) = sizes.ends();
    if least > most {
        let message = format!("no packet has at least {least} and at most {most} bytes");
        sink.error(&field.at, message, "write the smaller one for at_least");
    }
    sizes
}
