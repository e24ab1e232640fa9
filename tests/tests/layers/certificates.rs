//! nsqds with a certificate, and clients with or without one.

use nsq_tests::{Nsqd, RawClient, Start};
use nsq_transport::tls::{Authorities, Connector, Identity, MinVersion, PemFile, Trust};
use serde_json::{Value, json};

use crate::test_authority::{Authority, Issued};

/// The flags that give nsqd a certificate from `authority`, and HTTPS on any port.
pub(crate) fn certificate_flags(authority: &Authority) -> Vec<String> {
    let issued = authority.issue("127.0.0.1");
    vec![
        format!("--tls-cert={}", issued.cert),
        format!("--tls-key={}", issued.key),
        "--https-address=127.0.0.1:0".to_owned(),
    ]
}

/// An nsqd with a certificate from `authority`, and these flags.
#[track_caller]
pub(crate) fn nsqd_with(authority: &Authority, flags: &[&str]) -> Nsqd {
    start_with(authority, flags).now()
}

pub(crate) fn start_with(authority: &Authority, flags: &[&str]) -> Start {
    let certificate = certificate_flags(authority);
    let certificate: Vec<&str> = certificate.iter().map(String::as_str).collect();
    Start::with(&[&certificate[..], flags].concat())
}

pub(crate) fn identity(Issued { cert, key }: &Issued) -> Identity {
    let identity = Identity::load(&PemFile::new("cert", cert), &PemFile::new("key", key));
    identity
        .expect("it was made a moment ago")
        .expect("it is given")
}

/// A client that believes in `authority`, and shows `shown` if it is asked.
pub(crate) fn connector(authority: &Authority, shown: Option<&Issued>) -> Connector {
    let roots = Authorities::load(&PemFile::new("ca", &authority.file()));
    let trust = Trust::Authorities(roots.expect("it was made a moment ago"));
    Connector::new(trust, shown.map(identity), MinVersion::Tls12)
}

/// An IDENTIFY that negotiates these features.
pub(crate) fn asking_for(features: &[&str]) -> Value {
    let mut settings = json!({"feature_negotiation": true, "client_id": "asker"});
    for feature in features {
        settings[*feature] = json!(true);
    }
    settings
}

/// A client of `nsqd` with these features on.
#[track_caller]
pub(crate) fn client_with(
    nsqd: &Nsqd,
    features: &[&str],
    connector: Option<&Connector>,
) -> RawClient {
    let negotiated = nsqd.connect().negotiate(&asking_for(features), connector);
    let (client, answer) = negotiated.expect("nsqd has them on");
    for feature in features {
        assert_eq!(answer[*feature], true, "{feature} in {answer}");
    }
    client
}
