use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Serialize, Serializer};

use super::ValueError;

/// A maximum transmission unit of IP packets in bytes, 576 to 9216.
///
/// RFC 791 has every host accept 576 bytes; 9216 is what jumbo-frame equipment carries at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Mtu(u16);

impl Mtu {
    /// The legal range in bytes.
    pub const RANGE: RangeInclusive<u16> = 576..=9216;

    /// Returns the MTU of so many bytes, if it is in range.
    #[must_use]
    pub fn new(bytes: u16) -> Option<Self> {
        Self::RANGE.contains(&bytes).then_some(Self(bytes))
    }

    /// Returns the MTU in bytes.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for Mtu {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        bytes_in(text, &Self::RANGE, "auto or a number of bytes such as 1500").map(Self)
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What TCP's maximum segment size is clamped to on its way through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mss {
    /// To what fits one packet of the tunnel's IVCs whole.
    Auto,
    /// Not at all.
    Off,
    /// To so many bytes, 256 to 9176.
    Bytes(u16),
}

impl Mss {
    /// The legal range in bytes: the largest MTU less the IPv4 and TCP headers above, and below
    /// a size that any path carries.
    pub const RANGE: RangeInclusive<u16> = 256..=9176;
}

impl FromStr for Mss {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => bytes_in(
                text,
                &Self::RANGE,
                "auto, off or a number of bytes such as 1360",
            )
            .map(Self::Bytes),
        }
    }
}

impl fmt::Display for Mss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

impl Serialize for Mss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Off => serializer.serialize_str("off"),
            Self::Bytes(bytes) => serializer.serialize_u16(*bytes),
        }
    }
}

fn bytes_in(
    text: &str,
    range: &RangeInclusive<u16>,
    form: &'static str,
) -> Result<u16, ValueError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = text.to_owned();
        return Err(ValueError::Malformed {
            text,
            what: "a number of bytes",
            form,
        });
    }
    let bytes = text.parse().ok().filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| ValueError::OutOfRange {
        text: super::quote(text),
        low: range.start().to_string(),
        high: format!("{} bytes", range.end()),
    })
}
