//! What every endpoint has in common: routes, headers, and bytes that are no HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use nsq_tests::{Admin, Lookupd, Nsqd, PATIENCE, RawClient, ReadEnd};

/// Sends bytes as they are, and returns all bytes until the other side closes.
fn exchange(nsqd: &Nsqd, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(nsqd.http()).expect("nsqd listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream.write_all(bytes).expect("the connection is open");
    let mut answer = vec![];
    stream
        .read_to_end(&mut answer)
        .expect("the other side closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn ping_is_ok_and_nothing_else() {
    let nsqd = Nsqd::start(&[]);
    let reply = nsqd.get("/ping");
    assert_eq!((reply.status, reply.text().as_str()), (200, "OK"));
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.header("x-nsq-content-type"), None);
}

#[test]
fn answers_say_what_they_are() {
    let nsqd = Nsqd::start(&[]);
    let nothing = nsqd.post("/topic/create?topic=t", b"");
    assert_eq!((nothing.status, nothing.text().as_str()), (200, ""));
    assert_eq!(nothing.header("content-type"), None);
    assert_eq!(nothing.header("content-length"), Some("0"));

    let text = nsqd.post("/pub?topic=t", b"x");
    assert_eq!((text.status, text.text().as_str()), (200, "OK"));
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );

    let json = nsqd.get("/info");
    assert_eq!(json.status, 200);
    assert_eq!(
        json.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert!(
        json.text().ends_with('}'),
        "a newline after {:?}",
        json.text()
    );

    let error = nsqd.get("/config/nothing");
    assert_eq!(
        (error.status, error.text().as_str()),
        (400, r#"{"message":"INVALID_OPTION"}"#)
    );
    assert_eq!(
        error.header("content-type"),
        Some("application/json; charset=utf-8")
    );

    for reply in [nothing, text, json, error] {
        assert_eq!(reply.header("x-nsq-content-type"), Some("nsq; version=1.0"));
    }
}

#[test]
fn unknown_paths_and_wrong_methods_are_told_apart() {
    let nsqd = Nsqd::start(&[]);
    for path in ["/", "/nothing", "/create_topic", "/topic", "/config"] {
        let reply = nsqd.get(path);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (404, r#"{"message":"NOT_FOUND"}"#),
            "GET {path}"
        );
    }
    for (method, path, allowed) in [
        ("POST", "/stats", "GET, OPTIONS"),
        ("HEAD", "/ping", "GET, OPTIONS"),
        ("GET", "/pub?topic=t", "OPTIONS, POST"),
        ("GET", "/topic/create?topic=t", "OPTIONS, POST"),
        ("DELETE", "/channel/delete", "OPTIONS, POST"),
        ("POST", "/config/log_level", "GET, OPTIONS, PUT"),
    ] {
        let reply = nsqd.request(method, path, b"");
        assert_eq!(reply.status, 405, "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allowed), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(reply.text(), r#"{"message":"METHOD_NOT_ALLOWED"}"#);
        }
    }
    let options = nsqd.request("OPTIONS", "/stats", b"");
    assert_eq!(
        (options.status, options.header("allow")),
        (200, Some("GET, OPTIONS"))
    );
    assert_eq!(options.text(), "");
}

#[test]
fn an_nsqd_that_is_no_node_of_a_cluster_says_so() {
    let nsqd = Nsqd::start(&[]);
    let text = r#"{"message":"NOT_CLUSTERED: this nsqd was started without --cluster-peer"}"#;
    for (method, path) in [("GET", "/cluster"), ("POST", "/cluster/remove?node=1")] {
        let reply = nsqd.request(method, path, b"");
        assert_eq!((reply.status, reply.text().as_str()), (404, text));
    }
    let reply = nsqd.get("/metrics");
    assert!(!reply.text().contains("nsqd_cluster_"));
}

#[test]
fn nearly_right_paths_are_redirected() {
    let nsqd = Nsqd::start(&[]);
    for (method, path, status, location) in [
        ("GET", "/ping/", 301, "/ping"),
        ("GET", "/PING", 301, "/ping"),
        ("GET", "//ping", 301, "/ping"),
        ("GET", "/a/../ping", 301, "/ping"),
        ("GET", "/stats/?format=json", 301, "/stats?format=json"),
        ("POST", "/pub/?topic=t", 307, "/pub?topic=t"),
    ] {
        let reply = nsqd.request(method, path, b"");
        assert_eq!(
            (reply.status, reply.header("location")),
            (status, Some(location)),
            "{method} {path}"
        );
    }
}

#[test]
fn what_is_no_http_is_told_so() {
    let nsqd = Nsqd::start(&[]);
    // A client that dials this port by mistake reads these four bytes as a frame's size.
    let mistaken = RawClient::command("  V2IDENTIFY", b"{}");
    for garbage in [
        mistaken.as_slice(),
        b"  V2\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        let answer = exchange(&nsqd, garbage);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{garbage:?} was answered by {answer:?}"
        );
    }
}

#[test]
fn connections_are_kept_and_requests_may_be_pipelined() {
    let nsqd = Nsqd::start(&[]);
    let answer = exchange(
        &nsqd,
        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n\
          POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
          GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answer}");
    let mut client = nsqd.subscribe("t", "c", 1);
    client.expect_body("abc");

    let old = exchange(&nsqd, b"GET /ping HTTP/1.0\r\n\r\n");
    assert!(
        old.starts_with("HTTP/1.0 200 OK\r\n") || old.starts_with("HTTP/1.1 200 OK\r\n"),
        "{old}"
    );
    assert!(old.ends_with("\r\n\r\nOK"), "{old}");
}

#[test]
fn only_the_query_counts_and_it_must_be_well_formed() {
    let nsqd = Nsqd::start(&[]);
    for (path, status) in [
        ("/topic/create?topic=t;x=1", 400),
        ("/topic/create?topic=%zz", 400),
        ("/topic/create?topic=first&topic=second", 200),
        ("/topic/create?x=1&topic=%74", 200),
    ] {
        let reply = nsqd.post(path, b"topic=body");
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        if status == 400 {
            assert_eq!(reply.text(), r#"{"message":"INVALID_REQUEST"}"#);
        }
    }
    let names: Vec<_> = nsqd.stats()["topics"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|topic| topic["topic_name"].as_str().unwrap_or_default().to_string())
        .collect();
    assert_eq!(names, ["first", "t"]);
}

#[test]
fn a_client_in_mid_request_holds_nobody_up() {
    let mut nsqd = Nsqd::start(&[]);
    let mut half = TcpStream::connect(nsqd.http()).expect("nsqd listens");
    half.write_all(b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        .expect("it is open");
    assert_eq!(nsqd.get("/ping").status, 200);
    let mut client = nsqd.connect();
    client.publish("t", "x");
    assert!(nsqd.terminate().success());
    assert_eq!(client.next_frame(PATIENCE), Err(ReadEnd::Closed));
}

#[test]
fn a_raw_hash_belongs_to_the_name_on_every_daemon() {
    let nsqd = Nsqd::start(&[]);
    for path in [
        "/topic/create?topic=foo",
        "/topic/create?topic=foo#ephemeral",
        "/channel/create?topic=foo&channel=c",
        "/channel/create?topic=foo&channel=c#ephemeral",
    ] {
        nsqd.order(path);
    }
    assert_eq!(nsqd.post("/pub?topic=foo#ephemeral", b"x").status, 200);
    assert_eq!(nsqd.topic("foo")["message_count"], 0);
    nsqd.order("/channel/empty?topic=foo&channel=c#ephemeral");
    nsqd.order("/channel/delete?topic=foo&channel=c#ephemeral");
    nsqd.order("/topic/delete?topic=foo#ephemeral");
    assert_eq!(
        nsqd.post("/topic/delete?topic=foo#ephemeral", b"").status,
        404
    );
    assert_eq!(nsqd.channel("foo", "c")["channel_name"], "c");

    let lookupd = Lookupd::start();
    lookupd.order("/topic/create?topic=foo");
    lookupd.order("/topic/create?topic=foo#ephemeral");
    lookupd.order("/topic/delete?topic=foo#ephemeral");
    assert_eq!(lookupd.topics(), ["foo"]);

    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    let reply = admin.request("DELETE", "/api/topics/foo#ephemeral", b"");
    assert!(reply.text().contains("TOPIC_NOT_FOUND"), "{}", reply.text());
    assert_eq!(nsqd.topic("foo")["topic_name"], "foo");
    nsqd.order("/topic/create?topic=foo#ephemeral");
    assert_eq!(
        admin
            .request("DELETE", "/api/topics/foo#ephemeral", b"")
            .status,
        200
    );
    assert_eq!(nsqd.topic("foo#ephemeral"), serde_json::Value::Null);
    assert_eq!(nsqd.topic("foo")["topic_name"], "foo");
}
