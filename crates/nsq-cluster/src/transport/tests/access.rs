//! Who is let in, and what the others are told.

use std::sync::atomic::Ordering;

use nsq_transport::tls::{
    Acceptor, Authorities, ClientCertificate, Connector, Identity, MinVersion, PemFile, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::proxy::Proxy;
use super::*;
use crate::transport::RECOVERED;

/// A cluster's authority, with the files it has written.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, flag: &'static str, text: &str) -> PemFile {
        let path = self.folder.path().join(flag);
        std::fs::write(&path, text).unwrap();
        PemFile::new(flag, path.to_str().unwrap())
    }

    /// As a node of its cluster has it.
    fn security(&self) -> Security {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let cert = self.file("cluster-tls-cert", &certificate.pem());
        let key = self.file("cluster-tls-key", &key.serialize_pem());
        let root = self.file("cluster-tls-root-ca-file", &self.issuer.pem());
        let identity = || Identity::load(&cert, &key).unwrap().unwrap();
        let authorities = || Authorities::load(&root).unwrap();
        let clients = ClientCertificate::Verified(authorities());
        let trust = Trust::Authorities(authorities());
        Security::MutualTls {
            acceptor: Acceptor::new(identity(), clients, MinVersion::Tls13),
            connector: Connector::new(trust, Some(identity()), MinVersion::Tls13),
        }
    }
}

#[tokio::test]
async fn nodes_with_certificates_of_one_authority_reach_each_other_and_others_do_not() {
    let ours = Authority::new("ours");
    let (one, two) = (
        start(ours.security(), Some(1)),
        start(ours.security(), Some(2)),
    );
    let to = member(&two);
    let large = vec![b'x'; 3 << 20];
    for body in [&b"hello"[..], &large] {
        assert_eq!(ask(&one, (2, &to), body).await, Ok(echo(1, body)));
    }
    let other = start(Authority::new("theirs").security(), Some(3));
    check_refused(ask(&other, (2, &to), b"x").await, "TLS");
    // One side only.
    let open = start(Security::Loopback, Some(4));
    check_refused(ask(&open, (2, &to), b"x").await, "--cluster-tls-cert");
    check_refused(ask(&one, (4, &member(&open)), b"x").await, "TLS");
    assert_eq!(ask(&one, (2, &to), b"y").await, Ok(echo(1, b"y")));
}

#[tokio::test]
async fn a_changed_byte_breaks_the_connection_and_is_never_handled() {
    let security = secret("a secret of enough bytes");
    let handler = Arc::new(Counting::default());
    let two = start_with(
        security.clone(),
        Some(2),
        TransportLimits::default(),
        handler.clone(),
    );
    let one = start(security, Some(1));
    // In the body of the first request: after hello and proof, which have 110 bytes.
    let proxy = Proxy::start(two.address(), Some(150)).await;
    let to = Member {
        address: proxy.address.to_string(),
    };
    let outcome = ask(&one, (2, &to), &[b'x'; 200]).await;
    assert!(
        matches!(outcome, Err(CallError::Unreachable(_))),
        "{outcome:?}"
    );
    assert_eq!(handler.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_caller_of_an_unknown_version_is_told_which_versions_there_are() {
    let node = start(Security::Loopback, Some(2));
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let mut hello = b"nsqclust\x08\x09".to_vec();
    hello.extend_from_slice(&100u16.to_le_bytes());
    hello.extend_from_slice(&[1; 100]);
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("versions 8 to 9"), "{answer}");
    assert!(answer.contains("only version 1"), "{answer}");
}

#[tokio::test]
async fn connections_that_do_not_shake_hands_are_few_and_end_soon() {
    let limits = TransportLimits {
        max_handshakes: 2,
        handshake_timeout: Duration::from_millis(300),
        ..TransportLimits::default()
    };
    let node = start_limited(Security::Loopback, Some(2), limits);
    let connect = || TcpStream::connect(node.address());
    let mut silent = [connect().await.unwrap(), connect().await.unwrap()];
    let begun = std::time::Instant::now();
    let mut third = connect().await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_millis(300), "it waited");
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    let one = start(Security::Loopback, Some(1));
    assert_eq!(
        ask(&one, (2, &member(&node)), b"x").await,
        Ok(echo(1, b"x"))
    );
}

#[tokio::test]
async fn a_short_secret_is_no_secret() {
    let options = TransportOptions {
        listen: loopback(),
        security: secret("fifteen bytes.."),
        handler: Arc::new(Echo),
        former: Vec::new(),
        limits: TransportLimits::default(),
    };
    let error = Transport::start(options).unwrap_err().to_string();
    assert!(error.contains("--cluster-secret-file"), "{error}");
}

#[tokio::test]
async fn a_node_that_becomes_a_member_takes_its_connections_along() {
    let (member_of, joining) = (
        start(Security::Loopback, Some(1)),
        start(Security::Loopback, None),
    );
    let to = member(&joining);
    assert_eq!(ask(&member_of, (0, &to), b"x").await, Ok(echo(0, b"x")));
    // An answer that is under way is not lost on either side.
    let back = member(&member_of);
    let under_way = tokio::join!(
        ask(&member_of, (0, &to), b"slow"),
        ask(&joining, (0, &back), b"slow"),
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            joining.introduce(ClusterId(7), NodeId(2));
        }
    );
    assert_eq!(under_way.0, Ok(echo(0, b"slow")));
    assert_eq!(under_way.1, Ok(echo(0, b"slow")));
    assert_eq!(ask(&member_of, (0, &to), b"x").await, Ok(echo(1, b"x")));
    assert_eq!(ask(&joining, (1, &back), b"x").await, Ok(echo(2, b"x")));
}

#[tokio::test]
async fn a_node_of_a_cluster_that_was_recovered_without_it_is_told_so() {
    let options = TransportOptions {
        listen: loopback(),
        security: Security::Loopback,
        handler: Arc::new(Echo),
        former: vec![ClusterId(7)],
        limits: TransportLimits::default(),
    };
    let recovered = Transport::start(options).unwrap();
    recovered.introduce(ClusterId(8), NodeId(2));
    let left_behind = start(Security::Loopback, Some(1));
    let to = member(&recovered);
    check_refused(ask(&left_behind, (2, &to), b"x").await, RECOVERED);
    left_behind.introduce(ClusterId(9), NodeId(1));
    let stranger = ask(&left_behind, (2, &to), b"x").await;
    check_refused(stranger, "is --cluster-peer right?");
}
