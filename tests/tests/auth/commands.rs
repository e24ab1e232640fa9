//! What the commands need permission for, and what is said without it.

use nsq_tests::{AuthServer, Nsqd, PATIENCE, RawClient, wait_until};
use serde_json::{Value, json};

use super::{FAILED, WELCOME, applicant, everything, member, nsqd_asking};

/// What every command that needs permission looks like on the wire, by its name.
fn commands_on(topic: &str) -> [(&'static str, Vec<u8>); 4] {
    [
        ("SUB", format!("SUB {topic} c\n").into_bytes()),
        ("PUB", RawClient::command(&format!("PUB {topic}"), b"x")),
        ("MPUB", RawClient::multi_publish(topic, &["x"])),
        (
            "DPUB",
            RawClient::command(&format!("DPUB {topic} 10"), b"x"),
        ),
    ]
}

fn identify(nsqd: &Nsqd) -> Value {
    let answer = nsqd
        .connect()
        .identify(&json!({"feature_negotiation": true}));
    serde_json::from_str(&answer).expect("negotiation is answered in JSON")
}

#[test]
fn clients_are_told_whether_they_must_authenticate() {
    let server = AuthServer::granting(&everything());
    assert_eq!(
        identify(&nsqd_asking(&[&server], &[]))["auth_required"],
        true
    );
    let open = Nsqd::start(&[]);
    assert_eq!(identify(&open)["auth_required"], false);
    let mut client = applicant(&open);
    client.expect_error("E_AUTH_DISABLED AUTH disabled");
    client.expect_closed();
}

#[test]
fn nothing_is_done_before_auth() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    for (name, bytes) in commands_on("t") {
        let mut client = nsqd.connect();
        client.send(&bytes);
        client.expect_error(&format!("E_AUTH_FIRST AUTH required before {name}"));
        client.expect_closed();
    }
    assert!(nsqd.topic("t").is_null());
    // What is wrong with a command is said first.
    for (bytes, error) in [
        (
            &b"SUB t b@d\n"[..],
            "E_BAD_CHANNEL SUB channel name \"b@d\" is not valid",
        ),
        (
            b"PUB b@d\n",
            "E_BAD_TOPIC PUB topic name \"b@d\" is not valid",
        ),
        (
            b"PUB t\n\0\0\0\0",
            "E_BAD_MESSAGE PUB invalid message body size 0",
        ),
        // But a batch is not waited for.
        (b"MPUB t\n", "E_AUTH_FIRST AUTH required before MPUB"),
        (
            b"MPUB t\n\0\0\0\0",
            "E_AUTH_FIRST AUTH required before MPUB",
        ),
    ] {
        let mut client = nsqd.connect();
        client.send(bytes);
        client.expect_error(error);
    }
    // HTTP is another door.
    nsqd.post("/pub?topic=t", b"x");
    assert_eq!(nsqd.topic("t")["depth"], 1);
    assert!(server.questions().is_empty());
}

#[test]
fn a_member_does_everything_and_is_shown_as_one() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = member(&nsqd);
    for (name, bytes) in commands_on("t").iter().rev() {
        client.send(bytes);
        client.expect_ok();
        assert!(!nsqd.topic("t").is_null(), "{name}");
    }
    client.send_line("RDY 3");
    client.expect_body("x");
    let shown = &nsqd.channel("t", "c")["clients"][0];
    assert_eq!(shown["authed"], true);
    assert_eq!(shown["auth_identity"], "<who>");
    assert_eq!(shown["auth_identity_url"], "http://who");
    assert_eq!(server.questions().len(), 1);
}

#[test]
fn pipelined_commands_wait_for_the_answer() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = nsqd.connect();
    let mut bytes = RawClient::command("AUTH", b"secret");
    for (_, command) in commands_on("t") {
        bytes.extend(command);
    }
    client.send(&bytes);
    client.expect_response(WELCOME);
    for _ in 0..4 {
        client.expect_ok();
    }
}

#[test]
fn what_is_not_granted_is_refused() {
    let server = AuthServer::granting(&json!({
        "topic": "^mine$", "channels": ["^(c|)$"], "permissions": ["subscribe", "publish"],
    }));
    let nsqd = nsqd_asking(&[&server], &[]);
    for (name, bytes) in commands_on("other") {
        let mut client = member(&nsqd);
        client.send(&commands_on("mine")[1].1);
        client.expect_ok();
        client.send(&bytes);
        let channel = if name == "SUB" { "c" } else { "" };
        client.expect_error(&format!(
            "E_UNAUTHORIZED AUTH failed for {name} on \"other\" \"{channel}\""
        ));
        client.expect_closed();
    }
    assert!(nsqd.topic("other").is_null());
    let mut client = member(&nsqd);
    client.send_line("SUB mine d");
    client.expect_error("E_UNAUTHORIZED AUTH failed for SUB on \"mine\" \"d\"");
}

#[test]
fn a_run_of_publishes_ends_where_permission_does() {
    let server = AuthServer::granting(&json!({
        "topic": "^mine", "channels": [""], "permissions": ["publish"],
    }));
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = member(&nsqd);
    let topics = ["mine", "mine", "mine-too", "mine", "other", "mine"];
    let commands = topics.map(|topic| RawClient::command(&format!("PUB {topic}"), b"x"));
    client.send(&commands.concat());
    for _ in 0..4 {
        client.expect_ok();
    }
    client.expect_error("E_UNAUTHORIZED AUTH failed for PUB on \"other\" \"\"");
    client.expect_closed();
    assert_eq!(nsqd.topic("mine")["depth"], 3);
    assert_eq!(nsqd.topic("mine-too")["depth"], 1);
}

#[test]
fn auth_itself_is_checked_in_upstreams_order() {
    let server = AuthServer::granting(&everything());
    let nsqd = nsqd_asking(&[&server], &["--max-body-size=10"]);
    for (bytes, error) in [
        (
            RawClient::command("AUTH x", b"s"),
            "E_INVALID AUTH invalid number of parameters",
        ),
        (
            RawClient::command("AUTH", b""),
            "E_BAD_BODY AUTH invalid body size 0",
        ),
        (
            RawClient::command("AUTH", b"0123456789a"),
            "E_BAD_BODY AUTH body too big 11 > 10",
        ),
    ] {
        let mut client = nsqd.connect();
        client.send(&bytes);
        client.expect_error(error);
        client.expect_closed();
    }
    let mut twice = member(&nsqd);
    twice.send_with_body("AUTH", b"s");
    twice.expect_error("E_INVALID AUTH already set");
    let mut late = member(&nsqd);
    late.subscribe("t", "c");
    late.send_with_body("AUTH", b"s");
    late.expect_error("E_INVALID cannot AUTH in current state");
    server.answer(200, r#"{"ttl":60}"#);
    let mut unwelcome = applicant(&nsqd);
    unwelcome.expect_error("E_UNAUTHORIZED AUTH no authorizations found");
    unwelcome.expect_closed();
}

#[test]
fn what_has_expired_is_asked_for_again_before_the_next_command() {
    let server = AuthServer::granting(&everything());
    server.grant(1, &everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = member(&nsqd);
    let mut until_asked_again = |count| {
        wait_until("the grants expire", PATIENCE, || {
            client.send(&commands_on("t")[1].1);
            client.expect_ok();
            server.questions().len() == count
        });
    };
    until_asked_again(2);
    until_asked_again(3);
    let questions = server.questions();
    assert_eq!(questions[2].line, questions[0].line);
}

/// Publishes until the server is asked again and says what `change` has it say; the error that ends it.
#[track_caller]
fn check_revoked(name: &str, change: impl FnOnce(&AuthServer), error: &str) {
    let server = AuthServer::granting(&everything());
    server.grant(1, &everything());
    let nsqd = nsqd_asking(&[&server], &[]);
    let mut client = member(&nsqd);
    change(&server);
    let commands = commands_on("t");
    let (_, command) = commands
        .iter()
        .find(|(known, _)| *known == name)
        .expect("one of the four");
    let mut last = None;
    wait_until("permission ends", PATIENCE, || {
        if client.try_send(command).is_err() {
            return true;
        }
        match client.next_frame(PATIENCE) {
            Ok(nsq_tests::Frame::Response(_)) => false,
            other => {
                last = Some(other);
                true
            }
        }
    });
    assert_eq!(last, Some(Ok(nsq_tests::Frame::Error(error.into()))));
    client.expect_closed();
}

#[test]
fn permission_can_be_revoked() {
    let other = json!({"topic": "^u$", "channels": [".*"], "permissions": ["publish"]});
    let error = "E_UNAUTHORIZED AUTH failed for PUB on \"t\" \"\"";
    check_revoked("PUB", |server| server.grant(1, &other), error);
    // All of it, too.
    let error = "E_UNAUTHORIZED AUTH failed for MPUB on \"t\" \"\"";
    check_revoked("MPUB", |server| server.answer(200, r#"{"ttl":1}"#), error);
}

#[test]
fn without_a_server_to_ask_again_permission_ends() {
    check_revoked("DPUB", AuthServer::go_down, FAILED);
}
