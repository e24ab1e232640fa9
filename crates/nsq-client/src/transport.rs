//! The byte stream of a connection, and the TLS in it.

use nsq_transport::tls::{Authorities, Connector, Identity, MinVersion, PemFile, Trust};

use crate::config::{Config, ConfigError, TlsVersion};

/// The byte stream to an nsqd.
pub(crate) type Transport = nsq_transport::Transport<tokio::net::TcpStream>;

/// The calling end of TLS as the options say. Reads the files they name.
pub(crate) fn tls(config: &Config) -> Result<Connector, ConfigError> {
    let refused = |error: nsq_transport::tls::TlsError| ConfigError::Tls(error.to_string());
    let root_ca = file("tls_root_ca_file", config.tls_root_ca_file.as_deref());
    // An empty path is a script's variable that was not set, and no wish for the system's authorities.
    if config.tls_root_ca_file.is_some() && !root_ca.is_given() {
        Authorities::load(&root_ca).map_err(refused)?;
    }
    let trust = Trust::load(&root_ca, config.tls_insecure_skip_verify).map_err(refused)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_of_authorities_is_refused() {
        let mut config = Config::default();
        tls(&config).unwrap();
        config.tls_root_ca_file = Some("".into());
        let refused = tls(&config).unwrap_err();
        assert!(matches!(refused, ConfigError::Tls(_)), "{refused:?}");
    }
}
