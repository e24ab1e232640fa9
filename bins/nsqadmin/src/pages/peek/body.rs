//! A message's body as it is shown: JSON laid out, text as it is, anything else in hexadecimal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use crate::pages::{format, widgets};

/// The bytes of what nsqd sent; `None` when that is no base64.
pub(crate) fn decode(body: &str) -> Option<Vec<u8>> {
    STANDARD.decode(body).ok()
}

/// The beginning of a body in one line.
pub(crate) fn preview(bytes: Option<&[u8]>) -> String {
    let beginning = bytes.unwrap_or_default();
    let beginning = &beginning[..beginning.len().min(PREVIEW_BYTES)];
    if let Some(text) = text(beginning, true) {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        let bytes = beginning.iter().take(24).map(|byte| format!("{byte:02x}"));
        bytes.collect::<Vec<_>>().join(" ")
    }
}

/// Laid-out JSON with its keys, strings and other values told apart.
fn coloured(json: &str) -> Markup {
    let mut rest = json;
    let mut parts: Vec<(&str, &str)> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (class, length) = match first {
            '"' => {
                let length = string_length(rest);
                let is_key = rest[length..].starts_with(": ");
                (if is_key { "json-key" } else { "json-string" }, length)
            }
            '-' | '0'..='9' | 't' | 'f' | 'n' => {
                let end = rest.find([',', '\n', '}', ']', ' ']).unwrap_or(rest.len());
                ("json-value", end.max(first.len_utf8()))
            }
            _ => {
                let end = rest
                    .find(|c: char| c == '"' || c == '-' || c.is_ascii_alphanumeric())
                    .unwrap_or(rest.len());
                ("", end.max(first.len_utf8()))
            }
        };
        let (part, after) = rest.split_at(length);
        parts.push((class, part));
        rest = after;
    }
    html! {
        @for (class, part) in parts {
            @if class.is_empty() { (part) } @else { span class=(class) { (part) } }
        }
    }
}

/// How long the string literal is that `text` begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return index + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// How a body is shown.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Json(String),
    Text(String),
    Hex(String),
}

/// The body, and what is left out of it.
pub(crate) fn show(bytes: Option<&[u8]>, size: u64, truncated: bool) -> Markup {
    let Some(bytes) = bytes else {
        return html! { p.muted { "The body that nsqd sent cannot be decoded." } };
    };
    if bytes.is_empty() {
        return html! { p.muted { "(empty body)" } };
    }
    let (kind, class, text) = match read(bytes, truncated) {
        Shown::Json(text) => ("JSON", "body", text),
        Shown::Text(text) => ("text", "body", text),
        Shown::Hex(text) => ("hexadecimal", "body hex", text),
    };
    let shown = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let dumped = u64::try_from(MOST_HEX_BYTES).unwrap_or(u64::MAX);
    let marked = |text: &str| {
        if kind == "JSON" && text.len() <= MOST_COLOURED_BYTES {
            coloured(text)
        } else {
            html! { (text) }
        }
    };
    html! {
        @if let Some((first, lines)) = beginning(&text) {
            details.fold { summary { "All " (lines) " lines" } pre class=(class) tabindex="0" data-kind=(kind) { (marked(&text)) } }
            pre class=(class) data-test="beginning" { (marked(first)) }
        } @else {
            pre class=(class) tabindex="0" data-kind=(kind) { (marked(&text)) }
        }
        div.message-head {
            span { "Shown as " (kind) }
            @if truncated || shown < size {
                span.loud-warn data-test="truncated" {
                    "Cut off: the first " (format::grouped(shown)) " of " (format::grouped(size)) " bytes"
                }
            }
            @if class == "body hex" && shown > dumped {
                span { "the first " (format::grouped(dumped)) " bytes of what was fetched" }
            }
            (widgets::copy(&text, "Copy"))
        }
    }
}

/// The first lines of a text of many, and how many those are.
fn beginning(text: &str) -> Option<(&str, usize)> {
    let lines = text.lines().count();
    if lines <= MOST_LINES {
        return None;
    }
    let (end, _) = text.match_indices('\n').nth(SHOWN_LINES - 1)?;
    Some((text.get(..end)?, lines))
}

fn read(bytes: &[u8], truncated: bool) -> Shown {
    let Some(text) = text(bytes, truncated) else {
        return Shown::Hex(hex(&bytes[..bytes.len().min(MOST_HEX_BYTES)]));
    };
    let begins_like_json = text.trim_start().starts_with(['{', '[']);
    if begins_like_json
        && !truncated
        && let Some(pretty) = pretty(text)
    {
        return Shown::Json(pretty);
    }
    Shown::Text(text.to_owned())
}

/// The bytes as text if they are, and print as such. A cut may have gone through the last character.
fn text(bytes: &[u8], truncated: bool) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    // Characters that reorder the text around them would make it read as something else.
    let reorders = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (!text.chars().any(|c| strange(c) || reorders(c))).then_some(text)
}

/// `text` laid out, unless numbers would lose digits or keys their order: it is indented, not read and written.
fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth: usize = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut chars = text.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => in_string = false,
                _ => escaped = false,
            }
            continue;
        }
        match c {
            c if c.is_ascii_whitespace() => {}
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if chars.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    continue;
                }
                depth += 1;
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
        if out.len() > MOST_PRETTY_BYTES {
            return None;
        }
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth.min(40) {
        out.push_str("  ");
    }
}

/// Offset, sixteen bytes, and those of them that print.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 5);
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(out, "{:06x} ", line * 16).expect("a String takes everything");
        for index in 0..16 {
            if index == 8 {
                out.push(' ');
            }
            match chunk.get(index) {
                Some(byte) => write!(out, " {byte:02x}").expect("a String takes everything"),
                None => out.push_str("   "),
            }
        }
        out.push_str("  ");
        for byte in chunk {
            let prints = byte.is_ascii_graphic() || *byte == b' ';
            out.push(if prints { char::from(*byte) } else { '·' });
        }
        out.push('\n');
    }
    out
}

/// A text of more lines is folded up to its first ones.
const MOST_LINES: usize = 8;
const SHOWN_LINES: usize = 5;
/// Enough to see what it is.
const MOST_HEX_BYTES: usize = 4096;
/// Indentation may not multiply a body without end.
const MOST_PRETTY_BYTES: usize = 1 << 20;

/// Bytes of a body in its row.
const PREVIEW_BYTES: usize = 160;
/// A longer body is not worth a span for each of its values.
const MOST_COLOURED_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_without_being_changed() {
        let body = br#"{"b":1.000000000000000000001,"a":[1,{"x":"},{\" :"}],"e":{},"f":[ ]}"#;
        let Shown::Json(text) = read(body, false) else {
            panic!("it is JSON");
        };
        let expected = "{\n  \"b\": 1.000000000000000000001,\n  \"a\": [\n    1,\n    {\n      \"x\": \"},{\\\" :\"\n    }\n  ],\n  \"e\": {},\n  \"f\": []\n}";
        assert_eq!(text, expected);
    }

    #[test]
    fn other_bodies_are_text_or_bytes() {
        assert_eq!(
            read(b"hello\nworld", false),
            Shown::Text("hello\nworld".to_owned())
        );
        assert_eq!(read(b"{broken", false), Shown::Text("{broken".to_owned()));
        assert_eq!(
            read("{\"ü".as_bytes(), true),
            Shown::Text("{\"ü".to_owned())
        );
        // A character cut in two, at the end of a truncated body and of a whole one.
        assert_eq!(
            read(&"aü".as_bytes()[..2], true),
            Shown::Text("a".to_owned())
        );
        assert!(matches!(read(&"aü".as_bytes()[..2], false), Shown::Hex(_)));
        assert!(matches!(read(b"a\0b", false), Shown::Hex(_)));
        assert!(matches!(
            read("a\u{202e}b".as_bytes(), false),
            Shown::Hex(_)
        ));
    }

    #[test]
    fn bytes_are_dumped_in_lines_of_sixteen() {
        assert_eq!(
            hex(b"AB\xff"),
            "000000  41 42 ff                                          AB·\n"
        );
        assert!(
            hex(&[0; 17])
                .lines()
                .nth(1)
                .unwrap()
                .starts_with("000010  00")
        );
    }

    #[test]
    fn a_megabyte_of_anything_stays_small_and_harmless() {
        let megabyte = vec![b'<'; 1 << 20];
        let html = show(Some(&megabyte), 1 << 20, false).into_string();
        assert!(!html.contains("<<"));
        let html = show(Some(&vec![0xff; 1 << 20]), 1 << 20, false).into_string();
        assert!(html.len() < 100_000, "{}", html.len());
        assert!(
            html.contains("first 4,096 bytes"),
            "{}",
            &html[html.len() - 600..]
        );
        let deep = "[".repeat(1 << 20);
        let html = show(Some(deep.as_bytes()), 1 << 20, false).into_string();
        assert!(html.len() < 5 << 20);
        let nested = format!("{}{}", "[1,".repeat(100), "1".to_owned() + &"]".repeat(100));
        assert!(matches!(read(nested.as_bytes(), false), Shown::Json(_)));
    }

    #[test]
    fn a_long_text_is_folded_up_to_its_first_lines() {
        let lines =
            |count: usize| (1..=count).fold(String::new(), |text, n| text + &format!("line {n}\n"));
        let html = |count| show(Some(lines(count).as_bytes()), 100, false).into_string();
        assert!(!html(8).contains("<details"), "{}", html(8));
        let folded = html(9);
        assert!(folded.contains("All 9 lines"), "{folded}");
        assert_eq!(
            folded.matches("line 5").count(),
            3,
            "whole, its beginning, to copy: {folded}"
        );
        assert_eq!(folded.matches("line 6").count(), 2, "{folded}");
    }

    #[test]
    fn what_is_cut_off_is_said() {
        let html = show(Some(b"abc"), 1000, true).into_string();
        assert!(html.contains("first 3 of 1,000 bytes"), "{html}");
        assert!(
            show(None, 10, false)
                .into_string()
                .contains("cannot be decoded")
        );
        assert!(
            show(Some(b""), 0, false)
                .into_string()
                .contains("empty body")
        );
    }

    #[test]
    fn json_is_coloured_and_unchanged() {
        let json = "{\n  \"a\": [\n    -1.5,\n    \"x\\\"<b>\",\n    true\n  ]\n}";
        let html = coloured(json).into_string();
        assert!(
            html.contains(r#"<span class="json-key">&quot;a&quot;</span>: ["#),
            "{html}"
        );
        assert!(
            html.contains(r#"<span class="json-value">-1.5</span>"#),
            "{html}"
        );
        let plain = html
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
            .collect::<String>();
        let plain = plain
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        assert_eq!(plain, json);
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(Some(b"a\n  b")), "a b");
        assert_eq!(preview(Some(&[0, 255])), "00 ff");
        assert!(preview(Some(&[b'x'; 5000])).len() <= PREVIEW_BYTES);
        assert_eq!(preview(None), "");
    }
}
