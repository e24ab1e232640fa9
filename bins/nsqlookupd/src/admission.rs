//! What the settings demand of those who connect by TCP.

use nsq_lookup::Admission;
use nsq_transport::tls::{
    Acceptor, Authorities, ClientCertificate, Identity, MinVersion, PemFile, TlsError,
};

use crate::settings::Settings;

/// Settings that ask for a protection which could not be given.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The files cannot be taken.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// An option that means nothing without TLS.
    #[error("--{0} needs --tls-cert and --tls-key: without a certificate there is no TLS")]
    WithoutCertificate(&'static str),
}

/// Reads what the settings name.
pub(crate) fn load(settings: &Settings) -> Result<Admission, AdmissionError> {
    let cert = PemFile::new("tls-cert", &settings.tls_cert);
    let key = PemFile::new("tls-key", &settings.tls_key);
    let client_ca = PemFile::new("tls-client-ca-file", &settings.tls_client_ca_file);
    let Some(identity) = Identity::load(&cert, &key)? else {
        return match (settings.tls_required, client_ca.is_given()) {
            (true, _) => Err(AdmissionError::WithoutCertificate("tls-required")),
            (false, true) => Err(AdmissionError::WithoutCertificate(client_ca.flag)),
            (false, false) => Ok(Admission::Plain),
        };
    };
    let clients = if client_ca.is_given() {
        ClientCertificate::Verified(Authorities::load(&client_ca)?)
    } else {
        ClientCertificate::NotAsked
    };
    let acceptor = Acceptor::new(identity, clients, MinVersion::Tls12);
    Ok(if settings.tls_required {
        Admission::TlsOnly(acceptor)
    } else {
        Admission::Either(acceptor)
    })
}

/// Reads the files again: handshakes with `admission` that begin from then on go by them. Returns whether there are any.
pub(crate) fn reload(settings: &Settings, admission: &Admission) -> Result<bool, AdmissionError> {
    let again = load(settings)?;
    let (Some(acceptor), Some(new)) = (admission.acceptor(), again.acceptor()) else {
        return Ok(false);
    };
    acceptor.replace(new);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_with(args: &[&str]) -> Result<Admission, AdmissionError> {
        let args = args.iter().map(std::ffi::OsString::from);
        load(&Settings::load(args).unwrap())
    }

    #[test]
    fn without_a_certificate_everybody_comes_in_plain() {
        assert!(matches!(load_with(&[]), Ok(Admission::Plain)));
    }

    #[test]
    fn a_protection_that_is_asked_for_is_never_left_out() {
        let no_tls = "needs --tls-cert and --tls-key: without a certificate there is no TLS";
        for (args, text) in [
            (
                &["--tls-required"][..],
                format!("--tls-required {no_tls}"),
            ),
            (
                &["--tls-client-ca-file=/ca"],
                format!("--tls-client-ca-file {no_tls}"),
            ),
            (
                &["--tls-cert=/nowhere", "--tls-key=/nowhere"],
                "--tls-cert=/nowhere: no such file or directory".to_owned(),
            ),
            (
                &["--tls-key=/nowhere"],
                "--tls-key=/nowhere also needs --tls-cert: a certificate and its key are given together"
                    .to_owned(),
            ),
        ] {
            assert_eq!(load_with(args).unwrap_err().to_string(), text);
        }
    }
}
