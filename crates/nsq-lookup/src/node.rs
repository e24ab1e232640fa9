//! An nsqd as it introduces itself to nsqlookupd.

use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Where an nsqd can be reached, as it says itself, and from where it called.
///
/// The order of the fields is that of the HTTP answers. Ports are as wide as upstream's `int`: nsqlookupd
/// passes on what it is told and judges only that it is not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `ip:port` of its connection; identifies it among all nodes.
    pub remote_address: String,
    /// The host's own name, perhaps empty.
    pub hostname: String,
    /// The address that clients use; not empty.
    pub broadcast_address: String,
    /// The port for clients, not zero.
    pub tcp_port: i64,
    /// The port for HTTP, not zero.
    pub http_port: i64,
    /// Its version, not empty.
    pub version: String,
    /// The zone it is in, perhaps empty.
    pub topology_zone: String,
    /// The region it is in, perhaps empty.
    pub topology_region: String,
}

/// Why an IDENTIFY body is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentifyError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("missing fields")]
    MissingFields,
}

impl Node {
    /// Reads the body of IDENTIFY. The caller knows better than the body from where it came.
    pub(crate) fn from_identify(
        body: &[u8],
        remote_address: String,
    ) -> Result<Self, IdentifyError> {
        // As in Go, bytes that are no UTF-8 become U+FFFD, and `null` changes nothing.
        let text = String::from_utf8_lossy(body);
        let node: Option<Self> = serde_json::from_str(&text)?;
        let node = Self {
            remote_address,
            ..node.unwrap_or_default()
        };
        if node.broadcast_address.is_empty()
            || node.tcp_port == 0
            || node.http_port == 0
            || node.version.is_empty()
        {
            return Err(IdentifyError::MissingFields);
        }
        Ok(node)
    }

    /// Whether `name` means this node, as `topic/tombstone` is given it: `address:http_port`, an IPv6
    /// address in brackets or without.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let Some((address, port)) = name.rsplit_once(':') else {
            return false;
        };
        port.parse() == Ok(self.http_port)
            && without_brackets(address) == without_brackets(&self.broadcast_address)
    }
}

fn without_brackets(address: &str) -> &str {
    address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address)
}

/// Compat: keys fit in any letter case, unknown ones are ignored, `null` leaves a field as it was, and
/// of repeated keys the last wins (encoding/json).
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that describes an nsqd")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut node = Node::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.to_ascii_lowercase().as_str() {
                        "remote_address" => set(&mut node.remote_address, &mut map)?,
                        "hostname" => set(&mut node.hostname, &mut map)?,
                        "broadcast_address" => set(&mut node.broadcast_address, &mut map)?,
                        "tcp_port" => set(&mut node.tcp_port, &mut map)?,
                        "http_port" => set(&mut node.http_port, &mut map)?,
                        "version" => set(&mut node.version, &mut map)?,
                        "topology_zone" => set(&mut node.topology_zone, &mut map)?,
                        "topology_region" => set(&mut node.topology_region, &mut map)?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(node)
            }
        }

        fn set<'de, T: de::Deserialize<'de>, A: MapAccess<'de>>(
            field: &mut T,
            map: &mut A,
        ) -> Result<(), A::Error> {
            if let Some(value) = map.next_value()? {
                *field = value;
            }
            Ok(())
        }

        deserializer.deserialize_map(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"broadcast_address":"h","hostname":"n","http_port":4151,"tcp_port":4150,"topology_region":"r","topology_zone":"z","version":"1.3.0"}"#;

    fn identify(body: &str) -> Result<Node, IdentifyError> {
        Node::from_identify(body.as_bytes(), "1.2.3.4:5".into())
    }

    #[test]
    fn an_nsqd_is_known_by_its_address_ports_and_version() {
        let node = identify(GOOD).unwrap();
        assert_eq!(
            (
                node.broadcast_address.as_str(),
                node.tcp_port,
                node.http_port
            ),
            ("h", 4150, 4151)
        );
        assert_eq!(
            (node.version.as_str(), node.hostname.as_str()),
            ("1.3.0", "n")
        );
        assert_eq!(
            (node.topology_zone.as_str(), node.topology_region.as_str()),
            ("z", "r")
        );
        assert_eq!(node.remote_address, "1.2.3.4:5");
    }

    #[test]
    fn keys_are_read_as_go_reads_them() {
        let body = r#"{"TCP_Port":1,"tcp_port":-2,"tcp_port":null,"HTTP_PORT":3,"Version":"v","broadcast_address":"b","x":[{}],"remote_address":"lie"}"#;
        let node = identify(body).unwrap();
        assert_eq!((node.tcp_port, node.http_port), (-2, 3));
        assert_eq!(node.remote_address, "1.2.3.4:5");
    }

    #[test]
    fn a_body_of_the_wrong_shape_or_type_is_refused() {
        for body in [
            "",
            "[]",
            "{",
            "7",
            r#""x""#,
            &GOOD.replace("4151", "4151.5"),
            &GOOD.replace("4151", "\"4151\""),
            &GOOD.replace("\"h\"", "5"),
            &format!("{GOOD} x"),
        ] {
            assert!(
                matches!(identify(body), Err(IdentifyError::Json(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn a_field_that_is_missing_empty_or_zero_is_refused() {
        for body in [
            "null",
            "{}",
            &GOOD.replace("\"h\"", "\"\""),
            &GOOD.replace("\"h\"", "null"),
            &GOOD.replace("4151", "0"),
            &GOOD.replace("4150", "0"),
            &GOOD.replace("\"version\"", "\"verzion\""),
        ] {
            let refused = identify(body);
            assert!(
                matches!(refused, Err(IdentifyError::MissingFields)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_node_is_named_by_address_and_http_port() {
        let node = |address: &str| Node {
            broadcast_address: address.into(),
            http_port: 4151,
            ..Node::default()
        };
        assert!(node("h").is_named("h:4151"));
        for name in ["h:4150", "h", "g:4151", "h:", ":4151", "[h:4151", ""] {
            assert!(!node("h").is_named(name), "{name}");
        }
        for address in ["::1", "[::1]"] {
            assert!(node(address).is_named("::1:4151"));
            assert!(node(address).is_named("[::1]:4151"));
            assert!(!node(address).is_named("[::2]:4151"));
        }
    }
}
