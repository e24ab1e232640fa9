//! Handshakes that succeed, fail, and never end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use nsq_tests::{Nsqd, PATIENCE, RawClient};
use nsq_transport::tls::{Connector, MinVersion, Trust};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

use crate::certificates::{asking_for, client_with, connector, nsqd_with};
use crate::test_authority::Authority;

#[test]
fn without_a_certificate_there_is_no_tls_to_be_had() {
    let nsqd = Nsqd::start(&[]);
    let negotiated = nsqd.connect().negotiate(&asking_for(&["tls_v1"]), None);
    let (mut client, answer) = negotiated.unwrap();
    assert_eq!(answer["tls_v1"], false);
    client.publish("t", "in the clear");
}

#[test]
fn a_client_believes_only_its_authorities_unless_it_believes_anyone() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let nsqd = nsqd_with(&known, &[]);
    let trusting_others = connector(&unknown, None);
    let asked = asking_for(&["tls_v1"]);
    let refused = nsqd.connect().negotiate(&asked, Some(&trusting_others));
    assert!(refused.unwrap_err().contains("UnknownIssuer"));
    let anyone = Connector::new(Trust::Anyone, None, MinVersion::Tls12);
    client_with(&nsqd, &["tls_v1"], Some(&anyone)).publish("t", "hello");
}

#[test]
fn a_handshake_that_fails_is_answered_in_the_clear() {
    let authority = Authority::new();
    let nsqd = nsqd_with(&authority, &[]);
    let mut client = nsqd.connect();
    client.identify(&asking_for(&["tls_v1"]));
    client.send(b"NOP\nNOP\n");
    let line = nsqd
        .log()
        .wait_for("E_IDENTIFY_FAILED IDENTIFY failed ", PATIENCE);
    assert!(line.is_some(), "{}", nsqd.log().tail());
}

#[test]
fn who_never_shakes_hands_is_let_go_and_holds_up_nobody() {
    let authority = Authority::new();
    let mut nsqd = nsqd_with(&authority, &[]);
    let connector = connector(&authority, None);
    let halfway = |bytes: &[u8]| {
        let mut client = nsqd.connect();
        client.identify(&asking_for(&["tls_v1"]));
        client.send(bytes);
        client
    };
    // As many as would fill every worker, were they to block one.
    let mut silent: Vec<RawClient> = (0..8).map(|_| halfway(b"")).collect();
    silent.extend((0..8).map(|_| halfway(b"\x16\x03\x01")));
    client_with(&nsqd, &["tls_v1"], Some(&connector)).publish("t", "hello");
    for client in &mut silent {
        client.expect_closed();
    }
    let _silent = halfway(b"\x16");
    let started = std::time::Instant::now();
    assert!(nsqd.terminate().success());
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

/// What a client that speaks only this version gets from HTTPS.
fn ping_with(
    nsqd: &Nsqd,
    authority: &Authority,
    only: &'static SupportedProtocolVersion,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.file());
    let added = roots.add(root.expect("it was made a moment ago"));
    added.expect("it is an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[only])
        .expect("ring speaks it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("it is an address");
    let connection = ClientConnection::new(Arc::new(config), name);
    let connection = connection.expect("the settings are good");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(nsqd.https())?);
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_oldest_version_is_kept_to_and_one_that_is_not_spoken_is_raised() {
    let authority = Authority::new();
    for (flag, takes_12, is_raised) in [
        (None, true, false),
        (Some("--tls-min-version=tls1.0"), true, true),
        (Some("--tls-min-version=tls1.1"), true, true),
        (Some("--tls-min-version=tls1.2"), true, false),
        (Some("--tls-min-version=tls1.3"), false, false),
    ] {
        let nsqd = nsqd_with(&authority, flag.as_slice());
        let new = ping_with(&nsqd, &authority, &version::TLS13);
        assert!(new.unwrap().ends_with("OK"), "{flag:?}");
        let old = ping_with(&nsqd, &authority, &version::TLS12);
        assert_eq!(old.is_ok(), takes_12, "{flag:?}: {old:?}");
        let says_so = nsqd.log().text().contains("the oldest is TLS 1.2");
        assert_eq!(says_so, is_raised, "{flag:?}");
    }
}
