//! Verification of the other side's certificate against the authorities, by Go's rules.
//!
//! webpki wants a chain from the certificate to an authority, in which the certificate itself is no authority. Go also
//! accepts a certificate that is one of the authorities byte for byte: a self-signed one as `openssl req -x509` makes
//! it (`CA:TRUE`), or a server's own certificate given as the file of authorities. Such a certificate needs no chain, and
//! everything else is still checked: its dates, its uses, the host name, and the signature of the handshake.
//!
//! Source: Go 1.24, `Certificate.Verify`, crypto/x509/verify.go.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::Authorities;
use super::certificate::{Use, check_dates_and_use};

/// Verifies servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    authorities: Authorities,
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    authorities: Authorities,
}

impl ServerVerifier {
    pub(super) fn new(
        authorities: Authorities,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::clone(&authorities.roots);
        let chains = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self {
            chains,
            authorities,
        })
    }
}

impl ClientVerifier {
    pub(super) fn new(
        authorities: Authorities,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::clone(&authorities.roots);
        let chains = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self {
            chains,
            authorities,
        })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chains = &self.chains;
        let verified =
            chains.verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        if verified.is_ok() || !self.authorities.contains(certificate) {
            return verified;
        }
        // Parsing refuses critical extensions that are unknown.
        let parsed = ParsedCertificate::try_from(certificate)?;
        check_dates_and_use(certificate, Use::Server, now)?;
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chains = &self.chains;
        let verified = chains.verify_client_cert(certificate, intermediates, now);
        if verified.is_ok() || !self.authorities.contains(certificate) {
            return verified;
        }
        ParsedCertificate::try_from(certificate)?;
        check_dates_and_use(certificate, Use::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
