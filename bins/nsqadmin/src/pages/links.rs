//! URLs of our own pages, below the base path, with every name escaped.

use std::fmt::Write as _;

/// Where the pages live.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    /// Without a slash at its end: empty for `/`.
    base: String,
}

impl Links {
    /// For a `--base-path` in its cleaned form: `/`, or `/nsq`.
    pub(crate) fn new(base_path: &str) -> Self {
        Self {
            base: base_path.trim_end_matches('/').to_owned(),
        }
    }

    pub(crate) fn topics(&self) -> String {
        format!("{}/topics", self.base)
    }

    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}/topics/{}", self.base, name_segment(topic))
    }

    pub(crate) fn channel(&self, topic: &str, channel: &str) -> String {
        format!(
            "{}/topics/{}/{}",
            self.base,
            name_segment(topic),
            name_segment(channel)
        )
    }

    pub(crate) fn nodes(&self) -> String {
        format!("{}/nodes", self.base)
    }

    pub(crate) fn node(&self, node: &str) -> String {
        format!("{}/nodes/{}", self.base, segment(node))
    }

    /// A path of ours that needs no escapes, such as `/lookup`.
    pub(crate) fn fixed(&self, rest: &str) -> String {
        format!("{}{rest}", self.base)
    }

    /// What cookies are limited to.
    pub(crate) fn root(&self) -> &str {
        if self.base.is_empty() {
            "/"
        } else {
            &self.base
        }
    }
}

/// The segment of a topic's or channel's name. Browsers take `.` and `..` for places in the path, escaped or not, so
/// that a channel of that name would lead to its topic: they get a `~` before them, which no name has.
fn name_segment(name: &str) -> String {
    match name {
        "." | ".." => format!("~{name}"),
        _ => segment(name),
    }
}

/// The name that a segment stands for.
pub(crate) fn name(segment: &str) -> &str {
    match segment {
        "~." => ".",
        "~.." => "..",
        name => name,
    }
}

/// One segment of a path, or one value of a query: all but letters, digits and `-_.~:` is escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

/// `url` if a browser may follow it: only http and https, since `javascript:` and its like would run here.
pub(crate) fn web_url(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
    (known && plain && !rest.is_empty()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_paths_begin_with_the_base() {
        let links = Links::new("/");
        assert_eq!(links.topics(), "/topics");
        assert_eq!(links.topic("a#ephemeral"), "/topics/a%23ephemeral");
        assert_eq!(links.channel("a", "b#ephemeral"), "/topics/a/b%23ephemeral");
        assert_eq!(
            links.topic("x\"><script>?&/"),
            "/topics/x%22%3E%3Cscript%3E%3F%26%2F"
        );
        let links = Links::new("/nsq");
        assert_eq!(links.node("[::1]:4151"), "/nsq/nodes/%5B::1%5D:4151");
        assert_eq!(links.fixed("/lookup"), "/nsq/lookup");
        assert_eq!(links.root(), "/nsq");
    }

    #[test]
    fn a_name_that_is_a_place_in_the_path_is_spelled_otherwise() {
        let links = Links::new("/");
        assert_eq!(links.channel("t", "."), "/topics/t/~.");
        assert_eq!(links.topic(".."), "/topics/~..");
        for known in [".", "..", "...", ".a", "a"] {
            let link = links.topic(known);
            assert_eq!(name(link.rsplit('/').next().unwrap()), known);
        }
    }

    #[test]
    fn only_web_urls_become_links() {
        for good in ["http://a", "https://a/b?c", "HTTPS://a"] {
            assert_eq!(web_url(good), Some(good));
        }
        for bad in [
            "javascript:alert(1)",
            "javascript://%0aalert(1)",
            "data:text/html,x",
            "//a",
            "http://",
            "",
            "ht\ntp://a",
            "http://a b",
            " http://a",
        ] {
            assert_eq!(web_url(bad), None, "{bad}");
        }
    }
}
