//! The address of the nsqd that takes over.

use std::fmt;

/// Where an nsqd answers HTTP: `host:port`, perhaps with `http://` or `https://` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Address, &'static str> {
        const RULE: &str =
            "must be the host:port of an nsqd's HTTP address, or its http:// or https:// URL";
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let host_port = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_port.rsplit_once(':').ok_or(RULE)?;
        let is_host = !host.is_empty()
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
            && !host
                .contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c));
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if !matches!(scheme, "http" | "https") || !is_host || !is_port {
            return Err(RULE);
        }
        Ok(Address(format!("{scheme}://{host_port}")))
    }
}

impl Address {
    /// Without a path.
    pub(super) fn url(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_prefix("http://").unwrap_or(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, want) in [
            ("other:4151", "other:4151"),
            ("127.0.0.1:4151", "127.0.0.1:4151"),
            ("[::1]:4151", "[::1]:4151"),
            ("http://other:4151/", "other:4151"),
            ("https://other:4152", "https://other:4152"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), want);
        }
        for bad in [
            "",
            "other",
            "other:",
            ":4151",
            "other:0",
            "other:70000",
            "::1:4151",
            "ftp://other:21",
            "other:4151/adopt",
            "user@other:4151",
            "a b:4151",
            "other:4151?x",
            "http://",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
