//! The head of a request on its way to hyper, changed where Go's server takes more than hyper does.
//!
//! - What a request target must not hold as it is, such as `#`, `"` or `<`, is percent-escaped. hyper would cut the target
//!   off at a `#`, so that an order about `t#ephemeral` would be carried out on `t`.
//! - A header folded over several lines becomes one line.
//! - The preface of HTTP/2 becomes a request that the router answers as it does in Go's server.
//!
//! Invariant: the rewriter finds the end of a head where httparse, hyper's parser, finds it: at the first empty line after
//! the request line, each line ending in `\n` or `\r\n`.

use std::io::Write as _;

/// Rewrites one head.
#[derive(Debug, Default)]
pub(super) struct HeadRewriter {
    place: Place,
}

/// What the last byte was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// None yet, or one of the empty lines that may precede a request.
    #[default]
    Start,
    /// The last of so many bytes that may become the preface of HTTP/2. They are held back.
    Preface(usize),
    Method,
    Target,
    Version,
    /// The end of the request line.
    FirstLine,
    /// Within a header.
    Header,
    /// A `\r` within a header, held back.
    HeaderCr,
    /// The end of a header's line, held back: the next line may continue it.
    LineEnd(&'static [u8]),
    /// The `\r` of what may be the empty line.
    LastCr,
}

impl HeadRewriter {
    /// For a head of which hyper has seen the beginning, up to somewhere within its headers.
    pub(super) fn within_headers() -> Self {
        Self {
            place: Place::Header,
        }
    }

    /// Appends to `out` what hyper is given of `bytes`, up to the end of the head. Returns how many bytes were used, and
    /// whether the head has ended.
    pub(super) fn rewrite(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.take(byte, out) {
                return (index + 1, true);
            }
        }
        (bytes.len(), false)
    }

    /// Whether the head ends with `byte`.
    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        self.place = match self.place {
            Place::Start if matches!(byte, b'\r' | b'\n') => {
                out.push(byte);
                Place::Start
            }
            Place::Start if byte == PREFACE[0] => Place::Preface(1),
            Place::Preface(count) if byte == PREFACE[count] => {
                if count + 1 == PREFACE.len() {
                    out.extend_from_slice(PREFACE_IN_HTTP_1);
                    return true;
                }
                Place::Preface(count + 1)
            }
            Place::Preface(count) => {
                self.place = Place::Method;
                for &held in &PREFACE[..count] {
                    self.take(held, out);
                }
                return self.take(byte, out);
            }
            Place::Start | Place::Method => {
                out.push(byte);
                match byte {
                    b' ' => Place::Target,
                    b'\n' => Place::FirstLine,
                    _ => Place::Method,
                }
            }
            Place::Target if must_be_escaped(byte) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "%{byte:02X}");
                Place::Target
            }
            Place::Target | Place::Version => {
                out.push(byte);
                match byte {
                    b' ' => Place::Version,
                    b'\n' => Place::FirstLine,
                    _ => self.place,
                }
            }
            Place::FirstLine | Place::LineEnd(_) => return self.begin_line(byte, out),
            Place::Header => match byte {
                b'\r' => Place::HeaderCr,
                b'\n' => Place::LineEnd(b"\n"),
                _ => {
                    out.push(byte);
                    Place::Header
                }
            },
            Place::HeaderCr if byte == b'\n' => Place::LineEnd(b"\r\n"),
            Place::HeaderCr => {
                out.push(b'\r');
                self.place = Place::Header;
                return self.take(byte, out);
            }
            Place::LastCr => {
                out.push(byte);
                if byte == b'\n' {
                    return true;
                }
                Place::Header
            }
        };
        false
    }

    /// The first byte of a line after the request line.
    fn begin_line(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        if let Place::LineEnd(end) = self.place {
            if matches!(byte, b' ' | b'\t') {
                out.push(b' ');
                self.place = Place::Header;
                return false;
            }
            out.extend_from_slice(end);
        }
        match byte {
            b'\n' => {
                out.push(byte);
                return true;
            }
            b'\r' => {
                out.push(byte);
                self.place = Place::LastCr;
            }
            _ => {
                self.place = Place::Header;
                return self.take(byte, out);
            }
        }
        false
    }
}

/// Whether a byte of a request target is escaped: all that the `http` crate refuses, or takes for the end of the query, and
/// Go takes. Controls stay as they are: Go refuses them too.
fn must_be_escaped(byte: u8) -> bool {
    !byte.is_ascii() || b"#\"<>\\^`{|}".contains(&byte)
}

/// How an HTTP/2 client that knows its server begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What Go's server makes of it without TLS: an unknown method, for any path.
const PREFACE_IN_HTTP_1: &[u8] = b"PRI * HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `bytes`, however they are cut; what is left after the head.
    #[track_caller]
    fn check(bytes: &str, head: &str, rest: &str) {
        for size in [1, 2, 3, 7, usize::MAX] {
            let mut rewriter = HeadRewriter::default();
            let mut out = Vec::new();
            let mut used = 0;
            for part in bytes.as_bytes().chunks(size) {
                let (count, has_ended) = rewriter.rewrite(part, &mut out);
                used += count;
                if has_ended {
                    break;
                }
            }
            assert_eq!(String::from_utf8_lossy(&out), head, "in pieces of {size}");
            assert_eq!(&bytes[used..], rest, "in pieces of {size}");
        }
    }

    #[test]
    fn a_head_that_hyper_takes_stays_as_it_is() {
        for head in [
            "GET /ping HTTP/1.1\r\nHost: x\r\nA: #\"<>\r\n\r\n",
            "\r\n\nPOST /pub?topic=t HTTP/1.0\nA: b\n\n",
            "PUT /config/x HTTP/1.1\r\n\r\n",
            "PRI * HTTP/1.1\r\n\r\n",
            "P / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        ] {
            check(head, head, "");
            check(&format!("{head}#rest"), head, "#rest");
        }
    }

    #[test]
    fn what_a_target_must_not_hold_is_escaped() {
        check(
            "POST /topic/delete?topic=foo#ephemeral HTTP/1.1\r\nA: #\r\n\r\n#",
            "POST /topic/delete?topic=foo%23ephemeral HTTP/1.1\r\nA: #\r\n\r\n",
            "#",
        );
        check(
            "GET /a\"<>\\^`{|}\u{e9}?# HTTP/1.1\r\n\r\n",
            "GET /a%22%3C%3E%5C%5E%60%7B%7C%7D%C3%A9?%23 HTTP/1.1\r\n\r\n",
            "",
        );
    }

    #[test]
    fn a_folded_header_becomes_one_line() {
        check(
            "GET / HTTP/1.1\r\nA: one\r\n two\n\tthree\r\nB: c\r\n\r\n ",
            "GET / HTTP/1.1\r\nA: one two three\r\nB: c\r\n\r\n",
            " ",
        );
        // Nothing stands before the first line: hyper refuses it.
        check(
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "",
        );
    }

    #[test]
    fn the_preface_of_http_2_becomes_a_request() {
        check(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "PRI * HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
            "SM\r\n\r\n",
        );
        check(
            "PRI * HTTP/2.0\r\nA: b\r\n\r\n",
            "PRI * HTTP/2.0\r\nA: b\r\n\r\n",
            "",
        );
    }
}
