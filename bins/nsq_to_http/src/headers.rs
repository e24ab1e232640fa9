//! What goes into every request's head.

use nsq_daemon::stop::Stop;
use nsq_tools::fatal;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

/// The user agent, the content type of a body, and `--header`'s over them: the last of a name wins.
///
/// # Errors
/// A header without a name or value, in upstream's words; one that HTTP does not allow.
pub(crate) fn headers(
    user_agent: &str,
    content_type: Option<&str>,
    custom: &[String],
) -> Result<HeaderMap, Stop> {
    let mut headers = HeaderMap::new();
    let program = [(USER_AGENT, Some(user_agent)), (CONTENT_TYPE, content_type)];
    for (name, value) in program {
        if let Some(value) = value {
            headers.insert(name, header_value(value)?);
        }
    }
    for (name, value) in split(custom)? {
        let parsed = HeaderName::try_from(name)
            .map_err(|_| fatal(format_args!("--header: invalid header name {name:?}")))?;
        // Compat: these are the transport's own, and a value given for one is left out (net/http, Request.Write).
        if !TRANSPORTS_OWN.contains(&parsed.as_str()) {
            headers.insert(parsed, header_value(value)?);
        }
    }
    Ok(headers)
}

/// Names and values.
///
/// # Errors
/// The first that has not both.
pub(crate) fn split(custom: &[String]) -> Result<Vec<(&str, &str)>, Stop> {
    let pairs = custom.iter().map(|header| {
        let (name, value) = header.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    });
    // Compat: the text says `=`, the separator is the colon (nsq_to_http.go, parseCustomHeaders).
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| fatal("--header value format should be 'key=value'"))
}

fn header_value(value: &str) -> Result<HeaderValue, Stop> {
    HeaderValue::from_str(value)
        .map_err(|_| fatal(format_args!("invalid value {value:?} for a header")))
}

const TRANSPORTS_OWN: [&str; 4] = ["host", "content-length", "transfer-encoding", "trailer"];

#[cfg(test)]
mod tests {
    use super::*;

    fn made(custom: &[&str]) -> Result<Vec<String>, Stop> {
        let custom: Vec<_> = custom.iter().map(ToString::to_string).collect();
        let headers = headers("agent", Some("text/plain"), &custom)?;
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort_unstable();
        Ok(lines)
    }

    #[test]
    fn a_header_is_split_at_its_first_colon_and_the_last_of_a_name_wins() {
        assert_eq!(
            made(&["A: 1", "X-B :a:b ", "a:2", "Host: other", "User-Agent: me"]),
            Ok([
                "a: 2",
                "content-type: text/plain",
                "user-agent: me",
                "x-b: a:b"
            ]
            .map(String::from)
            .to_vec())
        );
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        let format = fatal("--header value format should be 'key=value'");
        for bad in ["a=b", ":b", "a:", " : "] {
            assert_eq!(made(&[bad]).unwrap_err(), format, "{bad:?}");
        }
        assert_eq!(
            made(&["a b: c"]).unwrap_err(),
            fatal("--header: invalid header name \"a b\"")
        );
    }
}
