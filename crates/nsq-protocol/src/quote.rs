//! Go's `%q`, in which error descriptions show names, and messages about flags show their values.

use std::fmt::{self, Write};

/// Displays text or bytes as Go's `%q` does: double-quoted, with everything unprintable escaped.
///
/// Compat: error descriptions are part of the protocol (`strconv.Quote`, Go's strconv/quote.go).
pub fn go_quote(text: impl AsRef<[u8]>) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        f.write_char('"')?;
        for chunk in text.as_ref().utf8_chunks() {
            for c in chunk.valid().chars() {
                write_char(f, c)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    })
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        c if is_printable(c) => f.write_char(c),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        '\0'..='\x1f' | '\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        _ => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Letters, marks, numbers, punctuation, symbols and the space: what Go's `unicode.IsPrint` takes.
fn is_printable(c: char) -> bool {
    // The standard library keeps the same table for `escape_debug`. It also escapes quotes,
    // which the caller has dealt with (but for the single one), and a combining mark that stands
    // first, hence the letter before it.
    let mut buf = [b'a'; 5];
    let end = 1 + c.encode_utf8(&mut buf[1..]).len();
    c == '\''
        || std::str::from_utf8(&buf[..end]).is_ok_and(|text| text.escape_debug().eq(text.chars()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(go_quote(bytes).to_string(), expected);
    }

    #[test]
    fn text_is_quoted_as_go_does() {
        check(b"", r#""""#);
        check(b"plain name", r#""plain name""#);
        check(br#"a"b\c'"#, r#""a\"b\\c'""#);
        check(b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#);
        check(b"\0\x1f\x7f", r#""\x00\x1f\x7f""#);
    }

    #[test]
    fn invalid_utf8_is_shown_byte_by_byte() {
        check(b"\xff", r#""\xff""#);
        check(b"a\xe2\x82z", r#""a\xe2\x82z""#);
        check(b"\xed\xa0\x80", r#""\xed\xa0\x80""#);
    }

    #[test]
    fn printable_unicode_is_literal_and_the_rest_is_escaped() {
        check("é日本😀\u{fffd}".as_bytes(), "\"é日本😀\u{fffd}\"");
        check("\u{301}e\u{301}".as_bytes(), "\"\u{301}e\u{301}\"");
        check("\u{80}\u{a0}\u{ad}".as_bytes(), r#""\u0080\u00a0\u00ad""#);
        check(
            "\u{200b}\u{2028}\u{e000}\u{feff}".as_bytes(),
            r#""\u200b\u2028\ue000\ufeff""#,
        );
        check(
            "\u{e0001}\u{10ffff}".as_bytes(),
            r#""\U000e0001\U0010ffff""#,
        );
    }
}
