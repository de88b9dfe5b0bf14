//! How long, and for how much, keys are used: whole numbers of units that are no powers of ten.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::{ValueError, quote};

/// A period in whole seconds, 1 min to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

/// A volume of traffic in bytes, 1 MiB to 1024 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume(u64);

impl Period {
    /// The shortest period: 1 min.
    pub const MIN: Self = Self(60);
    /// The longest period: 24 h.
    pub const MAX: Self = Self(86_400);

    /// Returns the period as the standard library's type.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Volume {
    /// The smallest volume: 1 MiB.
    pub const MIN: Self = Self(1 << 20);
    /// The largest volume: 1024 TiB.
    pub const MAX: Self = Self(1 << 50);

    /// Returns the volume in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// An hour.
impl Default for Period {
    fn default() -> Self {
        Self(3600)
    }
}

/// 64 GiB: some ten minutes at 1 Gbit/s, far from what any suite bears under one key.
impl Default for Volume {
    fn default() -> Self {
        Self(64 << 30)
    }
}

/// A family of units, from the smallest to the largest, each with its factor and the words that
/// people write for it.
struct Units {
    what: &'static str,
    article: &'static str,
    scale: &'static [(&'static str, u64, &'static [&'static str])],
    list: &'static str,
    example: &'static str,
}

const PERIOD: Units = Units {
    what: "time",
    article: "a period",
    scale: &[
        ("s", 1, &["sec", "secs", "second", "seconds"]),
        ("min", 60, &["m", "mins", "minute", "minutes"]),
        ("h", 3600, &["hr", "hrs", "hour", "hours"]),
    ],
    list: "s, min, h",
    example: "a whole number and a unit, such as 30 min",
};

const VOLUME: Units = Units {
    what: "volume",
    article: "a volume",
    scale: &[
        ("B", 1, &["byte", "bytes"]),
        ("KiB", 1 << 10, &["k", "kb"]),
        ("MiB", 1 << 20, &["m", "mb"]),
        ("GiB", 1 << 30, &["g", "gb"]),
        ("TiB", 1 << 40, &["t", "tb"]),
    ],
    list: "B, KiB, MiB, GiB, TiB",
    example: "a whole number and a unit, such as 64 GiB",
};

impl Units {
    /// Reads a whole number and a unit. What exceeds 64 bits becomes `u64::MAX`, which every range
    /// refuses.
    fn parse(&self, text: &str) -> Result<u64, ValueError> {
        let length = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(length);
        let unit = unit.trim_start();
        if number.is_empty() || unit.starts_with(['.', ',']) {
            return Err(ValueError::Malformed {
                text: text.to_owned(),
                what: self.article,
                form: self.example,
            });
        }
        if unit.is_empty() {
            return Err(ValueError::NoUnit {
                text: text.to_owned(),
                units: self.list,
            });
        }
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        Ok(number.saturating_mul(self.factor(unit)?))
    }

    fn factor(&self, unit: &str) -> Result<u64, ValueError> {
        if let Some((_, factor, _)) = self.scale.iter().find(|(name, ..)| *name == unit) {
            return Ok(*factor);
        }
        let lower = unit.to_lowercase();
        let meant = self.scale.iter().find(|(name, _, words)| {
            name.to_lowercase() == lower || words.contains(&lower.as_str())
        });
        Err(ValueError::UnknownUnit {
            unit: unit.to_owned(),
            what: self.what,
            hint: match meant {
                Some((name, ..)) => format!("did you mean {name}?"),
                None => format!("use one of {}", self.list),
            },
        })
    }

    /// Writes a value in the largest unit of which it is a whole number.
    fn format(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |factor: u64| value >= factor && value.is_multiple_of(factor);
        let fitting = self
            .scale
            .iter()
            .rev()
            .find(|(_, factor, _)| whole(*factor));
        let (name, factor, _) = fitting.unwrap_or(&self.scale[0]);
        write!(f, "{} {name}", value / factor)
    }
}

macro_rules! limit {
    ($type:ident, $units:ident) => {
        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                let value = Self($units.parse(text)?);
                if (Self::MIN..=Self::MAX).contains(&value) {
                    return Ok(value);
                }
                Err(ValueError::OutOfRange {
                    text: quote(text),
                    low: Self::MIN.to_string(),
                    high: Self::MAX.to_string(),
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $units.format(self.0, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

limit!(Period, PERIOD);
limit!(Volume, VOLUME);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_read_exactly() {
        let seconds = |text: &str| text.parse::<Period>().map(|p| p.duration().as_secs()).ok();
        assert_eq!(seconds("1 h"), Some(3600));
        assert_eq!(seconds("90min"), Some(5400));
        assert_eq!(seconds("61 s"), Some(61));
        assert_eq!((seconds("59 s"), seconds("25 h")), (None, None));
        let bytes = |text: &str| text.parse::<Volume>().map(Volume::bytes).ok();
        assert_eq!(bytes("64 GiB"), Some(64 << 30));
        assert_eq!(bytes("1048577 B"), Some((1 << 20) + 1));
        assert_eq!((bytes("1023 KiB"), bytes("1025 TiB")), (None, None));
        assert_eq!(bytes("99999999999999999999 TiB"), None);
    }

    #[test]
    fn wrong_limits_are_told_what_is_right() {
        let told = |text: &str| {
            let error = text.parse::<Volume>().expect_err("no volume");
            format!("{error}; {}", error.help())
        };
        assert_eq!(
            told("64 GB"),
            "`GB` is not a unit of volume; did you mean GiB?"
        );
        assert_eq!(
            told("1.5 GiB"),
            "`1.5 GiB` is not a volume; write a whole number and a unit, such as 64 GiB"
        );
        assert_eq!(
            told("7"),
            "`7` has no unit; add one of the units B, KiB, MiB, GiB, TiB"
        );
        assert_eq!(
            told("1 KiB"),
            "`1 KiB` is out of range; write 1 MiB to 1024 TiB"
        );
    }

    proptest! {
        #[test]
        fn a_limit_reads_as_it_was_written(
            seconds in Period::MIN.0..=Period::MAX.0,
            bytes in Volume::MIN.0..=Volume::MAX.0,
        ) {
            prop_assert_eq!(Period(seconds).to_string().parse(), Ok(Period(seconds)));
            prop_assert_eq!(Volume(bytes).to_string().parse(), Ok(Volume(bytes)));
        }

        #[test]
        fn no_text_makes_a_limit_panic(text in "[0-9.]{0,25} ?\\PC{0,8}") {
            let _ = text.parse::<Period>();
            let _ = text.parse::<Volume>();
        }
    }
}
