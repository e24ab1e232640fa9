//! With what nsqd connects to nsqlookupds by TLS.

use nsq_transport::tls::{Authorities, Connector, Identity, MinVersion, PemFile, TlsError, Trust};

use super::table::NsqdOptions;

/// Settings that ask for a protection which could not be given.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum LookupdTlsError {
    #[error(transparent)]
    Files(#[from] TlsError),
    #[error(
        "--lookupd-tls needs --lookupd-tls-root-ca-file: nsqlookupd's certificate is always verified"
    )]
    WithoutAuthorities,
    #[error("{0} needs --lookupd-tls: without it nsqd connects to nsqlookupd without TLS")]
    WithoutTls(PemFile),
}

/// Reads what the options name. `None` for plain connections.
pub(super) fn load(options: &NsqdOptions) -> Result<Option<Connector>, LookupdTlsError> {
    let root_ca = PemFile::new(
        "lookupd-tls-root-ca-file",
        &options.lookupd_tls_root_ca_file,
    );
    let cert = PemFile::new("lookupd-tls-cert", &options.lookupd_tls_cert);
    let key = PemFile::new("lookupd-tls-key", &options.lookupd_tls_key);
    if !options.lookupd_tls {
        let given = [root_ca, cert, key].into_iter().find(PemFile::is_given);
        return given.map_or(Ok(None), |file| Err(LookupdTlsError::WithoutTls(file)));
    }
    if !root_ca.is_given() {
        return Err(LookupdTlsError::WithoutAuthorities);
    }
    let authorities = Authorities::load(&root_ca)?;
    Ok(Some(Connector::new(
        Trust::Authorities(authorities),
        Identity::load(&cert, &key)?,
        MinVersion::Tls12,
    )))
}
