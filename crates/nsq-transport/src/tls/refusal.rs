//! Refusals of TLS in words: rustls names some of them by the variant of an error only.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// What `error` says, and for keys and certificates that are not supported, which ones are.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => match refused_certificate(why) {
            Some(words) => format!("invalid peer certificate: {words}"),
            None => error.to_string(),
        },
        Error::AlertReceived(AlertDescription::HandshakeFailure) => format!(
            "{error}: the two sides have no TLS version, cipher suite or kind of key in common; {SUPPORTED_KEYS}"
        ),
        error => error.to_string(),
    }
}

/// What is wrong with a certificate, where rustls does not say it in words.
fn refused_certificate(why: &CertificateError) -> Option<String> {
    match why {
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Some(format!(
            "its key or its signature is of a kind that is not supported; {SUPPORTED_KEYS}"
        )),
        // webpki's errors come in a box.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "UnsupportedCertVersion" => Some(
                "it is an X.509 v1 certificate, and only v3 is supported: make it with a subjectAltName".to_owned(),
            ),
            "CaUsedAsEndEntity" => Some(
                "it is an authority's own certificate (CA:TRUE), and not in the file of trusted authorities itself"
                    .to_owned(),
            ),
            _ => None,
        },
        _ => None,
    }
}

/// Words an own certificate that rustls cannot take.
pub(super) fn explain_own(error: &Error) -> String {
    let why = match error {
        Error::InvalidCertificate(why) => refused_certificate(why),
        _ => None,
    };
    why.unwrap_or_else(|| error.to_string())
}

/// The error of a handshake, explained.
pub(super) fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner.map(|inner| (inner, explain(inner))) {
        Some((inner, words)) if words != inner.to_string() => io::Error::new(error.kind(), words),
        _ => error,
    }
}

/// What ring can sign and verify with.
pub(super) const SUPPORTED_KEYS: &str =
    "supported are RSA of 2048 to 8192 bits, ECDSA on P-256 and P-384, and Ed25519";
