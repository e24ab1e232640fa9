//! The byte stream of a connection, and who believes whom in it.

use nsq_transport::tls::{Authorities, Connector, Identity, MinVersion, PemFile, Trust};

use crate::config::{Config, ConfigError, TlsVersion};

/// What an nsqd is spoken to through.
pub(crate) type Transport = nsq_transport::Transport<tokio::net::TcpStream>;

/// The calling end of TLS as the options say. Reads the files they name.
pub(crate) fn tls(config: &Config) -> Result<Connector, ConfigError> {
    let refused = |error: nsq_transport::tls::TlsError| ConfigError::Tls(error.to_string());
    let trust = if config.tls_insecure_skip_verify {
        Trust::Anyone
    } else if config.tls_root_ca_file.is_some() {
        let file = file("tls_root_ca_file", config.tls_root_ca_file.as_deref());
        Trust::Authorities(Authorities::load(&file).map_err(refused)?)
    } else {
        Trust::System
    };
    let identity = Identity::load(
        &file("tls_cert", config.tls_cert.as_deref()),
        &file("tls_key", config.tls_key.as_deref()),
    );
    let min_version = match config.tls_min_version {
        TlsVersion::Tls13 => MinVersion::Tls13,
        TlsVersion::Ssl3 | TlsVersion::Tls10 | TlsVersion::Tls11 | TlsVersion::Tls12 => {
            MinVersion::Tls12
        }
    };
    Ok(Connector::new(
        trust,
        identity.map_err(refused)?,
        min_version,
    ))
}

fn file(option: &'static str, path: Option<&std::path::Path>) -> PemFile {
    let path = path.unwrap_or_else(|| std::path::Path::new(""));
    PemFile::new(option, &path.to_string_lossy())
}
