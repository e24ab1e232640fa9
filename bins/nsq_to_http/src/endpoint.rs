//! An address that messages are sent to.

use nsq_daemon::http::client::query_escape_bytes;
use nsq_daemon::stop::Stop;
use nsq_tools::fatal;
use reqwest::Url;

/// How a message is put into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// As the body.
    Post(Url),
    /// Escaped, between these two parts of the URL.
    Get { before: String, after: String },
}

impl Endpoint {
    /// For an address of `--post`.
    ///
    /// # Errors
    /// An address that nothing could ever be sent to.
    pub(crate) fn post(address: &str) -> Result<Self, Stop> {
        let url =
            http_url(address).map_err(|why| fatal(format!("invalid POST address - {why}")))?;
        Ok(Self::Post(url))
    }

    /// For an address of `--get`, with one `%s` where the message goes. Nothing else in it is changed.
    ///
    /// # Errors
    /// Without, or with more of them; and as for `post`.
    pub(crate) fn get(address: &str) -> Result<Self, Stop> {
        let parts: Vec<_> = address.split("%s").collect();
        let [before, after] = parts[..] else {
            return Err(fatal("invalid GET address - must be a printf string"));
        };
        http_url(&format!("{before}0{after}"))
            .map_err(|why| fatal(format!("invalid GET address - {why}")))?;
        Ok(Self::Get {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Where a message goes.
    ///
    /// # Errors
    /// When a message makes a URL that is none.
    pub(crate) fn url(&self, message: &[u8]) -> Result<Url, String> {
        match self {
            Self::Post(url) => Ok(url.clone()),
            Self::Get { before, after } => {
                http_url(&format!("{before}{}{after}", query_escape_bytes(message)))
            }
        }
    }
}

fn http_url(address: &str) -> Result<Url, String> {
    let url = Url::parse(address).map_err(|error| format!("{address:?}: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!(
            "{address:?}: unsupported protocol scheme {other:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_escaped_into_its_place_and_the_rest_stays() {
        let endpoint = Endpoint::get("http://a:1/p%20q?x=%41&m=%s&y=50%25").unwrap();
        assert_eq!(
            endpoint.url(b"a b&c=%s/\xff").unwrap().as_str(),
            "http://a:1/p%20q?x=%41&m=a+b%26c%3D%25s%2F%FF&y=50%25"
        );
    }

    #[test]
    fn an_address_that_nothing_could_be_sent_to_is_refused() {
        let printf = fatal("invalid GET address - must be a printf string");
        for bad in ["http://a/", "http://a/%s%s"] {
            assert_eq!(Endpoint::get(bad).unwrap_err(), printf, "{bad}");
        }
        assert_eq!(
            Endpoint::post("localhost:80/x").unwrap_err(),
            fatal(
                "invalid POST address - \"localhost:80/x\": unsupported protocol scheme \"localhost\""
            )
        );
        assert!(Endpoint::get("/%s").is_err());
    }
}
