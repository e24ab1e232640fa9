//! nsqds and an nsqlookupd that speak TLS, or should.

#[path = "../../nsq-transport/src/tls/test_authority.rs"]
mod test_authority;

use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsq_transport::tls::{
    Acceptor, Authorities, ClientCertificate, Connector, Identity, MinVersion, PemFile, Trust,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::test_authority::Authority;
use crate::Admission;
use crate::peer::{Announcement, Catalog, LookupHandle, Settings};
use crate::tests::{Running, client};

/// What an nsqd with one topic has.
struct OneTopic;

impl Catalog for OneTopic {
    fn registrations(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        vec![(TopicName::parse("t").unwrap(), Vec::new())]
    }

    fn has(&self, _: &TopicName, _: Option<&ChannelName>) -> bool {
        true
    }
}

/// An nsqd at `name` that registers there.
fn nsqd(name: &str, running: &Running, tls: Option<Connector>) -> LookupHandle {
    let settings = Settings {
        announcement: Announcement {
            broadcast_address: name.into(),
            hostname: name.into(),
            http_port: 4151,
            tcp_port: 4150,
            topology_region: String::new(),
            topology_zone: String::new(),
            version: "1.3.0",
        },
        max_answer_bytes: 1024,
        tls,
        discovery: client(Duration::from_secs(20)),
    };
    LookupHandle::start(settings, OneTopic, &[running.tcp.to_string()])
}

fn identity(authority: &Authority, host: &str) -> Identity {
    let files = authority.issue(host);
    let cert = PemFile::new("cert", &files.cert);
    let key = PemFile::new("key", &files.key);
    Identity::load(&cert, &key).unwrap().unwrap()
}

fn authorities(authority: &Authority) -> Authorities {
    Authorities::load(&PemFile::new("ca", &authority.file())).unwrap()
}

fn acceptor(authority: &Authority) -> Acceptor {
    let clients = ClientCertificate::NotAsked;
    Acceptor::new(identity(authority, "127.0.0.1"), clients, MinVersion::Tls12)
}

fn connector(authority: &Authority, shown: Option<Identity>) -> Connector {
    let trust = Trust::Authorities(authorities(authority));
    Connector::new(trust, shown, MinVersion::Tls12)
}

/// The names of the nsqds that have registered the topic.
fn producers(running: &Running) -> Vec<String> {
    let registry = running.lookupd.registry();
    let found = registry.lookup("t", std::time::Instant::now());
    let producers = found.iter().flat_map(|found| &found.producers);
    let mut names: Vec<String> = producers
        .map(|producer| producer.broadcast_address.clone())
        .collect();
    names.sort();
    names
}

/// Waits until exactly these have registered the topic.
async fn until_there(running: &Running, names: &[&str]) {
    while producers(running) != names {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tls_and_plain_live_side_by_side_where_either_is_welcome() {
    let authority = Authority::new();
    let running = Running::start_with(Admission::Either(acceptor(&authority))).await;
    let connector = connector(&authority, None);
    let _encrypted = nsqd("encrypted", &running, Some(connector));
    let plain = nsqd("plain", &running, None);
    until_there(&running, &["encrypted", "plain"]).await;
    drop(plain);
    until_there(&running, &["encrypted"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_lost_tls_connection_takes_the_nsqd_out() {
    let authority = Authority::new();
    let running = Running::start_with(Admission::TlsOnly(acceptor(&authority))).await;
    let connector = connector(&authority, None);
    let first = nsqd("first", &running, Some(connector.clone()));
    let _second = nsqd("second", &running, Some(connector));
    until_there(&running, &["first", "second"]).await;
    drop(first);
    until_there(&running, &["second"]).await;
}

#[tokio::test]
async fn plain_is_closed_unheard_where_tls_is_required() {
    let authority = Authority::new();
    let running = Running::start_with(Admission::TlsOnly(acceptor(&authority))).await;
    let mut plain = TcpStream::connect(running.tcp).await.unwrap();
    plain.write_all(b"  V1PING\n").await.unwrap();
    // The end, or a reset for what was left unread; no answer.
    assert!(!matches!(plain.read(&mut [0]).await, Ok(1..)));
}

#[tokio::test]
async fn who_is_silent_or_talks_garbage_holds_up_nobody() {
    let authority = Authority::new();
    for admission in [Admission::Either, Admission::TlsOnly] {
        let running = Running::start_with(admission(acceptor(&authority))).await;
        let _silent = TcpStream::connect(running.tcp).await.unwrap();
        let mut halfway = TcpStream::connect(running.tcp).await.unwrap();
        halfway.write_all(&[0x16, 3, 1]).await.unwrap();
        let mut garbage = TcpStream::connect(running.tcp).await.unwrap();
        garbage.write_all(&[0x16; 512]).await.unwrap();
        let mut alert = Vec::new();
        // To its end: an alert of two bytes under a header of five, and nothing after it.
        garbage.read_to_end(&mut alert).await.unwrap();
        assert_eq!((alert.len(), alert[0]), (7, 0x15));

        let connector = connector(&authority, None);
        let _nsqd = nsqd("n", &running, Some(connector));
        until_there(&running, &["n"]).await;
        // Not even the end.
        running.stop().await;
    }
}

#[tokio::test]
async fn a_client_certificate_is_demanded_and_verified() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let server = identity(&known, "127.0.0.1");
    let acceptor = Acceptor::new(
        server,
        ClientCertificate::Verified(authorities(&known)),
        MinVersion::Tls12,
    );
    let running = Running::start_with(Admission::TlsOnly(acceptor)).await;
    let showing = |shown| Some(connector(&known, shown));
    let _without = nsqd("without", &running, showing(None));
    let _foreign = nsqd("foreign", &running, showing(Some(identity(&unknown, "n"))));
    let _mistrusting = nsqd("mistrusting", &running, Some(connector(&unknown, None)));
    let _good = nsqd("good", &running, showing(Some(identity(&known, "n"))));
    // The others began earlier; that they are refused for good, and why, the handshake's own tests say.
    until_there(&running, &["good"]).await;
}
