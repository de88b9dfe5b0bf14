//! Taking out of listings what changes by itself.

use std::collections::BTreeSet;

use serde_json::Value;

/// Keys whose values change with traffic or time. `link_netnsid` is a number that the kernel makes
/// up when somebody first asks, `operstate` lags behind the flags.
const VOLATILE: [&str; 9] = [
    "stats",
    "stats64",
    "valid_life_time",
    "preferred_life_time",
    "expires",
    "used",
    "refcnt",
    "link_netnsid",
    "operstate",
];

/// Words that begin lines of `ip xfrm` which tell the set-up; others are counters and windows that
/// move with traffic.
const XFRM_STABLE: [&str; 16] = [
    "src",
    "proto",
    "replay-window",
    "auth",
    "auth-trunc",
    "enc",
    "aead",
    "comp",
    "encap",
    "sel",
    "mark",
    "if_id",
    "dir",
    "tmpl",
    "output-mark",
    "offload",
];

/// One line for each element of a JSON list, without what is volatile.
pub(super) fn lines(listed: &Value) -> BTreeSet<String> {
    listed
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| masked(item).to_string())
        .collect()
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !VOLATILE.contains(&key.as_str()))
            // A program that is loaded again has another number; the tag is made of its instructions.
            .filter(|(key, _)| *key != "id" || !fields.contains_key("tag"))
            .map(|(key, value)| (key.clone(), masked(value)))
            .collect(),
        // The kernel's link watch is a moment behind the carrier, which LOWER_UP tells.
        Value::Array(items) => items
            .iter()
            .filter(|item| item.as_str() != Some("NO-CARRIER"))
            .map(masked)
            .collect(),
        other => other.clone(),
    }
}

/// One line for each state or policy; its continuation lines are indented in the listing.
pub(super) fn xfrm_blocks(listing: &str) -> BTreeSet<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in listing.lines() {
        let words = line.trim();
        if !line.starts_with(char::is_whitespace) {
            blocks.push(words.to_owned());
        } else if let (Some(block), Some(first)) = (blocks.last_mut(), words.split(' ').next())
            && XFRM_STABLE.contains(&first)
        {
            block.push_str(" | ");
            block.push_str(words);
        }
    }
    blocks.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volatile_fields_do_not_count() {
        let before = json!([{"ifname": "a", "addr": [{"local": "x", "valid_life_time": 3}]}]);
        let after = json!([{"ifname": "a", "addr": [{"local": "x", "valid_life_time": 2}]}]);
        assert_eq!(lines(&before), lines(&after));
        let other = json!([{"ifname": "a", "addr": [{"local": "y", "valid_life_time": 3}]}]);
        assert_ne!(lines(&before), lines(&other));
    }

    #[test]
    fn a_program_is_known_by_its_tag() {
        let filter =
            |id, tag| json!([{"kind": "bpf", "options": {"prog": {"id": id, "tag": tag}}}]);
        assert_eq!(lines(&filter(1, "a")), lines(&filter(2, "a")));
        assert_ne!(lines(&filter(1, "a")), lines(&filter(1, "b")));
        assert_ne!(lines(&json!([{"id": 1}])), lines(&json!([{"id": 2}])));
    }

    #[test]
    fn xfrm_windows_do_not_count() {
        let listing = |sequence| {
            format!(
                "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x1 reqid 1 mode tunnel\n\
                 \tanti-replay esn context:\n\t seq-hi 0x0, seq {sequence}, oseq-hi 0x0\n\
                 src 10.0.0.2 dst 10.0.0.1\n\tproto esp spi 0x2 reqid 1 mode tunnel\n"
            )
        };
        let blocks = xfrm_blocks(&listing("0x1"));
        assert_eq!(blocks, xfrm_blocks(&listing("0x2")));
        let first = blocks.first().unwrap();
        assert_eq!(
            first,
            "src 10.0.0.1 dst 10.0.0.2 | proto esp spi 0x1 reqid 1 mode tunnel"
        );
        assert_eq!(blocks.len(), 2);
    }
}
