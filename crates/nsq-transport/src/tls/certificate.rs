//! Facts read out of certificates: the subject's common name, the dates, the allowed uses.

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{CertificateError, Error};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The side of a connection that shows a certificate, and so the use that the certificate must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Server,
    Client,
}

/// The common name of the subject of a certificate in DER form; of several, the last.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject().iter_common_name();
    let last = names.last()?.attr_value().data;
    Some(String::from_utf8_lossy(last).into_owned())
}

/// Checks that a certificate is valid at `now`, and that it may be used by this side: one that does not restrict its
/// use may.
pub(super) fn check_dates_and_use(der: &[u8], side: Use, now: UnixTime) -> Result<(), Error> {
    let damaged = |_| Error::from(CertificateError::BadEncoding);
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let [not_before, not_after] = [
        certificate.validity().not_before,
        certificate.validity().not_after,
    ]
    .map(|date| {
        let seconds = u64::try_from(date.timestamp()).unwrap_or(0);
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    });
    if now < not_before {
        let time = now;
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if now > not_after {
        let time = now;
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    let Some(uses) = certificate.extended_key_usage().map_err(damaged)? else {
        return Ok(());
    };
    let is_allowed = match side {
        Use::Server => uses.value.server_auth,
        Use::Client => uses.value.client_auth,
    };
    if is_allowed || uses.value.any {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn the_last_common_name_is_read_and_damage_is_no_harm() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["host".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "an organization");
        let without = params.clone().self_signed(&key).unwrap();
        assert_eq!(common_name(without.der()), None);
        params.distinguished_name.push(DnType::CommonName, "a näme");
        let with = params.self_signed(&key).unwrap();
        let der = with.der();
        assert_eq!(common_name(der).as_deref(), Some("a näme"));
        for end in 0..der.len() {
            let _ = common_name(&der[..end]);
            let mut flipped = der.to_vec();
            flipped[end] ^= 0xff;
            let _ = common_name(&flipped);
        }
    }
}
