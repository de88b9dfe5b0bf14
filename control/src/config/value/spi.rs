use std::{fmt, str::FromStr};

use serde::Serialize;

use super::ValueError;

/// A security parameters index of ESP, in host byte order; 256 and above, for RFC 4303 section
/// 2.1 reserves 1 to 255 for IANA and 0 for local use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Spi(u32);

impl Spi {
    /// The smallest SPI that an operator may choose.
    pub const MIN: Self = Self(256);

    /// Returns the SPI in host byte order.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Spi {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(ValueError::Malformed {
                text: text.to_owned(),
                what: "an SPI",
                form: "a number such as 0x1001",
            });
        }
        let number = u32::from_str_radix(digits, radix).ok();
        let spi = number.map(Self).filter(|spi| *spi >= Self::MIN);
        spi.ok_or_else(|| ValueError::OutOfRange {
            text: super::quote(text),
            low: Self::MIN.to_string(),
            high: Self(u32::MAX).to_string(),
        })
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_are_hexadecimal_or_decimal() {
        let spi = |text: &str| text.parse::<Spi>().map(Spi::get).ok();
        assert_eq!(spi("0x1001"), Some(0x1001));
        assert_eq!(spi("4097"), Some(0x1001));
        assert_eq!(spi("0xffffffff"), Some(u32::MAX));
        for illegal in [
            "255",
            "0xff",
            "0",
            "0x100000000",
            "0x",
            "",
            "+300",
            "-1",
            "0x+300",
            "1e4",
        ] {
            assert_eq!(spi(illegal), None, "{illegal}");
        }
    }
}
