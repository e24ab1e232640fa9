//! What a handshake came to, in the words of nsqd's statistics.

use std::borrow::Cow;

use tokio_rustls::rustls::{CipherSuite, CommonState, ProtocolVersion};

use super::certificate;

/// What two sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// TLS's own number: 0x0303 is TLS 1.2.
    pub version: u16,
    /// IANA's number.
    pub cipher_suite: u16,
    /// The common name in the certificate that the other side has shown; empty when it showed none or there is none
    /// in it. Verified only if certificates are.
    pub peer_common_name: String,
}

impl Session {
    pub(super) fn of(state: &CommonState) -> Self {
        let suite = state.negotiated_cipher_suite();
        let shown = state.peer_certificates().and_then(<[_]>::first);
        Self {
            version: state.protocol_version().map_or(0, u16::from),
            cipher_suite: suite.map_or(0, |suite| u16::from(suite.suite())),
            peer_common_name: shown
                .and_then(|der| certificate::common_name(der))
                .unwrap_or_default(),
        }
    }

    /// The version as upstream spells it.
    pub fn version_name(&self) -> Cow<'static, str> {
        match ProtocolVersion::from(self.version) {
            ProtocolVersion::TLSv1_2 => "TLS1.2".into(),
            ProtocolVersion::TLSv1_3 => "TLS1.3".into(),
            _ => format!("Unknown {}", self.version).into(),
        }
    }

    /// The suite as upstream spells it, which has words for few.
    ///
    /// Compat: the suites of TLS 1.3, and of TLS 1.2 all but two that are spoken here, are "Unknown" with their
    /// number (tlsCipherSuite, nsqd/client_v2.go).
    pub fn cipher_suite_name(&self) -> Cow<'static, str> {
        match CipherSuite::from(self.cipher_suite) {
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into()
            }
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into()
            }
            _ => format!("Unknown {}", self.cipher_suite).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_suites_are_spelled_as_upstream_does() {
        let names = |version, cipher_suite| {
            let peer_common_name = String::new();
            let session = Session {
                version,
                cipher_suite,
                peer_common_name,
            };
            [session.version_name(), session.cipher_suite_name()].map(Cow::into_owned)
        };
        assert_eq!(names(0x0304, 4865), ["TLS1.3", "Unknown 4865"]);
        assert_eq!(
            names(0x0303, 0xc02f),
            ["TLS1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!(
            names(0x0303, 0xc02b),
            ["TLS1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!(names(5, 0xc030), ["Unknown 5", "Unknown 49200"]);
    }
}
