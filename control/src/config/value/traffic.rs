//! What packets are told apart by: code points, protocols, ports.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use withy_common::header::{TCP, UDP};

use super::ValueError;

/// A code point of DSCP (RFC 2474).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

/// A protocol that is carried by IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

/// A range of TCP's and UDP's ports, with its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    low: u16,
    high: u16,
}

/// The names that RFC 2474, 2597, 3246, 5865 and 8622 give to code points.
const CODE_POINTS: [(&str, u8); 24] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
    // Another name of the first.
    ("df", 0),
];

/// The protocols that have a name here.
const PROTOCOLS: [(&str, u8); 6] = [
    ("icmp", 1),
    ("tcp", TCP),
    ("udp", UDP),
    ("gre", 47),
    ("esp", 50),
    ("sctp", 132),
];

impl Dscp {
    /// Returns the code point.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Protocol {
    /// Returns the protocol's number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Whether its packets have the ports that [`PortRange`] means.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self.0, TCP | UDP)
    }
}

impl PortRange {
    /// Returns both ends.
    #[must_use]
    pub fn ends(self) -> (u16, u16) {
        (self.low, self.high)
    }

    /// Whether all of another range is in this one.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }
}

/// Reads one of some names, or a number.
fn named(
    text: &str,
    names: &[(&str, u8)],
    most: u8,
    what: &'static str,
    form: &'static str,
) -> Result<u8, ValueError> {
    if let Some((_, number)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = text.to_owned();
        return Err(ValueError::Malformed { text, what, form });
    }
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| ValueError::OutOfRange {
        text: text.to_owned(),
        low: "0".to_owned(),
        high: most.to_string(),
    })
}

/// Writes a name, or the number of what has none.
fn write(f: &mut fmt::Formatter<'_>, names: &[(&str, u8)], number: u8) -> fmt::Result {
    match names.iter().find(|(_, named)| *named == number) {
        Some((name, _)) => f.write_str(name),
        None => fmt::Display::fmt(&number, f),
    }
}

impl FromStr for Dscp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (what, form) = (
            "a code point of DSCP",
            "ef, va, le, cs0 to cs7, af11 to af43, or a number of 0 to 63",
        );
        named(text, &CODE_POINTS, 63, what, form).map(Self)
    }
}

impl FromStr for Protocol {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (what, form) = (
            "a protocol",
            "tcp, udp, icmp, gre, esp, sctp, or a number of 0 to 255",
        );
        named(text, &PROTOCOLS, u8::MAX, what, form).map(Self)
    }
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let port = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let ends = port(low).zip(port(high)).filter(|(low, high)| low <= high);
        let (low, high) = ends.ok_or_else(|| ValueError::Malformed {
            text: text.to_owned(),
            what: "a port or a range of ports",
            form: "a number of 0 to 65535, or two such as 10000-20000, the smaller first",
        })?;
        Ok(Self { low, high })
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &CODE_POINTS, self.0)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &PROTOCOLS, self.0)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, high) if low == high => fmt::Display::fmt(&low, f),
            (low, high) => write!(f, "{low}-{high}"),
        }
    }
}

macro_rules! serialize {
    ($($type:ident),+) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+
    };
}

serialize!(Dscp, Protocol, PortRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_read_as_they_are_written() {
        for number in 0..64 {
            let dscp: Dscp = number.to_string().parse().unwrap();
            assert_eq!(dscp.get(), number);
            assert_eq!(dscp.to_string().parse(), Ok(dscp));
        }
        for number in 0..=u8::MAX {
            let protocol: Protocol = number.to_string().parse().unwrap();
            assert_eq!(protocol.get(), number);
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        for text in ["0", "5060", "65535", "10000-20000"] {
            let range: PortRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
        }
        assert_eq!("af41".parse(), Ok(Dscp(34)));
        assert_eq!("udp".parse(), Ok(Protocol(17)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "EF", "64", "-1", "af14", "0x2e", "+1"] {
            assert!(text.parse::<Dscp>().is_err(), "{text}");
        }
        for text in ["", "TCP", "256", "any"] {
            assert!(text.parse::<Protocol>().is_err(), "{text}");
        }
        for text in ["", "-", "1-", "2-1", "65536", "1-2-3", "http", "+1"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
