//! Numbers, sizes, spans and times as people read them. Pure: `now` is always an argument.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

/// What a number counts, so that it is never shown without its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Whole things: messages, clients, topics.
    Count,
    /// Things a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Spans in nanoseconds.
    Nanos,
    /// Spans in seconds.
    Seconds,
}

impl Unit {
    /// `value` in few characters: `12.3k`, `4.5/s`, `1.5 MiB`, `20 ms`.
    pub(crate) fn short(self, value: f64) -> String {
        match self {
            Self::Count => short(value),
            Self::PerSecond => format!("{}/s", short(value)),
            Self::Bytes => bytes(value),
            Self::Nanos => nanos(value),
            Self::Seconds => nanos(value * 1e9),
        }
    }
}

/// `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1,234,567` of a count that may be negative: a depth while it is being counted can be.
pub(crate) fn grouped_signed(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(value.unsigned_abs()))
}

/// A number from afar: `1,071`, and from a million on `1.07M`.
pub(crate) fn whole(value: f64) -> String {
    if !(10.0..1e6).contains(&value) {
        return short(value);
    }
    let digits = format!("{value:.0}");
    digits.parse().map_or(digits, grouped)
}

/// `3 messages`, `1 message`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// At most three digits that matter and a power of a thousand: `0`, `0.25`, `12.3`, `950`, `1.2k`.
pub(crate) fn short(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// `512 B`, `1.5 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    let units = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    scaled(value, 1024.0, &units)
}

/// `0`, `850 ns`, `12.3 ms`, `4.5 s`, `2.1 min`, `3 h`, `2 d`.
pub(crate) fn nanos(value: f64) -> String {
    let size = value.abs();
    let (divisor, unit) = match size {
        _ if size == 0.0 => return "0".to_owned(),
        _ if size < 1e3 => (1.0, "ns"),
        _ if size < 1e6 => (1e3, "µs"),
        _ if size < 1e9 => (1e6, "ms"),
        _ if size < 60e9 => (1e9, "s"),
        _ if size < 3600e9 => (60e9, "min"),
        _ if size < 48.0 * 3600e9 => (3600e9, "h"),
        _ => (86_400e9, "d"),
    };
    format!("{} {unit}", digits(value / divisor))
}

/// A span in its two largest units: `45 s`, `12 min 5 s`, `3 h 20 min`, `9 d 4 h`.
pub(crate) fn span(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    parts[first..parts.len().min(first + 2)]
        .iter()
        .enumerate()
        .filter(|(index, (count, _))| *index == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A span whose numbers stay on one line with their units.
pub(crate) fn unbroken(span: &str) -> Markup {
    let words: Vec<&str> = span.split(' ').collect();
    html! {
        @for (index, pair) in words.chunks(2).enumerate() {
            @if index > 0 { " " }
            span.nowrap { (pair.join(" ")) }
        }
    }
}

/// A moment with its time zone: `2026-11-22 18:29:13 UTC`.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// A quantile's name: 0.99 is `99 %`, 0.999 is `99.9 %`.
pub(crate) fn quantile(value: f64) -> String {
    // Seven digits: what binary fractions add to 0.29 comes after them.
    let percent = format!("{:.5}", value * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    format!("{percent} %")
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let mut scaled = value;
    let mut index = 0;
    // 999.5 would be written as four digits.
    while scaled.abs() >= base - 0.5 && index + 1 < units.len() {
        scaled /= base;
        index += 1;
    }
    format!("{}{}", digits(scaled), units[index])
}

/// Three digits that matter, without zeros at the end.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    if text == "-0" { "0" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(value), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(grouped_signed(-1234), "-1,234");
        let from_afar = [
            (0.25, "0.25"),
            (1070.6, "1,071"),
            (2e6, "2M"),
            (f64::NAN, "–"),
        ];
        for (value, text) in from_afar {
            assert_eq!(whole(value), text);
        }
        assert_eq!(counted(1, "message", "messages"), "1 message");
        assert_eq!(counted(2000, "message", "messages"), "2,000 messages");
    }

    #[test]
    fn short_numbers_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.0, "1"),
            (12.34, "12.3"),
            (99.96, "100"),
            (949.6, "950"),
            (999.6, "1k"),
            (1234.0, "1.23k"),
            (12_345_678.0, "12.3M"),
            (1e19, "10E"),
            (1e30, "1000000000000E"),
            (-1500.0, "-1.5k"),
            (-0.001, "0"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(1023.9), "1 KiB");
        assert_eq!(nanos(1500.0), "1.5 µs");
        assert_eq!(nanos(20e6), "20 ms");
        assert_eq!(nanos(90e9), "1.5 min");
        assert_eq!(Unit::PerSecond.short(4.5), "4.5/s");
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (725, "12 min 5 s"),
            (7260, "2 h 1 min"),
            (86_400, "1 d"),
            (90_005, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn quantiles_are_not_rounded_into_each_other() {
        for (value, text) in [
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.29, "29 %"),
            (0.95, "95 %"),
            (1.0, "100 %"),
            (0.5, "50 %"),
        ] {
            assert_eq!(quantile(value), text);
        }
    }

    #[test]
    fn a_moment_names_its_time_zone() {
        let at = Timestamp::from_second(1_795_333_778).unwrap();
        assert_eq!(moment(at, &TimeZone::UTC), "2026-11-22 07:49:38 UTC");
    }
}
