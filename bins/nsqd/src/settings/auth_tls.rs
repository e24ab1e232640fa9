//! With what nsqd asks authorization servers over HTTPS.

use nsq_daemon::http::client::{Trust as HttpTrust, https};
use nsq_transport::tls::{
    Authorities, ClientConfig, Connector, MinVersion, PemFile, TlsError, Trust,
};

use super::{NsqdOptions, client_tls};

/// Reads what the options name.
///
/// Compat: the file is the one that client certificates are verified with, and is read whether anybody is to be
/// asked or not (`buildClientTLSConfig`, nsqd/nsqd.go).
pub(super) fn load(options: &NsqdOptions) -> Result<ClientConfig, TlsError> {
    let root_ca = PemFile::new("tls-root-ca-file", &options.tls_root_ca_file);
    let min_version = client_tls::min_version(options);
    let authorities = if root_ca.is_given() {
        Authorities::load(&root_ca)?
    } else if min_version == MinVersion::Tls13 && !options.auth_http_addresses.is_empty() {
        Authorities::of_system()?
    } else {
        return Ok(https(HttpTrust::System, None));
    };
    let connector = Connector::new(Trust::Authorities(authorities), None, min_version);
    Ok((*connector.config()).clone())
}
