//! The addresses of a cluster's nodes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use nsq_daemon::listen::{HostPortError, split_host_port};

/// Why a text is no address of a node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::settings) enum AddressError {
    #[error("must be host:port ({0})")]
    Form(#[from] HostPortError),
    #[error("must be host:port with a port from 1 to 65535")]
    Port,
    #[error("must name a host that the other nodes can reach")]
    Host,
    #[error("the host cannot be found: {0}")]
    Unknown(String),
}

/// `host:port` of a node, in lower case, with brackets around an IPv6 address. Nodes compare the texts, so one address
/// must always have the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    host: String,
    port: u16,
}

impl Peer {
    pub(super) fn parse(text: &str) -> Result<Peer, AddressError> {
        let (host, port) = split_host_port(text)?;
        Peer::new(host, parse_port(port)?)
    }

    pub(super) fn new(host: &str, port: u16) -> Result<Peer, AddressError> {
        let host = match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => return Err(AddressError::Host),
            Ok(ip) => ip.to_string(),
            Err(_) => host.to_ascii_lowercase(),
        };
        let has_stray =
            |char: char| char.is_whitespace() || char.is_control() || "/@,".contains(char);
        if host.is_empty() || host.contains(has_stray) {
            return Err(AddressError::Host);
        }
        Ok(Peer { host, port })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Where to listen: every interface without a host. A host name is looked up now, its first IPv4 address preferred.
pub(super) fn listen(text: &str) -> Result<SocketAddr, AddressError> {
    let (host, port) = split_host_port(text)?;
    let port = parse_port(port)?;
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| AddressError::Unknown(error.to_string()))?
        .collect();
    let preferred = found.iter().find(|address| address.is_ipv4());
    let first = preferred.or(found.first()).copied();
    first.ok_or_else(|| AddressError::Unknown("it has no address".to_owned()))
}

/// Port 0, any free one, would be one that no other node knows.
fn parse_port(digits: &str) -> Result<u16, AddressError> {
    let port = digits.parse().ok().filter(|port| *port > 0);
    port.ok_or(AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_text() {
        for (text, wanted) in [
            ("a:4152", "a:4152"),
            ("Node-A.Example.COM:4152", "node-a.example.com:4152"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0:0:0:0:0:0:0:1]:4152", "[::1]:4152"),
        ] {
            assert_eq!(Peer::parse(text).unwrap().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn an_address_that_no_other_node_can_use_is_refused() {
        for text in ["a:0", "a:", "a:65536", "a:x", "a:-1"] {
            assert_eq!(Peer::parse(text), Err(AddressError::Port), "{text}");
        }
        for text in [
            ":4152",
            "0.0.0.0:4152",
            "[::]:4152",
            "a,b:4152",
            "a b:4152",
            "u@a:1",
        ] {
            assert_eq!(Peer::parse(text), Err(AddressError::Host), "{text}");
        }
        for text in ["", "a", "::1:4152", "[::1]"] {
            let form = matches!(Peer::parse(text), Err(AddressError::Form(_)));
            assert!(form, "{text}");
        }
    }

    #[test]
    fn a_node_listens_where_the_address_says() {
        for (text, wanted) in [
            (":4152", "0.0.0.0:4152"),
            ("0.0.0.0:4152", "0.0.0.0:4152"),
            ("[::]:4152", "[::]:4152"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:1", "127.0.0.1:1"),
        ] {
            assert_eq!(listen(text).unwrap().to_string(), wanted, "{text}");
        }
        assert_eq!(listen(":0"), Err(AddressError::Port));
    }
}
