//! Making, deleting, emptying and pausing topics and channels.

use nsq_tests::{Nsqd, PATIENCE, wait_until};
use serde_json::Value;

/// Posts to each path and wants this status and message; `""` stands for an empty body.
#[track_caller]
fn check(nsqd: &Nsqd, cases: &[(&str, u16, &str)]) {
    for (path, status, message) in cases {
        let reply = nsqd.post(path, b"");
        let wanted = if message.is_empty() {
            String::new()
        } else {
            format!(r#"{{"message":"{message}"}}"#)
        };
        assert_eq!(
            (reply.status, reply.text()),
            (*status, wanted),
            "POST {path}"
        );
    }
}

#[test]
fn topic_endpoints_check_their_arguments() {
    let nsqd = Nsqd::start(&[]);
    for act in ["create", "delete", "empty", "pause", "unpause"] {
        check(
            &nsqd,
            &[(&format!("/topic/{act}"), 400, "MISSING_ARG_TOPIC")],
        );
    }
    check(
        &nsqd,
        &[
            ("/topic/create?topic=", 400, "INVALID_TOPIC"),
            ("/topic/create?topic=t!", 400, "INVALID_TOPIC"),
            ("/topic/empty?topic=t!", 400, "INVALID_TOPIC"),
            // These do not look at the name.
            ("/topic/delete?topic=t!", 404, "TOPIC_NOT_FOUND"),
            ("/topic/pause?topic=t!", 404, "TOPIC_NOT_FOUND"),
            ("/topic/unpause?topic=t!", 404, "TOPIC_NOT_FOUND"),
            ("/topic/delete?topic=t", 404, "TOPIC_NOT_FOUND"),
            ("/topic/empty?topic=t", 404, "TOPIC_NOT_FOUND"),
            ("/topic/pause?topic=t", 404, "TOPIC_NOT_FOUND"),
        ],
    );
    assert_eq!(nsqd.stats()["topics"], Value::Array(vec![]));
}

#[test]
fn channel_endpoints_check_their_arguments() {
    let nsqd = Nsqd::start(&[]);
    for act in ["create", "delete", "empty", "pause", "unpause"] {
        let path = |query: &str| format!("/channel/{act}{query}");
        check(
            &nsqd,
            &[
                (&path(""), 400, "MISSING_ARG_TOPIC"),
                (&path("?channel=c"), 400, "MISSING_ARG_TOPIC"),
                (&path("?topic=t!"), 400, "INVALID_ARG_TOPIC"),
                (&path("?topic=t!&channel=c"), 400, "INVALID_ARG_TOPIC"),
                (&path("?topic=t"), 400, "MISSING_ARG_CHANNEL"),
                (&path("?topic=t&channel=c!"), 400, "INVALID_ARG_CHANNEL"),
                (&path("?topic=t&channel="), 400, "INVALID_ARG_CHANNEL"),
                (&path("?topic=t&channel=c"), 404, "TOPIC_NOT_FOUND"),
            ],
        );
    }
    nsqd.order("/topic/create?topic=t");
    for act in ["delete", "empty", "pause", "unpause"] {
        check(
            &nsqd,
            &[(
                &format!("/channel/{act}?topic=t&channel=c"),
                404,
                "CHANNEL_NOT_FOUND",
            )],
        );
    }
}

#[test]
fn every_act_may_be_repeated_and_takes_effect() {
    let nsqd = Nsqd::start(&[]);
    for _ in 0..2 {
        check(
            &nsqd,
            &[
                ("/topic/create?topic=t", 200, ""),
                ("/channel/create?topic=t&channel=c", 200, ""),
            ],
        );
    }
    for (act, paused) in [
        ("pause", true),
        ("pause", true),
        ("unpause", false),
        ("unpause", false),
    ] {
        check(&nsqd, &[(&format!("/topic/{act}?topic=t"), 200, "")]);
        check(
            &nsqd,
            &[(&format!("/channel/{act}?topic=t&channel=c"), 200, "")],
        );
        assert_eq!(nsqd.topic("t")["paused"], paused);
        assert_eq!(nsqd.channel("t", "c")["paused"], paused);
    }
    check(&nsqd, &[("/channel/delete?topic=t&channel=c", 200, "")]);
    assert_eq!(nsqd.topic("t")["channels"], Value::Array(vec![]));
    check(
        &nsqd,
        &[
            ("/topic/delete?topic=t", 200, ""),
            ("/topic/delete?topic=t", 404, "TOPIC_NOT_FOUND"),
        ],
    );
    assert_eq!(nsqd.stats()["topics"], Value::Array(vec![]));
}

#[test]
fn emptying_a_topic_spares_its_channels() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let mut producer = nsqd.connect();
    producer.publish_many("t", &["a", "b"]);
    nsqd.wait_for_channel("t", "c", &[("depth", 2)]);
    nsqd.order("/topic/pause?topic=t");
    producer.publish_many("t", &["c", "d", "e"]);
    wait_until("the topic holds three", PATIENCE, || {
        nsqd.topic("t")["depth"] == 3
    });
    nsqd.order("/topic/empty?topic=t");
    assert_eq!(nsqd.topic("t")["depth"], 0);
    nsqd.order("/topic/unpause?topic=t");
    nsqd.wait_for_channel("t", "c", &[("depth", 2), ("message_count", 2)]);
    nsqd.order("/channel/empty?topic=t&channel=c");
    assert_eq!(nsqd.channel("t", "c")["depth"], 0);
}

#[test]
fn what_was_made_is_there_after_a_kill() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=paused");
    nsqd.order("/channel/create?topic=t&channel=deleted");
    nsqd.order("/channel/pause?topic=t&channel=paused");
    nsqd.order("/channel/delete?topic=t&channel=deleted");
    // Upstream writes its metadata a moment after a delete.
    let metadata = nsqd.folder().join("nsqd.dat");
    wait_until("the metadata is written", PATIENCE, || {
        std::fs::read_to_string(&metadata)
            .is_ok_and(|text| text.contains("paused") && !text.contains("deleted"))
    });
    nsqd.kill9();
    nsqd.start_again();
    assert_eq!(nsqd.channel("t", "paused")["paused"], true);
    assert_eq!(nsqd.channel("t", "deleted"), Value::Null);
}
