//! The one way in which Go's JSON differs from everyone else's.

/// Escapes finished JSON text as Go's `encoding/json` does, so that it may stand inside HTML.
///
/// The characters concerned have no meaning in JSON itself: they occur in strings only.
pub fn escape_go_json(json: String) -> String {
    if !json.contains(SPECIAL) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

const SPECIAL: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_trip_over_is_escaped() {
        let escaped = escape_go_json(r#"{"a":"<b>&é"}"#.to_owned() + "\u{2028}\u{2029}");
        assert_eq!(escaped, r#"{"a":"\u003cb\u003e\u0026é"}\u2028\u2029"#);
        assert_eq!(escape_go_json("{}".to_owned()), "{}");
    }
}
