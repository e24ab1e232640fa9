//! What every answer gets: headers that keep browsers from doing harm, and compression.

use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use nsq_daemon::http::header::{HeaderName, HeaderValue};
use nsq_daemon::http::{HeaderMap, Reply, StatusCode, header};

use crate::{Nsqadmin, pages};

pub(super) async fn finish(nsqadmin: Arc<Nsqadmin>, asked: HeaderMap, reply: Reply) -> Reply {
    let reply = if is_unknown(&reply) && is_browser(&asked) {
        pages::unknown(&nsqadmin, &asked)
    } else {
        reply
    };
    let reply = compress(&asked, reply).await;
    guard(&nsqadmin, reply)
}

/// Whether no page and no part of the API has this path.
fn is_unknown(reply: &Reply) -> bool {
    reply.status() == StatusCode::NOT_FOUND
        && reply.body() == br#"{"message":"NOT_FOUND"}"#.as_slice()
}

/// Whether a person asks: browsers prefer HTML when they go to an address.
fn is_browser(asked: &HeaderMap) -> bool {
    let accepted = asked
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.trim_start().starts_with("text/html"))
}

/// Nothing is loaded but from here, no script or style within a page runs, and no other site frames us.
fn guard(nsqadmin: &Nsqadmin, mut reply: Reply) -> Reply {
    let fixed = [
        ("x-content-type-options", "nosniff"),
        // Not `no-referrer`: browsers would then hide the origin of our own forms from us.
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
    ];
    for (name, value) in fixed {
        let name = HeaderName::from_static(name);
        reply = reply.with_header(name, HeaderValue::from_static(value));
    }
    if !reply.headers().contains_key(header::CACHE_CONTROL) {
        let value = HeaderValue::from_static("no-store");
        reply = reply.with_header(header::CACHE_CONTROL, value);
    }
    reply.with_header(
        header::CONTENT_SECURITY_POLICY,
        nsqadmin.security_policy.clone(),
    )
}

/// The encodings, in the words of `Accept-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    /// Compat: what upstream calls `deflate` is the bare stream, as browsers take it too (internal/http_api,
    /// CompressHandler).
    Deflate,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The first one that the client takes.
    fn wanted(asked: &HeaderMap) -> Option<Self> {
        let values = asked.get_all(header::ACCEPT_ENCODING).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).find_map(|entry| {
            let (name, quality) = entry.split_once(';').unwrap_or((entry, ""));
            let refused = quality
                .trim()
                .strip_prefix("q=")
                .and_then(|quality| quality.trim().parse::<f32>().ok())
                .is_some_and(|quality| quality <= 0.0);
            match name.trim() {
                _ if refused => None,
                "gzip" => Some(Self::Gzip),
                "deflate" => Some(Self::Deflate),
                _ => None,
            }
        })
    }

    fn encode(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let compact = Vec::with_capacity(body.len() / 4);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(compact, Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(compact, Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

async fn compress(asked: &HeaderMap, reply: Reply) -> Reply {
    let length = reply.body().len();
    if length < SHORTEST_WORTH_IT || !is_compressible(&reply) {
        return reply;
    }
    let varies = HeaderValue::from_static("Accept-Encoding");
    let reply = reply.with_header(header::VARY, varies);
    let Some(encoding) = Encoding::wanted(asked) else {
        return reply;
    };
    let body = reply.body().clone();
    let encoded = if length < LONGEST_AT_ONCE {
        encoding.encode(&body).ok()
    } else {
        let encoded = tokio::task::spawn_blocking(move || encoding.encode(&body)).await;
        encoded.ok().and_then(Result::ok)
    };
    match encoded {
        Some(encoded) => reply.with_new_body(encoded).with_header(
            header::CONTENT_ENCODING,
            HeaderValue::from_static(encoding.name()),
        ),
        None => reply,
    }
}

/// Text of whatever kind, not encoded yet, and all of it.
fn is_compressible(reply: &Reply) -> bool {
    let headers = reply.headers();
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kinds = [
        "text/",
        "application/json",
        "application/javascript",
        "image/svg",
    ];
    kinds.iter().any(|text| kind.starts_with(text))
        && !headers.contains_key(header::CONTENT_ENCODING)
        && reply.status() != StatusCode::PARTIAL_CONTENT
}

/// Less than a packet stays one packet.
const SHORTEST_WORTH_IT: usize = 1024;

/// More than this would hold up other requests.
const LONGEST_AT_ONCE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn asked(encodings: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static(encodings);
        headers.insert(header::ACCEPT_ENCODING, value);
        headers
    }

    #[test]
    fn the_first_encoding_that_is_taken_is_used() {
        for (encodings, wanted) in [
            ("gzip", Some(Encoding::Gzip)),
            ("br, deflate, gzip", Some(Encoding::Deflate)),
            ("gzip;q=0, deflate;q=0.5", Some(Encoding::Deflate)),
            ("gzip;q=1.0", Some(Encoding::Gzip)),
            ("br", None),
            ("", None),
            ("gzip;q=0.0", None),
        ] {
            assert_eq!(Encoding::wanted(&asked(encodings)), wanted, "{encodings}");
        }
    }

    #[tokio::test]
    async fn long_texts_are_compressed_and_say_so() {
        let text = "nsq ".repeat(100_000);
        for (encodings, name) in [("gzip", "gzip"), ("deflate", "deflate")] {
            let reply = compress(&asked(encodings), Reply::text(text.clone())).await;
            assert_eq!(reply.headers()[header::CONTENT_ENCODING], name);
            assert_eq!(reply.headers()[header::VARY], "Accept-Encoding");
            let mut back = String::new();
            let body = &reply.body()[..];
            match name {
                "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut back),
                _ => flate2::read::DeflateDecoder::new(body).read_to_string(&mut back),
            }
            .unwrap();
            assert_eq!(back, text);
        }
        let plain = compress(&HeaderMap::new(), Reply::text(text.clone())).await;
        assert_eq!(plain.body().len(), text.len());
        let image = compress(&asked("gzip"), Reply::content("image/png", text)).await;
        assert!(!image.headers().contains_key(header::CONTENT_ENCODING));
        let short = compress(&asked("gzip"), Reply::text("OK")).await;
        assert_eq!(short.body(), "OK");
    }
}
