//! The utilities that take messages elsewhere, and the one that watches: between daemons and HTTP servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nsq_tests::{Fake, Nsqd, PATIENCE, Start, Told, Tool, free_port, wait_until};
use rustix::process::Signal;

/// Publishes messages over HTTP.
#[track_caller]
fn publish(nsqd: &Nsqd, topic: &str, bodies: &[&str]) {
    for body in bodies {
        let path = format!("/pub?topic={topic}");
        assert_eq!(nsqd.post(&path, body.as_bytes()).status, 200);
    }
}

/// The bodies a new channel has.
#[track_caller]
fn take(nsqd: &Nsqd, topic: &str, channel: &str, count: usize) -> Vec<String> {
    let mut client = nsqd.subscribe(topic, channel, 100);
    (0..count)
        .map(|_| {
            let message = client.expect_message();
            client.finish(&message);
            String::from_utf8(message.body).expect("bodies here are text")
        })
        .collect()
}

fn answer(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK").into_bytes()
}

#[track_caller]
fn told(server: &Fake) -> Told {
    server.told.recv_timeout(PATIENCE).expect("a request comes")
}

/// nsq_to_http between an nsqd and what else is said; retries come at once.
#[track_caller]
fn to_http(nsqd: &Nsqd, flags: &[&str]) -> Tool {
    let address = format!("--nsqd-tcp-address={}", nsqd.tcp());
    let base = [
        "--topic=t",
        "--channel=c",
        &address,
        "--consumer-opt=default_requeue_delay,1ms",
        "--consumer-opt=backoff_multiplier,1ms",
    ];
    Tool::start("nsq_to_http", &[&base[..], flags].concat())
}

#[track_caller]
fn to_nsq(from: &Nsqd, to: &[std::net::SocketAddr], flags: &[&str]) -> Tool {
    let mut words = vec![
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", from.tcp()),
        "--consumer-opt=default_requeue_delay,1ms".to_owned(),
        "--consumer-opt=backoff_multiplier,1ms".to_owned(),
    ];
    words.extend(
        to.iter()
            .map(|address| format!("--destination-nsqd-tcp-address={address}")),
    );
    words.extend(flags.iter().map(ToString::to_string));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Tool::start("nsq_to_nsq", &words)
}

#[test]
fn nsq_to_nsq_moves_messages_in_order_and_finishes_them() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    publish(&from, "t", &["one", "two", "three"]);
    let mut tool = to_nsq(&from, &[to.tcp()], &["--destination-topic=d"]);
    assert_eq!(take(&to, "d", "check", 3), ["one", "two", "three"]);
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    assert!(!tool.log().text().contains("ERR"), "{}", tool.log().text());
}

#[test]
fn nsq_to_nsq_passes_what_the_json_filter_lets_through() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    let bodies = [
        r#"{"kind":"a","n":1.0,"secret":"x"}"#,
        r#"{"kind":"b","n":2}"#,
        "no json",
        r#"{"kind":"a","n":12345678901234567890}"#,
    ];
    publish(&from, "t", &bodies);
    let flags = [
        "--require-json-field=kind",
        "--require-json-value=a",
        "--whitelist-json-field=n",
        "--whitelist-json-field=kind",
    ];
    let mut tool = to_nsq(&from, &[to.tcp()], &flags);
    assert_eq!(
        take(&to, "t", "check", 2),
        [
            r#"{"kind":"a","n":1}"#,
            r#"{"kind":"a","n":12345678901234567000}"#
        ]
    );
    tool.wait_for_line("ERROR: Unable to decode json: no json");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    assert_eq!(to.topic("t")["message_count"], 2);
}

#[test]
fn nsq_to_nsq_gets_past_a_destination_that_is_down() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    publish(&from, "t", &["one", "two", "three"]);
    let mut tool = to_nsq(&from, &[free_port(), to.tcp()], &[]);
    let mut taken = take(&to, "t", "check", 3);
    taken.sort_unstable();
    assert_eq!(taken, ["one", "three", "two"]);
    tool.wait_for_line("connection refused");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_nsq_says_at_its_end_what_it_gave_up() {
    let from = Nsqd::start(&[]);
    publish(&from, "t", &["one"]);
    let flags = ["--consumer-opt=max_attempts,2"];
    let mut tool = to_nsq(&from, &[free_port()], &flags);
    tool.wait_for_line("attempted 3 times, giving up");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    tool.wait_for_line("WARNING: [t/c] gave up 1 messages after too many attempts");
}

#[test]
fn nsq_to_http_posts_a_message_and_finishes_it_after_a_2xx() {
    let nsqd = Nsqd::start(&[]);
    let server = Fake::start(|_| Some(answer("201 Created")));
    publish(&nsqd, "t", &["a body"]);
    let post = format!("--post=http://{}/in?x=1", server.address);
    let flags = [&post, "--content-type=text/x", "--header=X-Who: me"];
    let mut tool = to_http(&nsqd, &flags);
    let request = told(&server);
    assert_eq!(request.line, "POST /in?x=1");
    assert_eq!(request.body, b"a body");
    for header in [
        "User-Agent: nsq_to_http v1.3.0",
        "Content-Type: text/x",
        "X-Who: me",
    ] {
        let headers = &request.headers;
        assert!(headers.iter().any(|line| line == header), "{headers:?}");
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    assert_eq!(nsqd.channel("t", "c")["requeue_count"], 0);
}

#[test]
fn nsq_to_http_gets_and_only_200_counts() {
    let nsqd = Nsqd::start(&[]);
    let asked = AtomicUsize::new(0);
    let server = Fake::start(move |_| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        Some(answer(if first { "204 No Content" } else { "200 OK" }))
    });
    publish(&nsqd, "t", &["a b&c"]);
    let get = format!("--get=http://{}/in?m=%s&p=50%25", server.address);
    let mut tool = to_http(&nsqd, &[&get]);
    for _ in 0..2 {
        assert_eq!(told(&server).line, "GET /in?m=a+b%26c&p=50%25");
    }
    tool.wait_for_line("Handler returned error (got status code 204) for msg");
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("requeue_count", 1)]);
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_http_follows_redirects_as_go_does() {
    let nsqd = Nsqd::start(&[]);
    let server = Fake::start(|told| {
        let redirect = |status| {
            format!(
                "HTTP/1.1 {status} There\r\nLocation: /end\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        };
        match told.line.as_str() {
            "POST /302" => Some(redirect(302).into_bytes()),
            "POST /307" => Some(redirect(307).into_bytes()),
            _ => Some(answer("200 OK")),
        }
    });
    for (path, line, body) in [("302", "GET /end", ""), ("307", "POST /end", "a body")] {
        publish(&nsqd, "t", &["a body"]);
        let post = format!("--post=http://{}/{path}", server.address);
        let mut tool = to_http(&nsqd, &[&post]);
        assert_eq!(told(&server).line, format!("POST /{path}"));
        let request = told(&server);
        assert_eq!((request.line.as_str(), request.body), (line, body.into()));
        nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
        assert_eq!(tool.terminate().code(), Some(0));
    }
}

#[test]
fn nsq_to_http_leaves_a_host_alone_that_failed() {
    let nsqd = Nsqd::start(&[]);
    let bad = Fake::start(|_| Some(answer("500 Internal Server Error")));
    let good = Fake::start(|_| Some(answer("200 OK")));
    publish(&nsqd, "t", &["1", "2", "3", "4", "5"]);
    let bad_flag = format!("--post=http://{}/", bad.address);
    let good_flag = format!("--post=http://{}/", good.address);
    // One at a time, so that the first failure is known before the second choice.
    let mut tool = to_http(&nsqd, &[&bad_flag, &good_flag, "-n=1", "--max-in-flight=1"]);
    let mut bodies: Vec<_> = (0..5).map(|_| told(&good).body).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [b"1", b"2", b"3", b"4", b"5"]);
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(bad.told.try_iter().count(), 1);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_http_sends_to_all_in_any_other_mode_and_logs_times() {
    let nsqd = Nsqd::start(&[]);
    let servers = [(); 2].map(|()| Fake::start(|_| Some(answer("200 OK"))));
    publish(&nsqd, "t", &["1", "2"]);
    let posts = [0, 1].map(|index| format!("--post=http://{}/", servers[index].address));
    let flags = [&posts[0], &posts[1], "--mode=multicast", "--status-every=1"];
    let tool = to_http(&nsqd, &flags);
    for server in &servers {
        let mut bodies = [told(server).body, told(server).body];
        bodies.sort_unstable();
        assert_eq!(bodies, [b"1", b"2"]);
    }
    tool.wait_for_line("[aggregate]: finished 1 - 99th: ");
    tool.wait_for_line(&format!("[http://{}/]: finished 1 - ", servers[1].address));
    tool.wait_for_line("Warning: use more than 100 status values");
}

#[test]
fn nsq_stat_reports_what_changed_and_ends_after_its_count() {
    let lookupd = Start::default().lookupd();
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    publish(&nsqd, "t", &["1", "2", "3"]);
    nsqd.post("/channel/create?topic=t&channel=c", b"");
    nsqd.wait_for_channel("t", "c", &[("depth", 3)]);
    let direct = format!("--nsqd-http-address={}", nsqd.http());
    let looked_up = format!("--lookupd-http-address={}", lookupd.http());
    wait_until("nsqlookupd knows the topic", PATIENCE, || {
        let reply = lookupd.get("/lookup?topic=t");
        reply.status == 200 && !reply.json()["producers"].as_array().unwrap().is_empty()
    });
    for address in [direct, looked_up] {
        let base = ["--topic=t", "--channel=c", &address];
        let mut tool = Tool::start(
            "nsq_stat",
            &[&base[..], &["--count=2", "--interval=10ms"]].concat(),
        );
        assert_eq!(
            tool.wait_for_exit().code(),
            Some(0),
            "{}",
            tool.log().text()
        );
        let line = "      0       0 |       3       3       0     0     0 |       0       0            3       0";
        let output = tool.output().text();
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(
            lines[0],
            "------rate------+----------------depth----------------+--------------metadata---------------"
        );
        assert_eq!(lines[2..], [line, line]);

        let mut tool = Tool::start("nsq_stat", &[&base[..], &["--interval=1h"]].concat());
        assert!(tool.output().wait_for("ingress", PATIENCE).is_some());
        tool.notify(Signal::HUP);
        assert_eq!(tool.wait_for_exit().code(), Some(0));

        let no_channel = ["--topic=t", "--channel=other", &address];
        let mut tool = Tool::start("nsq_stat", &no_channel);
        assert_eq!(tool.wait_for_exit().code(), Some(1));
        tool.wait_for_line("ERROR: failed to find channel(other) in stats metadata for topic(t)");
    }
}

#[test]
fn nsq_stat_ends_when_nobody_has_the_topic_or_answers() {
    let nsqd = Nsqd::start(&[]);
    let address = format!("--nsqd-http-address={}", nsqd.http());
    let mut tool = Tool::start("nsq_stat", &["--topic=t", "--channel=c", &address]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    let line = tool.wait_for_line("ERROR: failed to get nsqd stats - failed to query any nsqd: ");
    assert!(line.ends_with("any nsqd: "), "{line}");
    let nobody = free_port();
    let address = format!("--nsqd-http-address={nobody}");
    let mut tool = Tool::start("nsq_stat", &["--topic=t", "--channel=c", &address]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    tool.wait_for_line(&format!("dial tcp {nobody}: connect: connection refused"));
}

#[test]
fn utilities_say_what_is_missing_and_end_with_1() {
    for (program, text) in [
        ("nsq_to_nsq", "--topic and --channel are required"),
        ("nsq_to_http", "--topic and --channel are required"),
        ("nsq_stat", "--topic and --channel are required"),
    ] {
        let mut tool = Tool::start(program, &[] as &[&str]);
        assert_eq!(tool.wait_for_exit().code(), Some(1));
        tool.wait_for_line(text);
        let mut tool = Tool::start(program, &["--version"]);
        assert_eq!(tool.wait_for_exit().code(), Some(0));
        let version = format!("{program} v1.3.0");
        assert!(
            tool.output()
                .wait_for(&version, Duration::from_secs(15))
                .is_some()
        );
    }
}
