//! With what nsqd asks authorization servers over HTTPS.

use nsq_transport::tls::{Authorities, Connector, PemFile, TlsError, Trust};

use super::{NsqdOptions, client_tls};

/// Reads what the options name.
///
/// Compat: the file is the one that client certificates are verified with, and is read whether anybody is to be
/// asked or not (`buildClientTLSConfig`, nsqd/nsqd.go).
pub(super) fn load(options: &NsqdOptions) -> Result<Connector, TlsError> {
    let root_ca = PemFile::new("tls-root-ca-file", &options.tls_root_ca_file);
    let trust = if root_ca.is_given() {
        Trust::Authorities(Authorities::load(&root_ca)?)
    } else {
        Trust::System
    };
    let min_version = client_tls::min_version(options);
    Ok(Connector::new(trust, None, min_version))
}
