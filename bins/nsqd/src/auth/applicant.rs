//! What an authorization server is told of a client.

use std::borrow::Cow;

use nsq_daemon::http::client::query_escape_bytes;
use nsq_daemon::http::json;
use serde::Serialize;

/// A client that wants to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applicant {
    /// Without a port; empty for a unix socket.
    pub(crate) remote_ip: String,
    /// Whether its connection is encrypted.
    pub(crate) tls: bool,
    /// Of the certificate it showed, which no one need have verified.
    pub(crate) common_name: String,
    /// What it said in AUTH.
    pub(crate) secret: Vec<u8>,
}

/// Compat: every value is a list of one, and the keys are sorted (`url.Values` as JSON, api_request.go).
#[derive(Serialize)]
struct Form<'a> {
    common_name: [&'a str; 1],
    remote_ip: [&'a str; 1],
    secret: [Cow<'a, str>; 1],
    tls: [&'a str; 1],
}

impl Applicant {
    /// `server` with the question in its query.
    pub(super) fn url(&self, server: &str) -> String {
        let separator = if server.contains('?') { '&' } else { '?' };
        let escaped = |text: &str| query_escape_bytes(text.as_bytes());
        format!(
            "{server}{separator}common_name={}&remote_ip={}&secret={}&tls={}",
            escaped(&self.common_name),
            escaped(&self.remote_ip),
            query_escape_bytes(&self.secret),
            self.tls,
        )
    }

    /// The question as JSON.
    pub(super) fn json(&self) -> Vec<u8> {
        let form = Form {
            common_name: [&self.common_name],
            remote_ip: [&self.remote_ip],
            secret: [String::from_utf8_lossy(&self.secret)],
            tls: [if self.tls { "true" } else { "false" }],
        };
        json::to_vec(&form).expect("texts are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant() -> Applicant {
        Applicant {
            remote_ip: "::1".into(),
            tls: true,
            common_name: "a b".into(),
            secret: b"<\xff&\"".to_vec(),
        }
    }

    #[test]
    fn the_query_is_sorted_and_escaped() {
        assert_eq!(
            applicant().url("http://h/auth"),
            "http://h/auth?common_name=a+b&remote_ip=%3A%3A1&secret=%3C%FF%26%22&tls=true"
        );
        let url = applicant().url("https://h/?key=1");
        assert!(url.starts_with("https://h/?key=1&common_name="), "{url}");
    }

    #[test]
    fn the_body_has_lists_of_one() {
        assert_eq!(
            String::from_utf8(applicant().json()).unwrap(),
            "{\"common_name\":[\"a b\"],\"remote_ip\":[\"::1\"],\
             \"secret\":[\"\\u003c\u{fffd}\\u0026\\\"\"],\"tls\":[\"true\"]}"
        );
    }
}
