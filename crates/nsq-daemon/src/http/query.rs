//! The query string, by the rules of Go's `url.ParseQuery`, and percent escapes.

use std::fmt::Write as _;

use crate::go_quote;

/// The parameters of a URL's query, in the order given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Why a query cannot be parsed. `Display` is Go's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A `;`, which no longer separates.
    #[error("invalid semicolon separator in query")]
    Semicolon,
    /// A `%` that two hex digits do not follow. The three characters at most that should be an escape.
    #[error("invalid URL escape {}", go_quote(.0))]
    Escape(String),
}

impl Query {
    /// Parses what follows the `?`.
    ///
    /// Compat: only `&` separates; a `;` anywhere makes the whole query bad, `+` is a space and a key
    /// without `=` has the empty value (net/url, `ParseQuery`). Bytes that are no UTF-8 become U+FFFD:
    /// no name with such a byte is valid anyway.
    ///
    /// # Errors
    /// [`BadQuery`].
    pub fn parse(raw: &str) -> Result<Self, BadQuery> {
        let mut pairs = Vec::new();
        for part in raw.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(BadQuery::Semicolon);
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text| {
                percent_decode(text, Plus::IsSpace)
                    .ok_or_else(|| BadQuery::Escape(bad_escape(text).to_owned()))
            };
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of `key`. A key with nothing after it counts as given, with an empty value.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of `key`, in order.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// What `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    IsSpace,
    IsPlus,
}

/// Decodes `%XX`; `None` when a `%` is not followed by two hex digits.
pub(super) fn percent_decode(text: &str, plus: Plus) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            b'+' if plus == Plus::IsSpace => b' ',
            other => other,
        });
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The first thing in `text` that begins as an escape and is none.
fn bad_escape(text: &str) -> &str {
    let starts = text.match_indices('%').map(|(at, _)| &text[at..]);
    let mut escapes = starts.map(|rest| {
        rest.char_indices()
            .nth(3)
            .map_or(rest, |(end, _)| &rest[..end])
    });
    escapes
        .find(|escape| percent_decode(escape, Plus::IsPlus).is_none())
        .unwrap_or_default()
}

/// Escapes a value for a query: everything but letters, digits and `-_.~`, a space as `+`.
pub fn query_escape(text: &str) -> String {
    query_escape_bytes(text.as_bytes())
}

/// [`query_escape`] for what need not be text.
pub fn query_escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b' ' => out.push('+'),
            _ if is_unreserved(byte) => out.push(char::from(byte)),
            _ => push_escape(&mut out, byte),
        }
    }
    out
}

/// Escapes a decoded path for a `Location` header: `/` and what is legal in a path stays.
pub(super) fn path_escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if is_unreserved(byte) || b"/$&+,:;=@!'()*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_escape(&mut out, byte);
        }
    }
    out
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn push_escape(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("a String takes everything");
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(raw: &str, key: &str) -> Option<String> {
        Query::parse(raw)
            .expect("well-formed")
            .first(key)
            .map(str::to_owned)
    }

    #[test]
    fn the_first_value_wins_and_an_empty_one_counts_as_given() {
        assert_eq!(first("topic=a&topic=b", "topic").as_deref(), Some("a"));
        assert_eq!(first("topic", "topic").as_deref(), Some(""));
        assert_eq!(first("topic=&x=1", "topic").as_deref(), Some(""));
        assert_eq!(first("&&x=1", "topic"), None);
        assert_eq!(first("a=b=c", "a").as_deref(), Some("b=c"));
    }

    #[test]
    fn escapes_are_decoded_in_keys_and_values() {
        assert_eq!(
            first("topi%63=t%23ephemeral+x", "topic").as_deref(),
            Some("t#ephemeral x")
        );
        assert_eq!(first("a=%ff", "a").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn a_semicolon_or_half_an_escape_spoils_the_query() {
        for (raw, text) in [
            ("topic=a;b=c", "invalid semicolon separator in query"),
            ("topic=%", "invalid URL escape \"%\""),
            ("topic=%4", "invalid URL escape \"%4\""),
            ("topic=a&x=%41%zzy", "invalid URL escape \"%zz\""),
            ("%=1", "invalid URL escape \"%\""),
        ] {
            let error = Query::parse(raw).expect_err(raw);
            assert_eq!(error.to_string(), text, "{raw}");
        }
    }

    #[test]
    fn what_is_escaped_decodes_to_itself() {
        let text = "a b+c/ü#&=%";
        assert_eq!(
            percent_decode(&query_escape(text), Plus::IsSpace).unwrap(),
            text
        );
        assert_eq!(
            percent_decode(&path_escape(text), Plus::IsPlus).unwrap(),
            text
        );
        assert_eq!(query_escape("t#ephemeral"), "t%23ephemeral");
    }
}
