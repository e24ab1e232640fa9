//! The layers of a connection, and the JSON that tells the client about them.

use serde::Serialize;

use crate::identify::settings::whole_millis;
use crate::identify::{ClientSettings, IdentifyLimits, IdentifyRequest};
use crate::{CommandError, Limits, escape_go_json};

/// What this nsqd offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct ServerFeatures {
    /// What clients take for nsqd's version.
    pub version: String,
    /// There is a certificate.
    pub tls_available: bool,
    /// Deflate is not switched off.
    pub deflate: bool,
    /// Snappy is not switched off.
    pub snappy: bool,
    /// Highest deflate level, 1 to 9.
    pub max_deflate_level: u8,
    /// There is an authorization server.
    pub auth_required: bool,
    /// Where nsqd runs.
    pub topology_region: String,
    /// Where nsqd runs, more closely.
    pub topology_zone: String,
}

/// What nsqd and a client agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiation {
    /// The connection continues in TLS.
    pub tls: bool,
    /// Inside TLS, if both.
    pub compression: Compression,
    /// Reported even without deflate.
    deflate_level: u8,
    /// The client asks for the addresses of the cluster's nodes.
    pub wants_cluster_nodes: bool,
}

/// How a connection's bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Raw deflate, one stream each way.
    Deflate {
        /// 1 to 9.
        level: u8,
    },
    /// Snappy's framing format.
    Snappy,
}

impl IdentifyRequest {
    /// What to agree on. `None` if the client does not negotiate: its answer is a plain `OK`, and
    /// what it asks for here is ignored.
    ///
    /// # Errors
    /// [`CommandError::BothCompressions`] if the client asks for both and nsqd has both.
    pub fn negotiate(&self, server: &ServerFeatures) -> Result<Option<Negotiation>, CommandError> {
        if !self.feature_negotiation {
            return Ok(None);
        }
        let deflate = server.deflate && self.deflate;
        let snappy = server.snappy && self.snappy;
        let level = if deflate && self.deflate_level > 0 {
            u8::try_from(self.deflate_level).unwrap_or(u8::MAX)
        } else {
            DEFAULT_DEFLATE_LEVEL
        };
        let deflate_level = level.min(server.max_deflate_level);
        let compression = match (deflate, snappy) {
            (true, true) => return Err(CommandError::BothCompressions),
            (true, false) => Compression::Deflate {
                level: deflate_level,
            },
            (false, true) => Compression::Snappy,
            (false, false) => Compression::None,
        };
        let tls = server.tls_available && self.tls_v1;
        Ok(Some(Negotiation {
            tls,
            compression,
            deflate_level,
            wants_cluster_nodes: self.cluster_nodes,
        }))
    }
}

impl Negotiation {
    /// The JSON that answers the IDENTIFY, to go out before the first layer is changed. `nodes` are the addresses of the
    /// cluster's nodes, `host:port` each; they are told only if the client asked, in a key that upstream does not have.
    ///
    /// Source: `IDENTIFY`, nsq 1.3.0, nsqd/protocol_v2.go: the order of the keys is upstream's.
    pub fn response(
        &self,
        settings: &ClientSettings,
        server: &ServerFeatures,
        limits: &Limits,
        identify_limits: &IdentifyLimits,
        nodes: &[String],
    ) -> String {
        let response = Response {
            max_rdy_count: limits.max_rdy_count,
            version: &server.version,
            max_msg_timeout: whole_millis(identify_limits.max_msg_timeout),
            msg_timeout: whole_millis(settings.msg_timeout),
            tls_v1: self.tls,
            deflate: matches!(self.compression, Compression::Deflate { .. }),
            deflate_level: self.deflate_level,
            max_deflate_level: server.max_deflate_level,
            snappy: self.compression == Compression::Snappy,
            sample_rate: settings.sample_rate,
            auth_required: server.auth_required,
            output_buffer_size: settings.output_buffer_size,
            output_buffer_timeout: settings.output_buffer_timeout.map_or(0, whole_millis),
            topology_region: &server.topology_region,
            topology_zone: &server.topology_zone,
            cluster_nodes: (self.wants_cluster_nodes && !nodes.is_empty()).then_some(nodes),
        };
        escape_go_json(serde_json::to_string(&response).expect("texts, numbers and booleans only"))
    }
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the keys are the protocol's")]
struct Response<'a> {
    max_rdy_count: i64,
    version: &'a str,
    max_msg_timeout: i64,
    msg_timeout: i64,
    tls_v1: bool,
    deflate: bool,
    deflate_level: u8,
    max_deflate_level: u8,
    snappy: bool,
    sample_rate: u8,
    auth_required: bool,
    output_buffer_size: usize,
    output_buffer_timeout: i64,
    topology_region: &'a str,
    topology_zone: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_nodes: Option<&'a [String]>,
}

const DEFAULT_DEFLATE_LEVEL: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn server() -> ServerFeatures {
        ServerFeatures {
            version: "1.3.0".to_owned(),
            tls_available: false,
            deflate: true,
            snappy: true,
            max_deflate_level: 6,
            auth_required: false,
            topology_region: String::new(),
            topology_zone: String::new(),
        }
    }

    fn response(json: &str, server: &ServerFeatures) -> String {
        let identify_limits = crate::identify::settings::tests::limits();
        let limits = Limits {
            max_msg_size: 1024 * 1024,
            max_body_size: 5 * 1024 * 1024,
            max_rdy_count: 2500,
            max_req_timeout: Duration::from_hours(1),
        };
        let request = IdentifyRequest::parse(json.as_bytes()).unwrap();
        let settings = request.validate(&identify_limits).unwrap();
        let negotiation = request.negotiate(server).unwrap().unwrap();
        negotiation.response(&settings, server, &limits, &identify_limits, &nodes())
    }

    fn nodes() -> Vec<String> {
        vec!["a:4150".to_owned(), "b:4150".to_owned()]
    }

    #[test]
    fn the_nodes_of_the_cluster_are_told_to_clients_that_ask() {
        let asked = r#"{"feature_negotiation":true,"cluster_nodes":true}"#;
        let told = response(asked, &server());
        assert!(
            told.ends_with(r#","cluster_nodes":["a:4150","b:4150"]}"#),
            "{told}"
        );
        let told = response(r#"{"feature_negotiation":true}"#, &server());
        assert!(!told.contains("cluster_nodes"), "{told}");
    }

    #[test]
    fn an_unconfigured_server_answers_as_upstream_does_to_the_byte() {
        assert_eq!(
            response(r#"{"feature_negotiation":true}"#, &server()),
            concat!(
                r#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"#,
                r#""msg_timeout":60000,"tls_v1":false,"deflate":false,"deflate_level":6,"#,
                r#""max_deflate_level":6,"snappy":false,"sample_rate":0,"auth_required":false,"#,
                r#""output_buffer_size":16384,"output_buffer_timeout":250,"#,
                r#""topology_region":"","topology_zone":""}"#
            )
        );
    }

    #[test]
    fn what_was_agreed_is_in_the_answer() {
        let server = ServerFeatures {
            tls_available: true,
            auth_required: true,
            max_deflate_level: 9,
            topology_region: "<r>".to_owned(),
            topology_zone: "z&\"".to_owned(),
            ..server()
        };
        assert_eq!(
            response(
                concat!(
                    r#"{"feature_negotiation":true,"tls_v1":true,"deflate":true,"deflate_level":8,"#,
                    r#""sample_rate":7,"msg_timeout":1000,"output_buffer_size":-1}"#
                ),
                &server
            ),
            concat!(
                r#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"#,
                r#""msg_timeout":1000,"tls_v1":true,"deflate":true,"deflate_level":8,"#,
                r#""max_deflate_level":9,"snappy":false,"sample_rate":7,"auth_required":true,"#,
                r#""output_buffer_size":1,"output_buffer_timeout":0,"#,
                r#""topology_region":"\u003cr\u003e","topology_zone":"z\u0026\""}"#
            )
        );
    }

    fn negotiate(json: &str, server: &ServerFeatures) -> Result<Option<Negotiation>, CommandError> {
        IdentifyRequest::parse(json.as_bytes())
            .unwrap()
            .negotiate(server)
    }

    #[test]
    fn a_client_that_does_not_negotiate_gets_no_layers() {
        let both = r#"{"tls_v1":true,"snappy":true,"deflate":true}"#;
        assert_eq!(negotiate(both, &server()), Ok(None));
    }

    #[test]
    fn both_compressions_conflict_only_if_the_server_has_both() {
        let both = r#"{"feature_negotiation":true,"snappy":true,"deflate":true}"#;
        assert_eq!(
            negotiate(both, &server()),
            Err(CommandError::BothCompressions)
        );
        let without_snappy = ServerFeatures {
            snappy: false,
            ..server()
        };
        let agreed = negotiate(both, &without_snappy).unwrap().unwrap();
        assert_eq!(agreed.compression, Compression::Deflate { level: 6 });
        let without_deflate = ServerFeatures {
            deflate: false,
            ..server()
        };
        let agreed = negotiate(both, &without_deflate).unwrap().unwrap();
        assert_eq!(agreed.compression, Compression::Snappy);
    }

    #[test]
    fn the_deflate_level_is_the_clients_up_to_the_servers_highest() {
        for (asked, max, level) in [
            (0, 6, 6),
            (-3, 6, 6),
            (3, 6, 3),
            (9, 6, 6),
            (9, 9, 9),
            (0, 2, 2),
            (0, 9, 6),
            (i64::MAX, 9, 9),
        ] {
            let server = ServerFeatures {
                max_deflate_level: max,
                ..server()
            };
            let json =
                format!(r#"{{"feature_negotiation":true,"deflate":true,"deflate_level":{asked}}}"#);
            let agreed = negotiate(&json, &server).unwrap().unwrap();
            assert_eq!(
                agreed.compression,
                Compression::Deflate { level },
                "{asked} of {max}"
            );
        }
    }

    #[test]
    fn the_level_asked_for_without_deflate_is_not_reported() {
        let json = r#"{"feature_negotiation":true,"deflate_level":3}"#;
        assert!(response(json, &server()).contains(r#""deflate_level":6,"#));
    }
}
