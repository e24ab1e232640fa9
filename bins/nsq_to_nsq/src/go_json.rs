//! JSON as Go's encoding/json reads and writes it, down to the byte: every number is a float64, text is repaired rather
//! than refused, and what could end an HTML element is escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Reads an object; `null` is an empty one. `None` for anything else.
///
/// As in Go, a byte that is no UTF-8 and a half of a surrogate pair each become U+FFFD.
pub(crate) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    let text = mended(body);
    let value = serde_json::from_str(&text).or_else(|error| {
        // Only a text with escapes can be repaired further, and those are rare.
        match without_lone_surrogates(&text) {
            Cow::Borrowed(_) => Err(error),
            Cow::Owned(text) => serde_json::from_str(&text),
        }
    });
    match value.ok()? {
        Value::Object(object) => Some(object),
        Value::Null => Some(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// Writes an object with its keys sorted. Its own numbers are integers where they are whole and a 64-bit integer can
/// be them; others, and those further in, are in the fewest digits that tell them from all other floats.
pub(crate) fn text(object: &Map<String, Value>) -> Vec<u8> {
    let mut out = String::new();
    push_object(&mut out, object, &|out, value| match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            match whole(number) {
                Some(integer) => push(out, format_args!("{integer}")),
                None => push_float(out, number),
            }
        }
        value => push_value(out, value),
    });
    out.into_bytes()
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => push_float(out, number.as_f64().unwrap_or_default()),
        Value::String(text) => push_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_value(out, item);
            }
            out.push(']');
        }
        Value::Object(object) => push_object(out, object, &push_value),
    }
}

fn push_object(
    out: &mut String,
    object: &Map<String, Value>,
    push_field: &dyn Fn(&mut String, &Value),
) {
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (index, (key, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, key);
        out.push(':');
        push_field(out, value);
    }
    out.push('}');
}

/// The integer that a float is, if it is one of 64 bits.
fn whole(number: f64) -> Option<i64> {
    /// 2^63, the first that is too large.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    let integer = || number as i64;
    #[expect(clippy::float_cmp, reason = "whole is whole")]
    let is_whole = number.trunc() == number;
    (is_whole && (-LIMIT..LIMIT).contains(&number)).then(integer)
}

fn push_float(out: &mut String, number: f64) {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return push(out, format_args!("{number}"));
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            push(out, format_args!("{digits}e+{exponent}"));
        }
        _ => out.push_str(&text),
    }
}

fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                push(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes all text");
}

/// Each byte that is no UTF-8 replaced.
fn mended(mut bytes: &[u8]) -> Cow<'_, str> {
    let mut out = match std::str::from_utf8(bytes) {
        Ok(text) => return Cow::Borrowed(text),
        Err(_) => String::with_capacity(bytes.len() + 8),
    };
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return Cow::Owned(out);
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                out.push('\u{fffd}');
                bytes = rest.get(1..).unwrap_or_default();
            }
        }
    }
}

/// Each `\uD800` to `\uDFFF` without its other half replaced by `\ufffd`.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    let mut out: Option<Vec<u8>> = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        at += found;
        match (escaped_unit(bytes, at), escaped_unit(bytes, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                let out = out.get_or_insert_with(|| bytes.to_vec());
                out[at..at + ESCAPE].copy_from_slice(b"\\ufffd");
                at += ESCAPE;
            }
            // Whatever is escaped, such as another backslash, begins no escape.
            _ => at = bytes.len().min(at + 2),
        }
    }
    match out.map(String::from_utf8) {
        Some(Ok(mended)) => Cow::Owned(mended),
        _ => Cow::Borrowed(text),
    }
}

/// The UTF-16 unit of an escape such as `\u00e9` that begins at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + ESCAPE)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// Bytes of an escape.
const ESCAPE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn again(body: &[u8]) -> Option<String> {
        object(body).map(|object| String::from_utf8(text(&object)).unwrap())
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (given, written, further_in) in [
            ("1.0", "1", "1"),
            ("1e3", "1000", "1000"),
            ("-0", "0", "-0"),
            ("0.1", "0.1", "0.1"),
            (
                "1234567890123456789",
                "1234567890123456768",
                "1234567890123456800",
            ),
            (
                "12345678901234567890",
                "12345678901234567000",
                "12345678901234567000",
            ),
            (
                "-9223372036854775808",
                "-9223372036854775808",
                "-9223372036854776000",
            ),
            (
                "9223372036854775807",
                "9223372036854776000",
                "9223372036854776000",
            ),
            ("1e21", "1e+21", "1e+21"),
            ("123e20", "1.23e+22", "1.23e+22"),
            ("0.000001", "0.000001", "0.000001"),
            ("0.0000001", "1e-7", "1e-7"),
            ("1.5e-300", "1.5e-300", "1.5e-300"),
        ] {
            let body = format!(r#"{{"a":{given},"b":[{given}]}}"#);
            let expected = format!(r#"{{"a":{written},"b":[{further_in}]}}"#);
            assert_eq!(again(body.as_bytes()), Some(expected), "{given}");
        }
    }

    #[test]
    fn text_is_mended_and_escaped_as_go_does() {
        for (given, written) in [
            (
                &b"<b>&amp;</b>"[..],
                r"\u003cb\u003e\u0026amp;\u003c/b\u003e",
            ),
            (b"\\u2028\\u0000\\u007f\\b\\f", "\\u2028\\u0000\u{7f}\\b\\f"),
            (b"\\u00e9\\\"\\\\", "\u{e9}\\\"\\\\"),
            (b"a\xff\xe2\x82b", "a\u{fffd}\u{fffd}\u{fffd}b"),
            (b"\\ud83d\\ude00", "\u{1f600}"),
            (
                b"\\ud83d\\ud83d\\ude00\\ude00x",
                "\u{fffd}\u{1f600}\u{fffd}x",
            ),
            (b"\\\\ud83d", "\\\\ud83d"),
            (b"\\ud83d\\n", "\u{fffd}\\n"),
        ] {
            let body = [b"{\"a\":\"", given, b"\"}"].concat();
            let expected = format!(r#"{{"a":"{written}"}}"#);
            assert_eq!(again(&body), Some(expected), "{}", given.escape_ascii());
        }
        assert_eq!(again(b"{\"a\":\"\\ud83d\""), None);
        assert_eq!(again(b"{\"a\":\"\\"), None);
        assert_eq!(again(b"{\"a\":\xff}"), None);
    }
}
