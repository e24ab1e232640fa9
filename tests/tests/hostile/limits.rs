//! Every limit: below it nothing changes; above it the client gets an error that names the limit, and it is counted.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use nsq_tests::{Admin, Daemon, Exposition, Lookupd, Nsqd, PATIENCE, RawClient, Start, wait_until};
use rustix::process::Signal;

use crate::sockets::{all_that_is_said, connect_from};

/// Waits until the daemon has refused so many because of this limit.
#[track_caller]
fn wait_for_refusals(daemon: &Daemon, program: &str, limit: &str, count: f64) {
    let sample = format!("{program}_refusals_total{{limit=\"{limit}\"}}");
    wait_until(&format!("{sample} is {count}"), PATIENCE, || {
        let metrics = daemon.try_request("GET", "/metrics", b"");
        metrics.is_ok_and(|reply| {
            reply.status == 200 && (Exposition::of(&reply).value(&sample) - count).abs() < 0.5
        })
    });
}

#[test]
fn nsqd_lets_so_many_connections_in_and_tells_the_others() {
    let nsqd = Nsqd::start(&["--max-connections=2"]);
    let (mut first, _second) = (nsqd.connect(), nsqd.connect());
    first.publish("t", "a");
    let mut third = RawClient::connect_silently(nsqd.tcp());
    third.expect_error(
        "E_TOO_MANY_CONNECTIONS no more than 2 connections at a time (--max-connections)",
    );
    third.expect_closed();
    wait_for_refusals(&nsqd, "nsqd", "max-connections", 1.0);
    nsqd.wait_for_line("refused client(127.0.0.1:");
    // Who is in stays in; who goes makes room.
    first.publish("t", "b");
    drop(first);
    wait_until("there is room again", PATIENCE, || {
        let mut client = nsqd.connect();
        let published = client.try_send(&RawClient::command("PUB t", b"c"));
        published.is_ok()
            && client.next_frame(PATIENCE) == Ok(nsq_tests::Frame::Response("OK".into()))
    });
}

#[test]
fn an_address_has_its_share_of_nsqd_by_tcp_and_by_http() {
    let nsqd = Nsqd::start(&["--max-connections-per-address=1"]);
    let _first = nsqd.connect();
    let mut second = RawClient::connect_silently(nsqd.tcp());
    second.expect_error(
        "E_TOO_MANY_CONNECTIONS no more than 1 connections at a time from one address (--max-connections-per-address)",
    );
    // Another address is another's affair.
    let socket = socket_from("127.0.0.2", nsqd.tcp());
    drop(socket);

    let idle = TcpStream::connect(nsqd.http()).expect("it listens");
    wait_until("another HTTP connection is refused", PATIENCE, || {
        let reply = nsqd.try_request("GET", "/ping", b"");
        reply.is_ok_and(|reply| {
            reply.status == 429 && reply.text().contains("--max-connections-per-address")
        })
    });
    drop(idle);
    wait_until("HTTP is served again", PATIENCE, || {
        nsqd.try_request("GET", "/ping", b"")
            .is_ok_and(|reply| reply.status == 200)
    });
}

/// A connection from another loopback address that is served: it publishes.
fn socket_from(source: &str, to: SocketAddr) -> TcpStream {
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    let mut stream = connect_from(source, to);
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it can be set");
    stream
        .write_all(&[b"  V2".as_slice(), &RawClient::command("PUB t", b"x")].concat())
        .expect("the socket takes it");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).expect("it is answered");
    assert_eq!(&answer, b"\0\0\0\x06\0\0\0\0OK");
    stream
}

#[test]
fn http_connections_have_a_limit_of_their_own() {
    let nsqd = Nsqd::start(&["--max-http-connections=2"]);
    let idle = [(); 2].map(|()| TcpStream::connect(nsqd.http()).expect("it listens"));
    wait_until("the next one is refused", PATIENCE, || {
        let reply = nsqd.try_request("GET", "/ping", b"");
        reply.is_ok_and(|reply| {
            reply.status == 503
                && reply.json()["message"]
                    == "TOO_MANY_CONNECTIONS: no more than 2 connections at a time (--max-http-connections)"
        })
    });
    nsqd.connect().publish("t", "by TCP all the same");
    drop(idle);
    wait_until("there is room again", PATIENCE, || {
        nsqd.try_request("GET", "/ping", b"")
            .is_ok_and(|reply| reply.status == 200)
    });
}

#[test]
fn topics_and_channels_have_a_limit_that_a_reload_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nsqd.cfg");
    fs::write(&path, "max_topics = 2\nmax_channels = 1\n").expect("it can be written");
    let config = format!("--config={}", path.display());
    let mut nsqd = Start::with(&[&config]).now();
    nsqd.connect().publish("a", "x");
    nsqd.order("/topic/create?topic=b");
    nsqd.order("/channel/create?topic=b&channel=c");

    let why = "no more than 2 topics (--max-topics)";
    let mut client = nsqd.connect();
    client.send_with_body("PUB third", b"x");
    client.expect_error(&format!("E_PUB_FAILED PUB failed {why}"));
    let mut client = nsqd.connect();
    client.send_line("SUB third c");
    client.expect_error(&format!("E_SUB_FAILED SUB failed {why}"));
    for (method, target) in [
        ("POST", "/topic/create?topic=third"),
        ("POST", "/pub?topic=third"),
    ] {
        let reply = nsqd.request(method, target, b"x");
        assert_eq!(
            (reply.status, reply.json()["message"].clone()),
            (429, format!("LIMIT_REACHED: {why}").into())
        );
    }
    let why = "no more than 1 channels of a topic (--max-channels)";
    let mut client = nsqd.connect();
    client.send_line("SUB b second");
    client.expect_error(&format!("E_SUB_FAILED SUB failed {why}"));
    let reply = nsqd.post("/channel/create?topic=b&channel=second", b"");
    assert_eq!(
        (reply.status, reply.json()["message"].clone()),
        (429, format!("LIMIT_REACHED: {why}").into())
    );
    wait_for_refusals(&nsqd, "nsqd", "max-topics", 4.0);
    wait_for_refusals(&nsqd, "nsqd", "max-channels", 2.0);
    // What is there is served as usual.
    nsqd.subscribe("b", "c", 1);
    nsqd.connect().publish("a", "y");

    // What is there already is never too much at a start.
    fs::write(&path, "max_topics = 1\nmax_channels = 1\n").expect("it can be written");
    nsqd.terminate();
    nsqd.start_again();
    assert_eq!(nsqd.topic("a")["depth"], 2);

    fs::write(&path, "max_topics = 3\nmax_channels = 0\n").expect("it can be written");
    nsqd.notify(Signal::HUP);
    nsqd.wait_for_line("SIGHUP: --max-topics is 3 now");
    nsqd.wait_for_line("SIGHUP: --max-channels is 0 now");
    nsqd.connect().publish("third", "x");
    nsqd.subscribe("b", "second", 1);
}

#[test]
fn who_says_nothing_is_told_to_and_closed() {
    let nsqd = Nsqd::start(&["--first-command-timeout=200ms"]);
    let why = "no command within 200ms (--first-command-timeout)";
    let mut talker = nsqd.connect();
    talker.send_line("NOP");
    for beginning in [b"".as_slice(), b"  V2", b"  V2IDENTIFY\n\0\0\0\x7f{"] {
        let said = all_that_is_said(nsqd.tcp(), beginning);
        assert!(
            said.contains(&format!("E_TIMEOUT {why}")),
            "{beginning:?}: {said}"
        );
    }
    wait_for_refusals(&nsqd, "nsqd", "first-command-timeout", 3.0);
    talker.publish("t", "who has spoken once may be silent");

    let lookupd = Lookupd::start_with(&["--first-command-timeout=200ms"]);
    for beginning in [b"".as_slice(), b"  V1", b"  V1IDENTIFY\n\0\0\0\x7f{"] {
        let said = all_that_is_said(lookupd.tcp(), beginning);
        assert!(
            said.contains(&format!("E_TIMEOUT {why}")),
            "{beginning:?}: {said}"
        );
    }
    wait_for_refusals(&lookupd, "nsqlookupd", "first-command-timeout", 3.0);
}

#[test]
fn a_slow_or_large_head_or_body_is_told_its_limit_by_every_daemon() {
    let flags = [
        "--http-header-timeout=200ms",
        "--http-body-timeout=200ms",
        "--http-max-header-bytes=8192",
        "--http-max-headers=20",
    ];
    let nsqd = Nsqd::start(&flags);
    let lookupd = Lookupd::start_with(&flags);
    let admin = Admin::of_nsqds(&[&nsqd], &flags);
    let daemons: [(&Daemon, &str, &str); 3] = [
        (&nsqd, "nsqd", "/topic/create?topic=t"),
        (&lookupd, "nsqlookupd", "/topic/create?topic=t"),
        (&admin, "nsqadmin", "/api/topics"),
    ];
    for (daemon, program, path) in daemons {
        let large = format!(
            "GET /ping HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
            "x".repeat(9000)
        );
        let many = format!(
            "GET /ping HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: b\r\n".repeat(30)
        );
        let body = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx");
        for (request, status, flag) in [
            ("GET /ping HT", 408, "(--http-header-timeout)"),
            (&large, 431, "(--http-max-header-bytes)"),
            (&many, 431, "(--http-max-headers)"),
            (&body, 408, "(--http-body-timeout)"),
        ] {
            let said = all_that_is_said(daemon.http(), request.as_bytes());
            assert!(
                said.starts_with(&format!("HTTP/1.1 {status} ")),
                "{program}: {said}"
            );
            assert!(
                said.contains("{\"message\":\"") && said.contains(flag),
                "{program}: {said}"
            );
        }
        wait_for_refusals(daemon, program, "http-header-timeout", 1.0);
        wait_for_refusals(daemon, program, "http-max-header-bytes", 2.0);
        wait_for_refusals(daemon, program, "http-body-timeout", 1.0);
    }
}

#[test]
fn nsqlookupd_has_limits_of_connections_and_registrations() {
    let lookupd =
        Lookupd::start_with(&["--max-connections=1", "--max-topics=2", "--max-channels=1"]);
    let mut node = TcpStream::connect(lookupd.tcp()).expect("it listens");
    let identity = br#"{"broadcast_address":"h","http_port":2,"tcp_port":1,"version":"v"}"#;
    let identify = RawClient::command("IDENTIFY", identity);
    node.write_all(&[b"  V1".as_slice(), &identify].concat())
        .expect("it takes it");
    wait_until("the node is there", PATIENCE, || lookupd.nodes().len() == 1);

    let said = all_that_is_said(lookupd.tcp(), b"");
    assert!(
        said.ends_with(
            "E_TOO_MANY_CONNECTIONS no more than 1 connections at a time (--max-connections)"
        ),
        "{said}"
    );

    node.write_all(b"REGISTER a c\nREGISTER b\nREGISTER a c\nREGISTER b c\nREGISTER b d\n")
        .expect("it takes it");
    node.set_read_timeout(Some(PATIENCE))
        .expect("it can be set");
    let mut said = Vec::new();
    node.read_to_end(&mut said).expect("it is closed");
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.ends_with(
            "E_LIMIT_REACHED REGISTER failed no more than 1 channels of a topic (--max-channels)"
        ),
        "{said}"
    );
    assert_eq!(said.matches("OK").count(), 4, "{said}");
    let reply = lookupd.post("/topic/create?topic=third", b"");
    assert_eq!(reply.status, 429);
    assert_eq!(
        reply.json()["message"],
        "LIMIT_REACHED: no more than 2 topics (--max-topics)"
    );
    assert_eq!(
        lookupd
            .post("/channel/create?topic=a&channel=d", b"")
            .status,
        429
    );
    lookupd.order("/channel/create?topic=a&channel=c");
    lookupd.order("/topic/create?topic=b");
}

#[test]
fn without_file_handles_clients_are_refused_but_operators_and_logs_are_not() {
    let limit = ["prlimit", "--nofile=120:120"];
    let nsqd = Start::with(&[]).through(&limit).now();
    let mut good = nsqd.connect();
    good.publish("t", "before");
    let mut inside = Vec::new();
    let refused = loop {
        let mut client = nsqd.connect();
        if let Err(error) = client.try_send(&RawClient::command("PUB t", b"x")) {
            break error.to_string();
        }
        match client.next_frame(PATIENCE) {
            Ok(nsq_tests::Frame::Response(text)) if text == "OK" => inside.push(client),
            Ok(nsq_tests::Frame::Error(text)) => break text,
            other => panic!("{other:?}"),
        }
        assert!(inside.len() < 200, "nobody is refused");
    };
    assert!(
        refused.contains("E_TOO_MANY_CONNECTIONS too few file handles are left")
            || !refused.starts_with("E_"),
        "{refused}"
    );
    wait_until("they are counted", PATIENCE, || {
        let metrics = Exposition::of(&nsqd.get("/metrics"));
        metrics.value("nsqd_refusals_total{limit=\"open-files\"}") > 0.5
    });
    // New topics take handles: some are left for them, not all of them, and none of that is a connection's.
    nsqd.order("/topic/create?topic=another");
    good.publish("t", "after");
    assert_eq!(nsqd.get("/ping").text(), "OK");
    drop(inside);
    wait_until("clients come in again", PATIENCE, || {
        let mut client = nsqd.connect();
        client.try_send(&RawClient::command("PUB t", b"x")).is_ok()
            && client.next_frame(PATIENCE) == Ok(nsq_tests::Frame::Response("OK".into()))
    });
}
