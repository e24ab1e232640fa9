//! nsq_to_http: messages to HTTP servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use nsq_tests::{Fake, Nsqd};

use crate::endpoint::{answer, post_to, to_http, told};
use crate::messages::publish;

#[test]
fn nsq_to_http_posts_a_message_and_finishes_it_after_a_2xx() {
    let nsqd = Nsqd::start(&[]);
    let server = Fake::start(|_| Some(answer("201 Created")));
    publish(&nsqd, "t", &["a body"]);
    let post = post_to(&server, "/in?x=1");
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
        let post = post_to(&server, &format!("/{path}"));
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
