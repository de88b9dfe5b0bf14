//! Success, or why not.

use std::fmt;

use minicbor::{Decode, Encode};

use super::bounds::{MAX_DETAIL, cut};

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Verdict {
    /// 0 for success; see [`Reason`].
    #[n(0)]
    code: u16,
    /// What is to be done about it, for people at the other side.
    #[n(1)]
    detail: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No version that both understand.
    Version,
    /// No tunnel is configured for the peer's key, or it is not the one that opens it.
    NoTunnel,
    /// The response to the challenge is wrong.
    Authentication,
    /// The addresses differ on the two sides: something translates them.
    Translated,
    /// No link is left.
    NoLink,
    /// The SVC or IVC is not known, any more or yet.
    Unknown,
    /// A subnet is not allowed to the peer, or wanted and not offered.
    Subnets,
    /// Another tunnel has one of the subnets.
    SubnetTaken,
    /// No suite that both accept.
    Suite,
    /// The split policies differ.
    Split,
    /// No endpoint address is left.
    NoEndpoint,
    /// There is too much of something: connections, SVCs.
    Busy,
    /// The message makes no sense at this point.
    Unexpected,
    /// Another gateway with the same key has the tunnel, and is there.
    Occupied,
    /// A reason of a later version.
    Other(u16),
}

const CODES: [(u16, Reason, &str, &str); 14] = [
    (1, Reason::Version, "version", "no common protocol version"),
    (2, Reason::NoTunnel, "no_tunnel", "no tunnel for this key"),
    (
        3,
        Reason::Authentication,
        "authentication",
        "the response to the challenge is wrong",
    ),
    (
        4,
        Reason::Translated,
        "translated",
        "addresses are translated on the way",
    ),
    (5, Reason::NoLink, "no_link", "no additional link"),
    (6, Reason::Unknown, "unknown", "no such SVC or IVC"),
    (7, Reason::Subnets, "subnets", "the subnets do not match"),
    (
        8,
        Reason::SubnetTaken,
        "subnet_taken",
        "another tunnel has a subnet",
    ),
    (9, Reason::Suite, "suite", "no common suite"),
    (10, Reason::Split, "split", "the split policies differ"),
    (
        11,
        Reason::NoEndpoint,
        "no_endpoint",
        "no endpoint address is left",
    ),
    (12, Reason::Busy, "busy", "too busy"),
    (13, Reason::Unexpected, "unexpected", "unexpected message"),
    (14, Reason::Occupied, "occupied", "the tunnel is in use"),
];

impl Verdict {
    /// The request is granted.
    #[must_use]
    pub fn success() -> Self {
        Self {
            code: 0,
            detail: None,
        }
    }

    /// The request is refused. Of the detail, the other side gets to see the first [`MAX_DETAIL`] bytes.
    #[must_use]
    pub fn refused(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            detail: Some(cut(detail.into(), MAX_DETAIL)),
        }
    }

    /// What is to be done about it, if the other side says so.
    pub(super) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Why it is refused, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        (self.code != 0).then(|| {
            CODES
                .iter()
                .find(|(code, ..)| *code == self.code)
                .map_or(Reason::Other(self.code), |(_, reason, ..)| *reason)
        })
    }
}

impl Reason {
    /// The names by which refusals are counted.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        CODES.iter().map(|(_, _, label, _)| *label)
    }

    /// The name by which refusals are counted.
    #[must_use]
    pub fn label(self) -> &'static str {
        let known = CODES.iter().find(|(_, reason, ..)| *reason == self);
        known.map_or("other", |(_, _, label, _)| label)
    }

    fn code(self) -> u16 {
        match self {
            // Zero is success, which no refusal may look like.
            Self::Other(0) => u16::MAX,
            Self::Other(code) => code,
            known => CODES
                .iter()
                .find(|(_, reason, ..)| *reason == known)
                .map_or(u16::MAX, |(code, ..)| *code),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CODES.iter().find(|(_, reason, ..)| reason == self) {
            Some((.., text)) => f.write_str(text),
            None => write!(f, "reason {}", self.code()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reason) = self.reason() else {
            return f.write_str("success");
        };
        write!(f, "{reason}")?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_the_wire() {
        for (_, reason, _, text) in CODES {
            let bytes = minicbor::to_vec(Verdict::refused(reason, "why")).unwrap();
            let verdict: Verdict = minicbor::decode(&bytes).unwrap();
            assert_eq!(verdict.reason(), Some(reason));
            assert_eq!(verdict.to_string(), format!("{text}: why"));
        }
        assert_eq!(Verdict::success().reason(), None);
        assert_eq!(Reason::Other(99).to_string(), "reason 99");
    }

    #[test]
    fn no_refusal_looks_like_success() {
        let verdict = Verdict::refused(Reason::Other(0), "why");
        assert_eq!(verdict.reason(), Some(Reason::Other(u16::MAX)));
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let verdict = Verdict::refused(Reason::Busy, format!("a{}", "ä".repeat(MAX_DETAIL)));
        let detail = verdict.detail().unwrap();
        assert_eq!(detail.len(), MAX_DETAIL - 1);
        assert!(detail.ends_with('ä'));
    }
}
