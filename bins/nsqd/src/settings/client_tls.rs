//! With what nsqd meets its clients by TLS, on TCP and on HTTPS.

use nsq_transport::tls::{
    Acceptor, Authorities, ClientCertificate, Identity, MinVersion, PemFile, TlsError,
};

use super::table::NsqdOptions;
use super::tls_words::TlsMinVersion;

/// Files that clients cannot be met with. `Display` begins as upstream's message.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum ClientTlsError {
    #[error("failed to build TLS config - {0}")]
    Acceptor(#[from] TlsError),
    /// The authorities also verify the authorization servers, so they must be good without a certificate, too.
    #[error("failed to build client TLS config - {0}")]
    Authorities(TlsError),
}

/// Reads what the options name. `None` without a certificate.
pub(super) fn load(options: &NsqdOptions) -> Result<Option<Acceptor>, ClientTlsError> {
    let cert = PemFile::new("tls-cert", &options.tls_cert);
    let key = PemFile::new("tls-key", &options.tls_key);
    let root_ca = PemFile::new("tls-root-ca-file", &options.tls_root_ca_file);
    let Some(identity) = Identity::load(&cert, &key)? else {
        if root_ca.is_given() {
            Authorities::load(&root_ca).map_err(ClientTlsError::Authorities)?;
        }
        return Ok(None);
    };
    let authorities = if root_ca.is_given() {
        Some(Authorities::load(&root_ca)?)
    } else {
        None
    };
    // Compat: a word that is neither asks for nothing, but TLS is still required (buildTLSConfig,
    // nsqd/nsqd.go).
    let clients = match options.tls_client_auth_policy.as_str() {
        "require" => ClientCertificate::Any,
        "require-verify" => ClientCertificate::Verified(match authorities {
            Some(authorities) => authorities,
            None => Authorities::of_system()?,
        }),
        _ => ClientCertificate::NotAsked,
    };
    Ok(Some(Acceptor::new(identity, clients, min_version(options))))
}

/// The oldest version to speak.
pub(super) fn min_version(options: &NsqdOptions) -> MinVersion {
    match options.tls_min_version {
        TlsMinVersion::Tls10 | TlsMinVersion::Tls11 | TlsMinVersion::Tls12 => MinVersion::Tls12,
        TlsMinVersion::Tls13 => MinVersion::Tls13,
    }
}

/// What an operator should know about TLS to clients, if it is not what was asked for.
pub(super) fn notices(options: &NsqdOptions, min_version_is_given: bool) -> Vec<String> {
    let mut notices = Vec::new();
    let asks_for_older = matches!(
        options.tls_min_version,
        TlsMinVersion::Tls10 | TlsMinVersion::Tls11
    );
    if min_version_is_given && asks_for_older {
        notices.push(
            "--tls-min-version: TLS 1.0 and 1.1 are not spoken here, the oldest is TLS 1.2"
                .to_owned(),
        );
    }
    let policy = options.tls_client_auth_policy.as_str();
    if !["", "require", "require-verify"].contains(&policy) {
        notices.push(format!(
            "--tls-client-auth-policy={policy}: neither require nor require-verify, so no certificate is asked of \
             clients; but TLS is required"
        ));
    }
    notices
}
