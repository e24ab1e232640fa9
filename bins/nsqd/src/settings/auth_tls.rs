//! The TLS of nsqd's requests to authorization servers.

use nsq_transport::tls::{Connector, PemFile, TlsError, Trust};

use super::client_tls;
use super::table::NsqdOptions;

/// Reads what the options name.
///
/// Compat: the file is the one that client certificates are verified with, and is read whether anybody is to be
/// asked or not (`buildClientTLSConfig`, nsqd/nsqd.go).
pub(super) fn load(options: &NsqdOptions) -> Result<Connector, TlsError> {
    let root_ca = PemFile::new("tls-root-ca-file", &options.tls_root_ca_file);
    let trust = Trust::load(&root_ca, false)?;
    let min_version = client_tls::min_version(options);
    Ok(Connector::new(trust, None, min_version))
}
