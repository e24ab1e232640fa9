//! Verification by the system's authorities, which are read when first needed: most programs never connect to anything
//! by TLS, and need not hold a hundred certificates for it.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::Authorities;
use super::unverified::Unverified;
use super::verified::ServerVerifier;

/// Verifies a server's certificate as Go does where no authorities are given.
#[derive(Debug)]
pub(super) struct SystemAuthorities {
    /// Signatures are no different here.
    signatures: Unverified,
    verifier: OnceLock<Result<ServerVerifier, String>>,
}

impl SystemAuthorities {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            signatures: Unverified(provider),
            verifier: OnceLock::new(),
        }
    }

    fn verifier(&self) -> Result<&ServerVerifier, Error> {
        let verifier = self.verifier.get_or_init(|| {
            let authorities = Authorities::of_system().map_err(|error| error.to_string())?;
            let provider = Arc::clone(&self.signatures.0);
            ServerVerifier::new(authorities, provider).map_err(|error| error.to_string())
        });
        match verifier {
            Ok(verifier) => Ok(verifier),
            Err(why) => Err(Error::General(why.clone())),
        }
    }
}

impl ServerCertVerifier for SystemAuthorities {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(
            &self.signatures,
            message,
            certificate,
            signature,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(
            &self.signatures,
            message,
            certificate,
            signature,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&self.signatures)
    }
}
