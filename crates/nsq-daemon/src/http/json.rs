//! JSON as Go's `encoding/json` writes it, so that byte-comparing clients see no difference.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Serialises compactly, with Go's escapes and number forms.
///
/// # Errors
/// What `value`'s own `Serialize` reports; plain structs, lists and string-keyed maps never do.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out,
        GoFormatter,
    ))?;
    Ok(out)
}

/// [`to_vec`] as text.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let bytes = to_vec(value)?;
    Ok(String::from_utf8(bytes).expect("the serializer writes UTF-8 only"))
}

/// A `serde_json` formatter with Go's habits.
///
/// Compat: `<`, `>`, `&`, U+2028 and U+2029 are written as `\u003c` and so on, which is safe inside HTML;
/// whole floats have no fraction (`5`, not `5.0`), and very large or small ones use `1e+21` and `1e-7`
/// (encoding/json, `encodeState.string` and `floatEncoder`).
#[derive(Debug, Clone, Copy, Default)]
pub struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let text = format!("{value:e}");
            match text.split_once('e') {
                Some((digits, exponent)) if !exponent.starts_with('-') => {
                    write!(writer, "{digits}e+{exponent}")
                }
                _ => writer.write_all(text.as_bytes()),
            }
        } else {
            write!(writer, "{value}")
        }
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            let mut chars = from.chars();
            let special = chars.next().expect("find stopped at a character");
            writer.write_all(before.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(special))?;
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        // Go before 1.22 has no short form for these two.
        match escape {
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Serialize + ?Sized>(value: &T, want: &str) {
        assert_eq!(to_string(value).unwrap(), want);
    }

    #[test]
    fn strings_are_safe_inside_html() {
        check(
            "a<b>&\u{2028}\u{2029}z",
            r#""a\u003cb\u003e\u0026\u2028\u2029z""#,
        );
        check("<", r#""\u003c""#);
        check(
            "tab\t \"q\" \\ \u{8}\u{c}\u{1}é",
            r#""tab\t \"q\" \\ \u0008\u000c\u0001é""#,
        );
    }

    #[test]
    fn floats_look_as_in_go() {
        check(&0.0, "0");
        check(&5.0, "5");
        check(&0.99, "0.99");
        check(&-1.5, "-1.5");
        check(&123_456_789_012.0, "123456789012");
        check(&1e20, "100000000000000000000");
        check(&1e21, "1e+21");
        check(&1.25e-7, "1.25e-7");
        check(&f64::NAN, "null");
    }

    #[test]
    fn lists_and_maps_are_compact() {
        check(&(1, Option::<u8>::None, ["x"]), r#"[1,null,["x"]]"#);
    }
}
