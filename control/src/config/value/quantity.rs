use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::ValueError;

/// A rate in bits a second, counted on the IP layer and beneath it as the link's `overhead` says;
/// 1 kbit/s to 100 Gbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// The smallest rate of a link: 1 kbit/s.
    pub const MIN: Self = Self(1_000);
    /// The largest rate of a link: 100 Gbit/s.
    pub const MAX: Self = Self(100_000_000_000);

    /// Returns the rate of so many bits a second, if it is in range.
    #[must_use]
    pub fn from_bits_per_second(bits: u64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&bits)
            .then_some(Self(bits))
    }

    /// Returns the rate in bits a second.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.0
    }
}

/// A delay: a one-way latency, or the bound of a queue; whole microseconds, at most 10 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay(u64);

impl Delay {
    /// The largest delay: 10 s.
    pub const MAX: Self = Self(10_000_000);

    /// Returns the delay of so many microseconds, if it is in range.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Option<Self> {
        if micros <= Self::MAX.0 {
            Some(Self(micros))
        } else {
            None
        }
    }

    /// Returns the delay in microseconds.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the delay in nanoseconds.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        // At most 10^10: no overflow.
        self.0 * 1_000
    }

    /// Returns the delay as the standard library's type.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

/// A family of units: what they measure, and each with its factor over the smallest.
struct Units {
    what: &'static str,
    article: &'static str,
    /// From the smallest, whose factor is 1, to the largest. All factors are powers of ten.
    scale: &'static [(&'static str, u64)],
    list: &'static str,
    example: &'static str,
    hint: fn(&str) -> Option<String>,
}

const RATE: Units = Units {
    what: "rate",
    article: "a rate",
    scale: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
    ],
    list: "bit/s, kbit/s, Mbit/s, Gbit/s",
    example: "a number and a unit, such as 20 Mbit/s",
    hint: rate_hint,
};

const DELAY: Units = Units {
    what: "time",
    article: "a time",
    scale: &[("us", 1), ("ms", 1_000), ("s", 1_000_000)],
    list: "us, ms, s",
    example: "a number and a unit, such as 12 ms",
    hint: delay_hint,
};

impl Units {
    /// Reads a decimal number and a unit exactly, in the smallest unit. What exceeds 64 bits
    /// becomes `u64::MAX`, which every range refuses.
    fn parse(&self, text: &str) -> Result<u64, ValueError> {
        let number_len = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(number_len);
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        let bad_fraction = |digits: &str| digits.is_empty() || digits.contains('.');
        if whole.is_empty() || fraction.is_some_and(bad_fraction) {
            return Err(self.malformed(text));
        }
        let factor = self.factor(text, unit.trim_start())?;
        let fraction = fraction.unwrap_or("").trim_end_matches('0');
        let whole: u64 = whole.parse().unwrap_or(u64::MAX);
        let rest = scaled_fraction(fraction, factor).ok_or_else(|| ValueError::TooFine {
            text: text.to_owned(),
            resolution: self.scale[0].0,
        })?;
        Ok(whole.saturating_mul(factor).saturating_add(rest))
    }

    fn factor(&self, text: &str, unit: &str) -> Result<u64, ValueError> {
        if unit.is_empty() {
            return Err(ValueError::NoUnit {
                text: text.to_owned(),
                units: self.list,
            });
        }
        if let Some((_, factor)) = self.scale.iter().find(|(name, _)| *name == unit) {
            return Ok(*factor);
        }
        let hint = (self.hint)(unit).unwrap_or_else(|| format!("use one of {}", self.list));
        Err(ValueError::UnknownUnit {
            unit: unit.to_owned(),
            what: self.what,
            hint,
        })
    }

    fn malformed(&self, text: &str) -> ValueError {
        ValueError::Malformed {
            text: text.to_owned(),
            what: self.article,
            form: self.example,
        }
    }

    /// Writes a value in the largest unit that it reaches, with as many decimals as it takes.
    fn format(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = self.scale.iter().rev().find(|(_, factor)| *factor <= value);
        let (name, factor) = reached.unwrap_or(&self.scale[0]);
        let (whole, rest) = (value / factor, value % factor);
        if rest == 0 {
            return write!(f, "{whole} {name}");
        }
        let digits = factor.ilog10() as usize;
        let decimals = format!("{rest:0digits$}");
        write!(f, "{whole}.{} {name}", decimals.trim_end_matches('0'))
    }

    fn out_of_range(text: &str, low: &impl ToString, high: &impl ToString) -> ValueError {
        ValueError::OutOfRange {
            text: super::quote(text),
            low: low.to_string(),
            high: high.to_string(),
        }
    }
}

/// Returns `0.DIGITS * factor`, where it is a whole number. `factor` is a power of ten.
fn scaled_fraction(digits: &str, factor: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    let power = u32::try_from(digits.len()).ok()?;
    let scale = factor.checked_div(10_u64.checked_pow(power)?)?;
    if scale == 0 {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

fn rate_hint(unit: &str) -> Option<String> {
    if unit.ends_with("B/s") || unit.ends_with("Bps") || unit.to_lowercase().contains("byte") {
        return Some("rates are in bits a second: multiply bytes by 8".to_owned());
    }
    let lower = unit.to_lowercase();
    let (prefix, rest) = match lower.split_at_checked(1)? {
        ("k", rest) => ("k", rest),
        ("m", rest) => ("M", rest),
        ("g", rest) => ("G", rest),
        _ => ("", lower.as_str()),
    };
    let bits = ["bit/s", "bits/s", "bps", "b/s", "bit", "bits", "b", "bitps"];
    bits.contains(&rest)
        .then(|| format!("did you mean {prefix}bit/s?"))
}

fn delay_hint(unit: &str) -> Option<String> {
    let meant = match unit.to_lowercase().as_str() {
        "µs" | "μs" | "usec" | "usecs" | "microseconds" => "us",
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        _ => return None,
    };
    Some(format!("did you mean {meant}?"))
}

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::from_bits_per_second(RATE.parse(text)?)
            .ok_or_else(|| Units::out_of_range(text, &Self::MIN, &Self::MAX))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RATE.format(self.0, f)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Delay {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::from_micros(DELAY.parse(text)?)
            .ok_or_else(|| Units::out_of_range(text, &Self(0), &Self::MAX))
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DELAY.format(self.0, f)
    }
}

impl Serialize for Delay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Result<u64, String> {
        let error = |error: ValueError| format!("{error}; {}", error.help());
        text.parse::<Rate>()
            .map(Rate::bits_per_second)
            .map_err(error)
    }

    #[test]
    fn rates_are_read_exactly() {
        assert_eq!(rate("1.5 Mbit/s"), Ok(1_500_000));
        assert_eq!(rate("500 kbit/s"), Ok(500_000));
        assert_eq!(rate("2Gbit/s"), Ok(2_000_000_000));
        assert_eq!(rate("100000 bit/s"), Ok(100_000));
        assert_eq!(rate("0.123456789 Gbit/s"), Ok(123_456_789));
        assert_eq!(rate("1.500000000000000 Mbit/s"), Ok(1_500_000));
    }

    #[test]
    fn wrong_rates_are_told_what_is_right() {
        let cases = [
            (
                "20",
                "`20` has no unit; add one of the units bit/s, kbit/s, Mbit/s, Gbit/s",
            ),
            (
                "20 Mbps",
                "`Mbps` is not a unit of rate; did you mean Mbit/s?",
            ),
            (
                "20 mbit/s",
                "`mbit/s` is not a unit of rate; did you mean Mbit/s?",
            ),
            (
                "2 MB/s",
                "`MB/s` is not a unit of rate; rates are in bits a second: multiply bytes by 8",
            ),
            (
                "2 ms",
                "`ms` is not a unit of rate; use one of bit/s, kbit/s, Mbit/s, Gbit/s",
            ),
            (
                "fast",
                "`fast` is not a rate; write a number and a unit, such as 20 Mbit/s",
            ),
            (
                "1.2.3 kbit/s",
                "`1.2.3 kbit/s` is not a rate; write a number and a unit, such as 20 Mbit/s",
            ),
            (
                "-1 kbit/s",
                "`-1 kbit/s` is not a rate; write a number and a unit, such as 20 Mbit/s",
            ),
            (
                "1.0001 kbit/s",
                "`1.0001 kbit/s` is finer than 1 bit/s; write a whole number of bit/s",
            ),
            (
                "999 bit/s",
                "`999 bit/s` is out of range; write 1 kbit/s to 100 Gbit/s",
            ),
            (
                "101 Gbit/s",
                "`101 Gbit/s` is out of range; write 1 kbit/s to 100 Gbit/s",
            ),
            (
                "99999999999999999999 Gbit/s",
                "`99999999999999999999 Gbit/s` is out of range; write 1 kbit/s to 100 Gbit/s",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(rate(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn delays_are_read_exactly() {
        let micros = |text: &str| text.parse::<Delay>().map(Delay::as_micros).ok();
        assert_eq!(micros("12 ms"), Some(12_000));
        assert_eq!(micros("1.5 s"), Some(1_500_000));
        assert_eq!(micros("500 us"), Some(500));
        assert_eq!(micros("0 ms"), Some(0));
        assert_eq!(micros("10 s"), Some(10_000_000));
        assert_eq!(micros("10.000001 s"), None);
        assert_eq!(micros("1.5 us"), None);
    }

    proptest! {
        #[test]
        fn a_rate_reads_as_it_was_written(bits in Rate::MIN.0..=Rate::MAX.0) {
            let rate = Rate(bits);
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }

        #[test]
        fn a_delay_reads_as_it_was_written(micros in 0..=Delay::MAX.0) {
            let delay = Delay(micros);
            prop_assert_eq!(delay.to_string().parse::<Delay>(), Ok(delay));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in "[0-9.]{0,25} ?\\PC{0,8}") {
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Delay>();
        }
    }
}
