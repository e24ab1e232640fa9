//! Keys and certificates of kinds that are not supported are refused in words.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::*;
use crate::tls::test_authority::Authority;

const P521_KEY: &str = include_str!("../fixtures/p521.key");
const P521_AUTHORITY: &str = include_str!("../fixtures/p521.pem");
const LEAF_KEY: &str = include_str!("../fixtures/leaf.key");
const LEAF_BY_P521: &str = include_str!("../fixtures/leaf_by_p521.pem");
const V1: &str = include_str!("../fixtures/v1.pem");

const SUPPORTED: &str =
    "supported are RSA of 2048 to 8192 bits, ECDSA on P-256 and P-384, and Ed25519";

/// A server with a certificate that [`Identity::load`] would not take; what a client that trusts `trusted` says of it.
async fn refusal_of(shown: &str, trusted: &str) -> String {
    let folder = Authority::new();
    let chain = vec![CertificateDer::from_pem_slice(shown.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(LEAF_KEY.as_bytes()).unwrap();
    let key = ring::default_provider().key_provider.load_private_key(key);
    let pair = Identity(Arc::new(CertifiedKey::new(chain, key.unwrap())));
    let acceptor = Acceptor::new(pair, ClientCertificate::NotAsked, MinVersion::Tls12);
    let trusted = authorities(&folder.write("trusted", trusted)).unwrap();
    let (_, client) = meet(&acceptor, &trusting(trusted, None), "127.0.0.1").await;
    client.unwrap_err()
}

#[test]
fn an_own_key_on_p521_is_refused_with_the_kinds_that_are_supported() {
    let folder = Authority::new();
    let cert = folder.write("p521.pem", P521_AUTHORITY);
    let key = folder.write("p521.key", P521_KEY);
    let why = format!("the private key is damaged or of a kind that is not supported; {SUPPORTED}");
    check_refused(&cert, &key, &format!("--tls-key={key}: {why}"));
}

#[test]
fn an_own_certificate_of_version_1_is_refused_in_words() {
    let folder = Authority::new();
    let cert = folder.write("v1.pem", V1);
    let key = folder.write("leaf.key", LEAF_KEY);
    let why =
        "it is an X.509 v1 certificate, and only v3 is supported: make it with a subjectAltName";
    check_refused(&cert, &key, &format!("--tls-cert={cert}: {why}"));
}

#[tokio::test]
async fn a_peers_certificate_of_version_1_is_refused_in_words() {
    let refusal = refusal_of(V1, V1).await;
    assert!(refusal.contains("X.509 v1 certificate"), "{refusal}");
}

#[tokio::test]
async fn a_certificate_signed_with_p521_is_refused_with_the_kinds_that_are_supported() {
    let refusal = refusal_of(LEAF_BY_P521, P521_AUTHORITY).await;
    assert!(
        refusal.contains("its key or its signature is of a kind that is not supported"),
        "{refusal}"
    );
    assert!(refusal.contains(SUPPORTED), "{refusal}");
}

#[tokio::test]
async fn an_authoritys_own_certificate_that_is_not_trusted_itself_is_refused_in_words() {
    let folder = Authority::new();
    let made = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    };
    let (params, key) = made("root");
    let root = CertifiedIssuer::self_signed(params, key).unwrap();
    let (params, key) = made("127.0.0.1");
    let intermediate = Issued {
        cert: folder.write(
            "intermediate",
            &params.signed_by(&key, &root).unwrap().pem(),
        ),
        key: folder.write("key", &key.serialize_pem()),
    };
    let pair = identity(&intermediate).unwrap().unwrap();
    let acceptor = Acceptor::new(pair, ClientCertificate::NotAsked, MinVersion::Tls12);
    let trusted = authorities(&folder.write("root", &root.pem())).unwrap();
    let (_, client) = meet(&acceptor, &trusting(trusted, None), "127.0.0.1").await;
    let refusal = client.unwrap_err();
    assert!(refusal.contains("CA:TRUE"), "{refusal}");
}
