//! The JSON of an IDENTIFY, read the way Go reads it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};

use crate::CommandError;

/// What a client says in IDENTIFY. Whatever it leaves out is empty, zero or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the keys are the protocol's")]
pub struct IdentifyRequest {
    /// Shown in the statistics.
    pub client_id: String,
    /// Shown in the statistics.
    pub hostname: String,
    /// Shown in the statistics.
    pub user_agent: String,
    /// Milliseconds; -1 for none, 0 for the default.
    pub heartbeat_interval: i64,
    /// Bytes; -1 for none, 0 for the default.
    pub output_buffer_size: i64,
    /// Milliseconds; -1 for none, 0 for the default.
    pub output_buffer_timeout: i64,
    /// Per cent of the messages this client wants; 0 for all.
    pub sample_rate: i32,
    /// Milliseconds; 0 for the default.
    pub msg_timeout: i64,
    /// Whether the client can read an answer other than `OK`.
    pub feature_negotiation: bool,
    /// Asks for TLS.
    pub tls_v1: bool,
    /// Asks for snappy.
    pub snappy: bool,
    /// Asks for deflate.
    pub deflate: bool,
    /// 1 to 9; 0 for the default.
    pub deflate_level: i64,
    /// Where the client runs.
    pub topology_region: String,
    /// Where the client runs, more closely.
    pub topology_zone: String,
    /// Asks for the addresses of all nodes of the cluster. Not upstream's: its nsqd ignores the key.
    pub cluster_nodes: bool,
}

impl IdentifyRequest {
    /// Reads an IDENTIFY's body.
    ///
    /// Compat: as Go's `encoding/json` into upstream's struct. Keys match in either case, unknown
    /// ones are ignored, the last of several counts, `null` changes nothing; text that is not
    /// UTF-8 is repaired (nsqd/client_v2.go, `identifyDataV2`).
    ///
    /// # Errors
    /// [`CommandError::IdentifyJson`] if it is not JSON, not an object, or a value has another type:
    /// an integer with a fraction or an exponent is none.
    pub fn parse(body: &[u8]) -> Result<Self, CommandError> {
        // The first pass is for raw control characters in texts, which the second lets through:
        // it reads texts as bytes.
        serde_json::from_slice::<IgnoredAny>(body)
            .and_then(|_| serde_json::from_slice::<Option<Self>>(body))
            .map(Option::unwrap_or_default)
            .map_err(|_| CommandError::IdentifyJson)
    }
}

impl<'de> Deserialize<'de> for IdentifyRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestVisitor)
    }
}

struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = IdentifyRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<IdentifyRequest, A::Error> {
        let mut request = IdentifyRequest::default();
        while let Some(Go(key)) = map.next_key::<Go<String>>()? {
            let key: String = key.chars().map(fold).collect();
            match key.as_str() {
                "client_id" => set(&mut map, &mut request.client_id)?,
                "hostname" => set(&mut map, &mut request.hostname)?,
                "user_agent" => set(&mut map, &mut request.user_agent)?,
                "heartbeat_interval" => set(&mut map, &mut request.heartbeat_interval)?,
                "output_buffer_size" => set(&mut map, &mut request.output_buffer_size)?,
                "output_buffer_timeout" => set(&mut map, &mut request.output_buffer_timeout)?,
                "sample_rate" => set(&mut map, &mut request.sample_rate)?,
                "msg_timeout" => set(&mut map, &mut request.msg_timeout)?,
                "feature_negotiation" => set(&mut map, &mut request.feature_negotiation)?,
                "tls_v1" => set(&mut map, &mut request.tls_v1)?,
                "snappy" => set(&mut map, &mut request.snappy)?,
                "deflate" => set(&mut map, &mut request.deflate)?,
                "deflate_level" => set(&mut map, &mut request.deflate_level)?,
                "topology_region" => set(&mut map, &mut request.topology_region)?,
                "topology_zone" => set(&mut map, &mut request.topology_zone)?,
                "cluster_nodes" => set(&mut map, &mut request.cluster_nodes)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(request)
    }
}

/// Reads the value at hand into `field`, unless it is `null`.
fn set<'de, A, T>(map: &mut A, field: &mut T) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    Go<T>: Deserialize<'de>,
{
    if let Some(Go(value)) = map.next_value()? {
        *field = value;
    }
    Ok(())
}

/// Compat: Go folds by Unicode's rules, by which two characters outside ASCII are letters of a key
/// (`foldName`, encoding/json).
fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// A value as Go reads it.
struct Go<T>(T);

/// What is not UTF-8, or half a surrogate pair, becomes U+FFFD.
impl<'de> Deserialize<'de> for Go<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes: asked for text, serde_json would refuse what Go repairs.
        deserializer.deserialize_bytes(TextVisitor).map(Go)
    }
}

/// Without fraction or exponent.
impl<'de> Deserialize<'de> for Go<i64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(IntegerVisitor).map(Go)
    }
}

/// Without fraction or exponent.
impl<'de> Deserialize<'de> for Go<i32> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_i64(IntegerVisitor)?;
        let error = |_| D::Error::invalid_value(Unexpected::Signed(number), &"a 32-bit integer");
        i32::try_from(number).map_err(error).map(Go)
    }
}

impl<'de> Deserialize<'de> for Go<bool> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(Go)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 64-bit integer")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
        // serde_json makes a float of `-0`, which to Go is an integer like any other.
        if number == 0.0 && number.is_sign_negative() {
            Ok(0)
        } else {
            Err(E::invalid_type(Unexpected::Float(number), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(json: &str) -> IdentifyRequest {
        IdentifyRequest::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn every_key_is_read() {
        let request = parse(
            r#"{"client_id":"c","hostname":"h","user_agent":"u","heartbeat_interval":1,
            "output_buffer_size":2,"output_buffer_timeout":3,"sample_rate":4,"msg_timeout":5,
            "feature_negotiation":true,"tls_v1":true,"snappy":true,"deflate":true,
            "deflate_level":6,"topology_region":"r","topology_zone":"z","cluster_nodes":true}"#,
        );
        let expected = IdentifyRequest {
            client_id: "c".to_owned(),
            hostname: "h".to_owned(),
            user_agent: "u".to_owned(),
            heartbeat_interval: 1,
            output_buffer_size: 2,
            output_buffer_timeout: 3,
            sample_rate: 4,
            msg_timeout: 5,
            feature_negotiation: true,
            tls_v1: true,
            snappy: true,
            deflate: true,
            deflate_level: 6,
            topology_region: "r".to_owned(),
            topology_zone: "z".to_owned(),
            cluster_nodes: true,
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn nothing_said_is_all_defaults() {
        for json in [
            "{}",
            " null ",
            "\t{}\r\n",
            r#"{"client_id":null,"heartbeat_interval":null,"sample_rate":null,"tls_v1":null}"#,
            r#"{"short_id":"s","long_id":"l","other":{"client_id":[1,{"a":1e999}]}}"#,
        ] {
            assert_eq!(parse(json), IdentifyRequest::default(), "{json}");
        }
    }

    #[test]
    fn keys_match_in_either_case() {
        assert_eq!(parse(r#"{"Client_ID":"a"}"#).client_id, "a");
        assert!(parse(r#"{"TLS_V1":true}"#).tls_v1);
        assert_eq!(parse("{\"ho\u{17f}tname\":\"a\"}").hostname, "a");
        assert_eq!(parse(r#"{"client_id\u0000":"a"}"#).client_id, "");
    }

    #[test]
    fn the_last_of_several_counts_and_null_changes_nothing() {
        assert_eq!(parse(r#"{"client_id":"a","CLIENT_ID":"b"}"#).client_id, "b");
        assert_eq!(
            parse(r#"{"msg_timeout":1,"msg_timeout":null}"#).msg_timeout,
            1
        );
    }

    #[test]
    fn integers_have_64_bits_and_the_sample_rate_32() {
        assert_eq!(
            parse(r#"{"msg_timeout":9223372036854775807}"#).msg_timeout,
            i64::MAX
        );
        assert_eq!(
            parse(r#"{"msg_timeout":-9223372036854775808}"#).msg_timeout,
            i64::MIN
        );
        assert_eq!(parse(r#"{"msg_timeout":-0}"#).msg_timeout, 0);
        assert_eq!(parse(r#"{"sample_rate":2147483647}"#).sample_rate, i32::MAX);
    }

    #[test]
    fn text_that_is_not_unicode_is_mended() {
        let request =
            IdentifyRequest::parse(b"{\"client_id\":\"a\xffb\",\"x\xff\":\"\xff\"}").unwrap();
        assert_eq!(request.client_id, "a\u{fffd}b");
        let half = parse(r#"{"hostname":"a\ud800b","user_agent":"\ud83d\ude00"}"#);
        assert!(half.hostname.contains('\u{fffd}'), "{}", half.hostname);
        assert_eq!(half.user_agent, "\u{1f600}");
    }

    #[test]
    fn everything_else_is_refused() {
        for json in [
            "",
            " ",
            "[]",
            "1",
            "\"\"",
            "true",
            "{",
            "{} x",
            "{}{}",
            "{,}",
            r#"{"client_id":"a",}"#,
            r#"{"client_id":1}"#,
            r#"{"client_id":["a"]}"#,
            r#"{"client_id":{}}"#,
            r#"{"client_id":true}"#,
            r#"{"tls_v1":1}"#,
            r#"{"tls_v1":"true"}"#,
            r#"{"msg_timeout":"1000"}"#,
            r#"{"msg_timeout":1000.0}"#,
            r#"{"msg_timeout":1e3}"#,
            r#"{"msg_timeout":true}"#,
            r#"{"msg_timeout":01}"#,
            r#"{"msg_timeout":9223372036854775808}"#,
            r#"{"msg_timeout":-9223372036854775809}"#,
            r#"{"sample_rate":2147483648}"#,
            r#"{"msg_timeout":1000.0,"msg_timeout":1000}"#,
            "{\"client_id\":\"\n\"}",
            "{\"unknown\":\"\u{1}\"}",
            r#"{"unknown":"\q"}"#,
        ] {
            let refused = IdentifyRequest::parse(json.as_bytes());
            assert_eq!(refused, Err(CommandError::IdentifyJson), "{json}");
        }
    }

    #[test]
    fn depth_in_an_unknown_key_does_no_harm() {
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(parse(&deep), IdentifyRequest::default());
        let open = format!(r#"{{"x":{}"#, "[".repeat(1_000_000));
        assert!(IdentifyRequest::parse(open.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = IdentifyRequest::parse(&bytes);
        }

        #[test]
        fn arbitrary_values_never_panic(value in "[-0-9.eE\"\\\\u{}\\[\\],:a-f]{0,12}") {
            let _ = IdentifyRequest::parse(format!("{{\"msg_timeout\":{value}}}").as_bytes());
            let _ = IdentifyRequest::parse(format!("{{\"client_id\":\"{value}\"}}").as_bytes());
        }
    }
}
