//! Durations as Go writes them: `250ms`, `1h30m`, `1.5s`.
//!
//! Flags, config files and log lines of the suite all use this form, so that an operator's
//! command lines and log parsers keep working.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A signed number of nanoseconds that reads and prints like Go's `time.Duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration {
    nanos: i64,
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a series of numbers and units.
    #[error("{0:?} is not a duration such as 250ms or 1h30m")]
    Syntax(String),
    /// A number stands without one of the units ns, us, ms, s, m, h.
    #[error("{0:?} has a number without a unit (ns, us, ms, s, m or h)")]
    Unit(String),
    /// More than 64 bits of nanoseconds: about 292 years.
    #[error("{0:?} is longer than a duration can be")]
    Range(String),
}

impl GoDuration {
    /// A duration of so many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// Its length in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.nanos
    }
}

impl From<Duration> for GoDuration {
    /// Lengths past 292 years, which nothing here measures, become 292 years.
    fn from(duration: Duration) -> Self {
        Self::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl TryFrom<GoDuration> for Duration {
    type Error = std::num::TryFromIntError;

    /// Fails for a negative length.
    fn try_from(duration: GoDuration) -> Result<Self, Self::Error> {
        u64::try_from(duration.nanos).map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    /// Shape: `[+-]` and then `0`, or one or more of digits with an optional fraction and a unit.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if unsigned == "0" {
            return Ok(Self::from_nanos(0));
        }
        if unsigned.is_empty() {
            return Err(DurationError::Syntax(text.to_owned()));
        }
        let too_long = || DurationError::Range(text.to_owned());
        let mut total: i128 = 0;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let (nanos, after) = leading_term(rest).map_err(|cause| match cause {
                TermError::NoNumber => DurationError::Syntax(text.to_owned()),
                TermError::NoUnit => DurationError::Unit(text.to_owned()),
                TermError::TooLong => too_long(),
            })?;
            total = total.checked_add(nanos).ok_or_else(too_long)?;
            rest = after;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed)
            .map(Self::from_nanos)
            .map_err(|_| too_long())
    }
}

enum TermError {
    NoNumber,
    NoUnit,
    TooLong,
}

/// Takes one number and its unit off the front of `text`: its nanoseconds, and what follows.
/// A fraction counts to 18 digits, well below a nanosecond of the longest unit.
fn leading_term(text: &str) -> Result<(i128, &str), TermError> {
    let (whole, after_whole) = leading_digits(text);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(after_dot) => leading_digits(after_dot),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(TermError::NoNumber);
    }
    let unit_end = after_number
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    let unit_nanos = unit_nanos(unit).ok_or(TermError::NoUnit)?;

    // Nineteen digits hold every i64; more can only be leading zeros or too long.
    let whole = whole.trim_start_matches('0');
    if whole.len() > 19 {
        return Err(TermError::TooLong);
    }
    let mut nanos = decimal(whole) * unit_nanos;
    let fraction = &fraction[..fraction.len().min(18)];
    let mut scale = 1;
    for _ in fraction.bytes() {
        scale *= 10;
    }
    nanos += decimal(fraction) * unit_nanos / scale;
    Ok((nanos, rest))
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The value of at most nineteen ASCII digits.
fn decimal(digits: &str) -> i128 {
    digits
        .bytes()
        .fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        // The micro sign, and the Greek letter that looks like it.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND.into(),
        "m" => 60 * i128::from(NANOS_PER_SECOND),
        "h" => 3600 * i128::from(NANOS_PER_SECOND),
        _ => return None,
    })
}

impl fmt::Display for GoDuration {
    /// The largest units without leading zero ones: `1h0m0s`, `2m30s`, `1.5s`, `250ms`, `41.5µs`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.nanos.unsigned_abs();
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        if length == 0 {
            return f.write_str("0s");
        }
        if length < 1_000 {
            return write!(f, "{length}ns");
        }
        if length < 1_000_000 {
            write_decimal(f, length, 1_000)?;
            return f.write_str("\u{b5}s");
        }
        if length < NANOS_PER_SECOND {
            write_decimal(f, length, 1_000_000)?;
            return f.write_str("ms");
        }
        let minutes = length / (60 * NANOS_PER_SECOND);
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write_decimal(f, length % (60 * NANOS_PER_SECOND), NANOS_PER_SECOND)?;
        f.write_str("s")
    }
}

/// Writes `nanos / unit` with as many decimals as it takes and no more.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut rest = nanos % unit;
    if rest > 0 {
        f.write_str(".")?;
    }
    let mut digit_value = unit / 10;
    while rest > 0 {
        write!(f, "{}", rest / digit_value)?;
        rest %= digit_value;
        digit_value /= 10;
    }
    Ok(())
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_spellings_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5ns", 5),
            ("250ms", 250_000_000),
            ("41.5us", 41_500),
            ("41.5\u{b5}s", 41_500),
            ("41.5\u{3bc}s", 41_500),
            ("1.5h", 5_400_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h1h", 7_200_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+5s", 5_000_000_000),
            ("-1m30s", -90_000_000_000),
            ("0.000000001s", 1),
            ("0.0000000009s", 0),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("00000000000000000000000001s", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(GoDuration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "", "-", "+", "5", "1.5", "s", ".s", ".", "5x", "5 s", " 5s", "5s ", "1h30", "5S",
            "5d", "--5s", "\u{661}s", "5.5.5s",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?} was accepted");
        }
        for text in [
            "9223372036854775808ns",
            "2562048h",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            let refused = text.parse::<GoDuration>();
            assert_eq!(refused, Err(DurationError::Range(text.to_owned())));
        }
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1\u{b5}s"),
            (41_500, "41.5\u{b5}s"),
            (1_234_567, "1.234567ms"),
            (25_000_000, "25ms"),
            (250_000_000, "250ms"),
            (1_000_000_001, "1.000000001s"),
            (2_000_000_000, "2s"),
            (60_000_000_000, "1m0s"),
            (90_500_000_000, "1m30.5s"),
            (600_000_000_000, "10m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration::from_nanos(nanos).to_string(), text);
        }
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let mut nanos: i64 = 7;
        for _ in 0..500 {
            nanos = nanos
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let duration = GoDuration::from_nanos(nanos >> (nanos & 63));
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn a_negative_length_is_no_std_duration() {
        assert!(Duration::try_from(GoDuration::from_nanos(-1)).is_err());
        assert_eq!(
            Duration::try_from(GoDuration::from_nanos(5)),
            Ok(Duration::from_nanos(5))
        );
    }
}
