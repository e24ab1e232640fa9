//! The one thing that is read out of a certificate here: its subject's common name.
//!
//! ```text
//! Certificate ─▶ tbsCertificate: [0] version?, serial, algorithm, issuer, validity, subject, …
//! subject     ─▶ sets of { type, value }
//! ```
//! Source: RFC 5280, 4.1.

/// The common name of the subject of a certificate in DER form; of several, the last.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    // Serial number, algorithm, issuer, validity.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    let (mut subject, _) = element(fields, SEQUENCE)?;
    let mut found = None;
    while !subject.is_empty() {
        let mut attributes;
        (attributes, subject) = element(subject, SET)?;
        while !attributes.is_empty() {
            let attribute;
            (attribute, attributes) = element(attributes, SEQUENCE)?;
            let (kind, value) = element(attribute, OBJECT_ID)?;
            if kind == COMMON_NAME {
                let (&tag, _) = value.split_first()?;
                let (text, _) = element(value, tag)?;
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    found
}

/// The content of the element at the front, which must be of this kind, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    if first < LONG_FORM {
        return rest.split_at_checked(usize::from(first));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first - LONG_FORM))?;
    if length.len() > MAX_LENGTH_BYTES {
        return None;
    }
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// From here on the byte says how many bytes the length has.
const LONG_FORM: u8 = 0x80;
const MAX_LENGTH_BYTES: usize = 3;

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
