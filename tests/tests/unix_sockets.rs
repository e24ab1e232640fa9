//! nsqd on unix sockets. go-nsq, pynsq and nsqjs connect by TCP alone, so these are bytes of our own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nsq_tests::{Lookupd, Nsqd, PATIENCE, RawClient, Start};
use serde_json::Value;
use tempfile::TempDir;

/// A folder for sockets.
struct Sockets(TempDir);

impl Sockets {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An nsqd with its TCP address here, and these flags.
    fn nsqd(&self, flags: &[&str]) -> Nsqd {
        let tcp = self.flag("tcp");
        Nsqd::start(&[&[tcp.as_str()], flags].concat())
    }

    fn flag(&self, name: &str) -> String {
        format!("--{name}-address={}", self.path(name).display())
    }
}

/// `GET path` over the socket; status line and body.
fn get(socket: &Path, path: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    let line = head.lines().next().unwrap_or_default();
    (line.to_owned(), body.to_owned())
}

#[test]
fn clients_publish_and_consume() {
    let sockets = Sockets::new();
    let nsqd = sockets.nsqd(&[]);
    let tcp = sockets.path("tcp");
    let mut producer = RawClient::connect_unix(&tcp);
    producer.publish("t", "x");
    let mut consumer = RawClient::connect_unix(&tcp);
    consumer.subscribe("t", "c");
    consumer.send_line("RDY 1");
    let message = consumer.expect_body("x");
    consumer.finish(&message);
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0), ("depth", 0)]);

    let client = &nsqd.channel("t", "c")["clients"][0];
    assert_eq!(client["remote_address"], "@");
    assert_eq!(
        (&client["client_id"], &client["hostname"]),
        (&"".into(), &"".into())
    );
    let info = nsqd.get("/info").json();
    assert_eq!(
        (&info["tcp_port"], &info["http_port"]),
        (&(-1).into(), &nsqd.http().port().into())
    );
    for line in [
        format!("TCP: listening on {}", tcp.display()),
        "TCP: new client(@)".to_owned(),
    ] {
        assert!(
            nsqd.log().wait_for(&line, PATIENCE).is_some(),
            "no {line:?}"
        );
    }
}

#[test]
fn http_is_answered() {
    let sockets = Sockets::new();
    let nsqd = sockets.nsqd(&[&sockets.flag("http")]);
    let http = sockets.path("http");
    assert_eq!(
        get(&http, "/ping"),
        ("HTTP/1.1 200 OK".to_owned(), "OK".to_owned())
    );
    let info: Value = serde_json::from_str(&get(&http, "/info").1).expect("it is JSON");
    assert_eq!(
        (&info["tcp_port"], &info["http_port"]),
        (&(-1).into(), &(-1).into())
    );
    let line = nsqd.log().wait_for("200 GET /ping (@)", PATIENCE);
    assert!(line.is_some());
}

#[test]
fn the_files_go_with_a_termination_and_are_replaced_after_a_kill() {
    let sockets = Sockets::new();
    let http = sockets.flag("http");
    let mut nsqd = sockets.nsqd(&[&http]);
    let files = [sockets.path("tcp"), sockets.path("http")];
    RawClient::connect_unix(&files[0]).publish("t", "x");
    nsqd.kill9();
    assert!(files.iter().all(|file| file.exists()));
    nsqd.start_again();
    let stats = get(&files[1], "/stats?format=json").1;
    assert!(stats.contains("\"depth\":1"), "{stats}");
    let mut client = RawClient::connect_unix(&files[0]);
    client.publish("t", "y");
    assert!(nsqd.terminate().success());
    client.expect_closed();
    assert!(!files.iter().any(|file| file.exists()));
}

#[test]
fn a_path_that_cannot_be_had_stops_the_start() {
    let sockets = Sockets::new();
    let _first = sockets.nsqd(&[]);
    let path = sockets.path("tcp");
    let path = path.display();
    let mut second = Start::with(&[&sockets.flag("tcp")]).later();
    let (status, log) = second.start_in_vain();
    assert!(!status.success());
    let why = format!("listen ({path}) failed - listen unix {path}: bind: address already in use");
    assert!(log.contains(&why), "{log}");
    // And the first one still has it.
    RawClient::connect_unix(&sockets.path("tcp")).publish("t", "x");
}

#[test]
fn nsqlookupd_takes_it_with_ports_of_its_own_alone() {
    let lookupd = Lookupd::start();
    let sockets = Sockets::new();
    let tcp = sockets.flag("tcp");
    let without = Start::with(&[&tcp])
        .registering_with(&[lookupd.tcp()])
        .now();
    let line = without
        .log()
        .wait_for("--broadcast-tcp-port must be given", PATIENCE);
    assert!(line.is_some());
    drop(without);

    let flags = [&tcp, "--broadcast-tcp-port=7"];
    let with = Start::with(&flags).registering_with(&[lookupd.tcp()]).now();
    with.order("/topic/create?topic=t");
    lookupd.wait_for_producers("t", &[([127, 0, 0, 1], 7).into()]);
}

#[test]
fn addresses_of_ipv6_are_no_paths() {
    let nsqd = Nsqd::start(&["--tcp-address=[::1]:0", "--http-address=[::1]:0"]);
    assert!(nsqd.tcp().is_ipv6());
    let mut client = nsqd.subscribe("t", "c", 1);
    client.publish("t", "x");
    client.expect_body("x");
    let shown = &nsqd.channel("t", "c")["clients"][0];
    assert_eq!(shown["hostname"], "::1");
}
