//! Certificates that are their own authority: self-signed ones as `openssl req -x509` makes them, and a server's or
//! client's own certificate as the file of authorities.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::*;
use crate::tls::test_authority::Authority;

/// As `openssl req -x509 -subj /CN=NAME -addext subjectAltName=...` makes it, changed by `change`.
fn self_signed(
    folder: &Authority,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    Issued {
        cert: folder.write("self.pem", &certificate.pem()),
        key: folder.write("self.key", &key.serialize_pem()),
    }
}

/// Has a server show `server`, and a client that calls it `called` trust `trusted`; what the client says of it.
async fn server_shown(server: &Issued, trusted: &str, called: &str) -> Result<String, String> {
    let pair = identity(server).unwrap().unwrap();
    let acceptor = Acceptor::new(pair, ClientCertificate::NotAsked, MinVersion::Tls12);
    let connector = trusting(authorities(trusted).unwrap(), None);
    meet(&acceptor, &connector, called).await.1
}

/// Has a client show `client` to a server that trusts `trusted`; what the server says of it.
async fn client_shown(client: &Issued, trusted: &str) -> Result<(), String> {
    let authority = Authority::new();
    let own = identity(&authority.issue("127.0.0.1")).unwrap().unwrap();
    let clients = ClientCertificate::Verified(authorities(trusted).unwrap());
    let acceptor = Acceptor::new(own, clients, MinVersion::Tls12);
    let shown = identity(client).unwrap();
    let connector = trusting(authorities(&authority.file()).unwrap(), shown);
    meet(&acceptor, &connector, "127.0.0.1").await.0
}

#[track_caller]
fn check_refused_for<T: std::fmt::Debug>(outcome: Result<T, String>, why: &str) {
    let error = outcome.unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_where_it_is_the_authority_itself() {
    let folder = Authority::new();
    let own = self_signed(&folder, "127.0.0.1", |_| {});
    let accepted = server_shown(&own, &own.cert, "127.0.0.1").await;
    assert_eq!(accepted.as_deref(), Ok("hello"));
    assert_eq!(client_shown(&own, &own.cert).await, Ok(()));
}

#[tokio::test]
async fn a_leaf_is_accepted_where_it_is_the_authority_itself() {
    let authority = Authority::new();
    let leaf = authority.issue("127.0.0.1");
    let accepted = server_shown(&leaf, &leaf.cert, "127.0.0.1").await;
    assert_eq!(accepted.as_deref(), Ok("hello"));
    assert_eq!(client_shown(&leaf, &leaf.cert).await, Ok(()));
}

#[tokio::test]
async fn an_own_authority_may_stand_among_others() {
    let (folder, other) = (Authority::new(), Authority::new());
    let own = self_signed(&folder, "127.0.0.1", |_| {});
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let both = folder.write("both", &(read(&other.file()) + &read(&own.cert)));
    for shown in [&own, &other.issue("127.0.0.1")] {
        let accepted = server_shown(shown, &both, "127.0.0.1").await;
        assert_eq!(accepted.as_deref(), Ok("hello"));
    }
}

#[tokio::test]
async fn an_own_authority_is_refused_under_another_name() {
    let folder = Authority::new();
    let own = self_signed(&folder, "a.example", |_| {});
    let outcome = server_shown(&own, &own.cert, "b.example").await;
    check_refused_for(outcome, "not valid for name");
}

#[tokio::test]
async fn an_own_authority_is_refused_before_and_after_its_dates() {
    let folder = Authority::new();
    let expired = self_signed(&folder, "127.0.0.1", |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let outcome = server_shown(&expired, &expired.cert, "127.0.0.1").await;
    check_refused_for(outcome, "expired");
    check_refused_for(client_shown(&expired, &expired.cert).await, "expired");
    let future = self_signed(&folder, "127.0.0.1", |params| {
        params.not_before = date_time_ymd(2999, 1, 1);
    });
    let outcome = server_shown(&future, &future.cert, "127.0.0.1").await;
    check_refused_for(outcome, "not valid yet");
    check_refused_for(client_shown(&future, &future.cert).await, "not valid yet");
}

#[tokio::test]
async fn an_own_authority_is_refused_for_another_use() {
    let folder = Authority::new();
    let for_clients = self_signed(&folder, "127.0.0.1", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let outcome = server_shown(&for_clients, &for_clients.cert, "127.0.0.1").await;
    check_refused_for(outcome, "InvalidPurpose");
    assert_eq!(client_shown(&for_clients, &for_clients.cert).await, Ok(()));
    let for_servers = self_signed(&folder, "127.0.0.1", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let accepted = server_shown(&for_servers, &for_servers.cert, "127.0.0.1").await;
    assert_eq!(accepted.as_deref(), Ok("hello"));
    let outcome = client_shown(&for_servers, &for_servers.cert).await;
    check_refused_for(outcome, "InvalidPurpose");
}

/// The same names, another key.
#[tokio::test]
async fn a_certificate_that_only_resembles_an_authority_is_refused() {
    let (folder, other) = (Authority::new(), Authority::new());
    let own = self_signed(&folder, "127.0.0.1", |_| {});
    let lookalike = self_signed(&other, "127.0.0.1", |_| {});
    let outcome = server_shown(&lookalike, &own.cert, "127.0.0.1").await;
    check_refused_for(outcome, "invalid peer certificate: ");
    let outcome = client_shown(&lookalike, &own.cert).await;
    check_refused_for(outcome, "invalid peer certificate: ");
}

#[tokio::test]
async fn an_own_authority_without_its_key_is_refused() {
    let (folder, other) = (Authority::new(), Authority::new());
    let own = self_signed(&folder, "127.0.0.1", |_| {});
    let stolen = identity(&own).unwrap().unwrap();
    let other_key = identity(&other.issue("127.0.0.1")).unwrap().unwrap();
    let forged = || {
        let chain = stolen.0.cert.clone();
        Identity(Arc::new(CertifiedKey::new(
            chain,
            Arc::clone(&other_key.0.key),
        )))
    };
    let acceptor = Acceptor::new(forged(), ClientCertificate::NotAsked, MinVersion::Tls12);
    let connector = trusting(authorities(&own.cert).unwrap(), None);
    let (_, client) = meet(&acceptor, &connector, "127.0.0.1").await;
    check_refused_for(client, "BadSignature");

    let server = identity(&other.issue("127.0.0.1")).unwrap().unwrap();
    let clients = ClientCertificate::Verified(authorities(&own.cert).unwrap());
    let acceptor = Acceptor::new(server, clients, MinVersion::Tls12);
    let connector = trusting(authorities(&other.file()).unwrap(), Some(forged()));
    let (server, _) = meet(&acceptor, &connector, "127.0.0.1").await;
    check_refused_for(server, "BadSignature");
}

#[test]
fn a_file_that_is_given_is_read_even_where_nothing_is_verified() {
    let missing = PemFile::new("ca-file", "/nowhere");
    for is_verification_skipped in [false, true] {
        let refused = Trust::load(&missing, is_verification_skipped).unwrap_err();
        assert!(
            matches!(refused, TlsError::Unreadable { .. }),
            "{refused:?}"
        );
    }
    let none = PemFile::new("ca-file", "");
    assert!(matches!(Trust::load(&none, false), Ok(Trust::System)));
    assert!(matches!(Trust::load(&none, true), Ok(Trust::Anyone)));
}
