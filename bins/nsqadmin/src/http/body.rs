//! JSON objects in request bodies, read as Go's `encoding/json` reads them into upstream's structs.

use std::fmt;

use nsq_daemon::http::{ApiError, BodyError, Request};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Reads the texts of these fields, empty where they are not given; the content type does not matter.
///
/// Compat: keys match in any letter case, the last of several counts, `null` changes nothing, and whatever follows the
/// first value is ignored. An array is no object (`Decoder.Decode`, encoding/json).
///
/// # Errors
/// 400 with `EOF` for an empty body, `unexpected EOF` for one that is cut off, and the parser's text for anything else
/// that is not such an object; 413 above 64 KiB.
pub(super) async fn read_fields<const N: usize>(
    request: &mut Request,
    names: [&'static str; N],
) -> Result<[String; N], ApiError> {
    let body = request.read_body(LONGEST_BODY_BYTES).await;
    let body = body.map_err(|error| match error {
        BodyError::TooBig { .. } => ApiError::too_large("BODY_TOO_BIG"),
        BodyError::Read(_) => ApiError::bad_request("unexpected EOF"),
        BodyError::Late(answer) => answer,
    })?;
    parse(&body, names).map_err(ApiError::bad_request)
}

fn parse<const N: usize>(body: &[u8], names: [&'static str; N]) -> Result<[String; N], String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("EOF".to_owned());
    }
    let mut source = serde_json::Deserializer::from_slice(body);
    let fields = Fields(names).deserialize(&mut source);
    fields.map_err(|error| {
        if error.is_eof() {
            "unexpected EOF".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// The names of the fields, in the order of the values that are read.
struct Fields<const N: usize>([&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Fields<N> {
    type Value = [String; N];

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_option(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Fields<N> {
    type Value = [String; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok([const { String::new() }; N])
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [const { String::new() }; N];
        while let Some(key) = map.next_key::<String>()? {
            let position = self
                .0
                .iter()
                .position(|name| name.eq_ignore_ascii_case(&key));
            match position {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(position) => {
                    if let Some(value) = map.next_value()? {
                        values[position] = value;
                    }
                }
            }
        }
        Ok(values)
    }
}

/// Two names and an action.
const LONGEST_BODY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, wanted: Result<[&str; 2], &str>) {
        let read = parse(body.as_bytes(), ["topic", "channel"]);
        let read = read
            .as_ref()
            .map(|values| values.each_ref().map(String::as_str));
        assert_eq!(read.map_err(String::as_str), wanted, "{body}");
    }

    #[test]
    fn keys_match_in_any_letter_case() {
        check(r#"{"Topic":"t","CHANNEL":"c"}"#, Ok(["t", "c"]));
    }

    #[test]
    fn the_last_of_several_counts_and_null_changes_nothing() {
        check(r#"{"topic":"a","TOPIC":"b"}"#, Ok(["b", ""]));
        check(r#"{"topic":"a","topic":"b"}"#, Ok(["b", ""]));
        check(r#"{"topic":"a","topic":null}"#, Ok(["a", ""]));
        check("null", Ok(["", ""]));
    }

    #[test]
    fn other_keys_and_what_follows_the_object_are_ignored() {
        check(r#"{"x":[{"topic":1}],"topic":"t"}"#, Ok(["t", ""]));
        check(r#"{"topic":"t"} {"topic":"u"}"#, Ok(["t", ""]));
        check(r#"{"topic":"t"}}"#, Ok(["t", ""]));
    }

    #[test]
    fn an_empty_body_is_told_from_one_that_is_cut_off() {
        check("", Err("EOF"));
        check(" \n", Err("EOF"));
        check("{", Err("unexpected EOF"));
        check(r#"{"topic":"t"#, Err("unexpected EOF"));
    }

    #[test]
    fn what_is_no_object_of_texts_is_refused() {
        for body in [
            r#"["t","c"]"#,
            r#""t""#,
            "1",
            "true",
            r#"{"topic":1}"#,
            r#"{"topic":["t"]}"#,
            r#"{"topic":1,"topic":"t"}"#,
            "x",
        ] {
            let read = parse(body.as_bytes(), ["topic", "channel"]);
            assert!(read.is_err(), "{body}: {read:?}");
        }
    }
}
