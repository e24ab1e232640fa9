//! How servers are asked, and what becomes of slow ones, absent ones and those that talk nonsense.

use std::time::Duration;

use nsq_tests::{AuthServer, Frame, PATIENCE, ReadEnd, free_port, wait_until};
use serde_json::json;

use super::{FAILED, WELCOME, applicant, everything, member, nsqd_asking};

#[test]
fn the_question_says_who_asks() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = nsqd.connect();
    client.send_with_body("AUTH", b"a b&\xff");
    client.expect_response(WELCOME);
    let question = server.questions().remove(0);
    assert_eq!(
        question.line,
        "GET /auth?common_name=&remote_ip=127.0.0.1&secret=a+b%26%FF&tls=false HTTP/1.1"
    );
    let accept = "accept: application/vnd.nsq; version=1.0";
    assert!(question.headers.contains(accept), "{}", question.headers);
}

#[test]
fn the_question_can_be_posted_to_a_url() {
    let server = AuthServer::granting(&everything());
    let url = format!("--auth-http-address=http://{}/who/is", server.address());
    let nsqd = nsqd_asking(&[], &[&url, "--auth-http-request-method=post"]);
    member(&nsqd);
    let question = server.questions().remove(0);
    assert_eq!(question.line, "POST /who/is HTTP/1.1");
    assert!(question.headers.contains("content-type: application/json"));
    assert_eq!(
        question.body,
        r#"{"common_name":[""],"remote_ip":["127.0.0.1"],"secret":["secret"],"tls":["false"]}"#
    );
}

#[test]
fn any_server_that_answers_will_do() {
    let server = AuthServer::granting(&everything());
    let broken = AuthServer::silent();
    broken.answer(500, "broken");
    let nobody = format!("--auth-http-address={}", free_port());
    let nsqd = nsqd_asking(&[&server, &broken], &[&nobody]);
    for _ in 0..6 {
        member(&nsqd);
    }
    assert_eq!(server.questions().len(), 6);
    // Each in turn.
    assert!(broken.questions().len() >= 2);
}

#[test]
fn without_a_server_nobody_is_let_in_and_the_log_says_why() {
    let nowhere = free_port();
    let nsqd = nsqd_asking(&[], &[&format!("--auth-http-address={nowhere}")]);
    let mut client = applicant(&nsqd);
    client.expect_error(FAILED);
    client.expect_closed();
    let why = format!(
        "AUTH failed failed to auth against {nowhere} - dial tcp {nowhere}: connect: connection refused"
    );
    let line = nsqd.log().wait_for(&why, PATIENCE);
    assert!(
        line.is_some_and(|line| !line.contains("secret")),
        "{}",
        nsqd.log().text()
    );
}

#[test]
fn an_answer_that_cannot_be_taken_lets_nobody_in() {
    let server = AuthServer::silent();
    let nsqd = nsqd_asking(&[&server], &[]);
    let check = |why: &str| {
        let mut client = applicant(&nsqd);
        client.expect_error(FAILED);
        client.expect_closed();
        let line = nsqd.log().wait_for(why, PATIENCE);
        assert!(line.is_some(), "no {why:?} in\n{}", nsqd.log().tail());
    };
    let granting = |authorization| json!({"ttl": 1, "authorizations": [authorization]}).to_string();
    for (status, body, why) in [
        (403, "no".to_owned(), "got response 403 Forbidden \"no\""),
        (
            500,
            "no".to_owned(),
            "got response 500 Internal Server Error \"no\"",
        ),
        (200, "{".to_owned(), "failed to decode response"),
        (200, "{}".to_owned(), "invalid TTL 0 (must be >0)"),
        (
            200,
            granting(json!({"topic": "("})),
            "unable to compile topic \"(\"",
        ),
        (
            200,
            granting(json!({"topic": "a{9}{999}{999}"})),
            "size limit",
        ),
        (
            200,
            granting(json!({"permissions": ["all"]})),
            "unknown permission all",
        ),
        (
            200,
            " ".repeat(2 << 20),
            "body is longer than 1048576 bytes",
        ),
    ] {
        server.answer(status, &body);
        check(why);
    }
    server.answer_bytes(b"\0\0\0\x06\0\0\0\0OK\r\n\r\n");
    check("invalid HTTP");
}

#[test]
fn a_slow_server_holds_up_nobody_but_the_client_that_asked() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &["--http-client-request-timeout=60s"]);
    // One on every worker, and some more.
    let mut members: Vec<_> = (0..8).map(|_| member(&nsqd)).collect();
    server.fall_silent();
    let mut waiting: Vec<_> = (0..8).map(|_| applicant(&nsqd)).collect();
    server.wait_for_questions(16);
    for member in &mut members {
        member.publish("t", "x");
    }
    for client in &mut waiting {
        assert_eq!(client.next_frame(Duration::ZERO), Err(ReadEnd::Silence));
    }
    server.grant(60, &everything());
    for client in &mut waiting {
        client.expect_response(WELCOME);
        client.publish("t", "x");
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let server = AuthServer::silent();
    let nsqd = nsqd_asking(&[&server], &["--http-client-request-timeout=100ms"]);
    applicant(&nsqd).expect_error(FAILED);
    let line = nsqd.log().wait_for("timeout after 100ms", PATIENCE);
    assert!(line.is_some());
}

#[test]
fn heartbeats_and_messages_go_on_while_a_server_is_asked() {
    let server = AuthServer::granting(&everything());
    server.grant(1, &everything());
    let nsqd = nsqd_asking(&[&server], &["--http-client-request-timeout=60s"]);
    let mut client = nsqd.connect();
    client.identify(&json!({"heartbeat_interval": 1000}));
    client.send_with_body("AUTH", b"secret");
    client.expect_response(WELCOME);
    client.subscribe("t", "c");
    client.send_line("RDY 10");
    server.fall_silent();
    let asked = |count: usize| server.questions().len() > count;
    wait_until("the grants expire", PATIENCE, || {
        if asked(1) {
            return true;
        }
        client.send_with_body("PUB elsewhere", b"x");
        // The answer, or nothing once the server is asked.
        let mut answered = false;
        wait_until("it is answered, or the server asked", PATIENCE, || {
            answered = matches!(
                client.next_frame(Duration::from_millis(5)),
                Ok(Frame::Response(_))
            );
            answered || asked(1)
        });
        !answered
    });
    // The client is silent for twice the interval, but nsqd does not listen to it during that time.
    for _ in 0..3 {
        client.expect_response("_heartbeat_");
        nsqd.post("/pub?topic=t", b"meanwhile");
        client.expect_body("meanwhile");
    }
    server.grant(60, &everything());
    client.expect_ok();
}

#[test]
fn a_shutdown_does_not_wait_for_a_server() {
    let server = AuthServer::silent();
    let mut nsqd = nsqd_asking(&[&server], &["--http-client-request-timeout=1h"]);
    let mut client = applicant(&nsqd);
    server.wait_for_questions(1);
    assert!(nsqd.terminate().success());
    client.expect_closed();
    let text = nsqd.log().text();
    assert!(!text.contains("did not leave in time"), "{text}");
}
