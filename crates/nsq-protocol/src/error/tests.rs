//! The catalogue, text by text.

use super::*;
use crate::CommandName::{
    Auth, Close, Finish, Identify, Publish, PublishDeferred, PublishMany, Ready, Requeue,
    Subscribe, Touch,
};

const ID: RawMessageId = *b"0123456789abcdef";

fn topic() -> TopicName {
    TopicName::parse("t").unwrap()
}

fn channel() -> ChannelName {
    ChannelName::parse("c").unwrap()
}

fn bytes(text: &[u8]) -> Box<[u8]> {
    text.into()
}

/// Every text, with the error that makes it.
fn catalogue() -> Vec<(CommandError, &'static str)> {
    use CommandError as E;
    use FailureReason as Why;
    let cause = || "disk full".to_owned();
    let name = || bytes(b"a b");
    let mut all = vec![
        (E::BadProtocol, "E_BAD_PROTOCOL"),
        (
            E::InvalidCommand { name: bytes(b"") },
            "E_INVALID invalid command ",
        ),
        (
            E::InvalidCommand {
                name: bytes(b"fin"),
            },
            "E_INVALID invalid command fin",
        ),
        (
            E::TlsRequired {
                name: bytes(b"NOP"),
            },
            "E_INVALID cannot NOP in current state (TLS required)",
        ),
        (
            E::HeartbeatsDisabled,
            "E_INVALID cannot SUB with heartbeats disabled",
        ),
        (
            E::AuthParameters,
            "E_INVALID AUTH invalid number of parameters",
        ),
        (E::InvalidMessageId, "E_INVALID invalid message ID"),
        (
            E::ReadyCountSyntax { text: bytes(b"-1") },
            "E_INVALID RDY could not parse count -1",
        ),
        (
            E::ReadyCountRange {
                count: -1,
                max: 2500,
            },
            "E_INVALID RDY count -1 out of range 0-2500",
        ),
        (
            E::DelaySyntax {
                command: Requeue,
                text: bytes(b"x"),
            },
            "E_INVALID REQ could not parse timeout x",
        ),
        (
            E::DelaySyntax {
                command: PublishDeferred,
                text: bytes(b"x"),
            },
            "E_INVALID DPUB could not parse timeout x",
        ),
        (
            E::DelayRange {
                millis: u64::MAX,
                max_millis: 3_600_000,
            },
            "E_INVALID DPUB timeout 18446744073709551615 out of range 0-3600000",
        ),
        (
            E::BadTopic {
                command: Subscribe,
                name: name(),
            },
            "E_BAD_TOPIC SUB topic name \"a b\" is not valid",
        ),
        (
            E::BadTopic {
                command: Publish,
                name: name(),
            },
            "E_BAD_TOPIC PUB topic name \"a b\" is not valid",
        ),
        (
            E::BadTopic {
                command: PublishDeferred,
                name: name(),
            },
            "E_BAD_TOPIC DPUB topic name \"a b\" is not valid",
        ),
        (
            E::BadTopic {
                command: PublishMany,
                name: name(),
            },
            "E_BAD_TOPIC E_BAD_TOPIC MPUB topic name \"a b\" is not valid",
        ),
        (
            E::BadChannel {
                name: bytes(b"\xff\""),
            },
            "E_BAD_CHANNEL SUB channel name \"\\xff\\\"\" is not valid",
        ),
        (
            E::BodySizeMissing { command: Identify },
            "E_BAD_BODY IDENTIFY failed to read body size",
        ),
        (
            E::BodySizeMissing { command: Auth },
            "E_BAD_BODY AUTH failed to read body size",
        ),
        (
            E::BodySizeMissing {
                command: PublishMany,
            },
            "E_BAD_BODY MPUB failed to read body size",
        ),
        (
            E::BodySizeInvalid {
                command: Identify,
                size: 0,
            },
            "E_BAD_BODY IDENTIFY invalid body size 0",
        ),
        (
            E::BodySizeInvalid {
                command: Auth,
                size: -1,
            },
            "E_BAD_BODY AUTH invalid body size -1",
        ),
        (
            E::BodySizeInvalid {
                command: PublishMany,
                size: i32::MIN,
            },
            "E_BAD_BODY MPUB invalid body size -2147483648",
        ),
        (
            E::BodyTooBig {
                command: Identify,
                size: 11,
                max: 10,
            },
            "E_BAD_BODY IDENTIFY body too big 11 > 10",
        ),
        (
            E::BodyTooBig {
                command: Auth,
                size: 11,
                max: 10,
            },
            "E_BAD_BODY AUTH body too big 11 > 10",
        ),
        (
            E::BodyTooBig {
                command: PublishMany,
                size: 11,
                max: 10,
            },
            "E_BAD_BODY MPUB body too big 11 > 10",
        ),
        (
            E::BodyMissing { command: Identify },
            "E_BAD_BODY IDENTIFY failed to read body",
        ),
        (
            E::BodyMissing { command: Auth },
            "E_BAD_BODY AUTH failed to read body",
        ),
        (
            E::CountMissing,
            "E_BAD_BODY MPUB failed to read message count",
        ),
        (
            E::CountInvalid { count: -1 },
            "E_BAD_BODY MPUB invalid message count -1",
        ),
        (
            E::NthSizeMissing { index: 2 },
            "E_BAD_MESSAGE MPUB failed to read message(2) body size",
        ),
        (
            E::NthSizeInvalid { index: 2, size: 0 },
            "E_BAD_MESSAGE MPUB invalid message(2) body size 0",
        ),
        (
            E::IdentifyJson,
            "E_BAD_BODY IDENTIFY failed to decode JSON body",
        ),
        (
            E::HeartbeatInterval(1),
            "E_BAD_BODY IDENTIFY heartbeat interval (1) is invalid",
        ),
        (
            E::OutputBufferTimeout(1),
            "E_BAD_BODY IDENTIFY output buffer timeout (1) is invalid",
        ),
        (
            E::OutputBufferSize(1),
            "E_BAD_BODY IDENTIFY output buffer size (1) is invalid",
        ),
        (
            E::SampleRate(-1),
            "E_BAD_BODY IDENTIFY sample rate (-1) is invalid",
        ),
        (
            E::MessageTimeout(1),
            "E_BAD_BODY IDENTIFY msg timeout (1) is invalid",
        ),
        (
            E::BothCompressions,
            "E_IDENTIFY_FAILED cannot enable both deflate and snappy compression",
        ),
        (
            E::IdentifyFailed { cause: cause() },
            "E_IDENTIFY_FAILED IDENTIFY failed disk full",
        ),
        (E::AuthAlreadySet, "E_INVALID AUTH already set"),
        (E::AuthDisabled, "E_AUTH_DISABLED AUTH disabled"),
        (E::AuthFailed, "E_AUTH_FAILED AUTH failed"),
        (
            E::NoAuthorizations,
            "E_UNAUTHORIZED AUTH no authorizations found",
        ),
        (
            E::AuthError { cause: cause() },
            "E_AUTH_ERROR AUTH error disk full",
        ),
        (
            E::AuthRequired { command: Publish },
            "E_AUTH_FIRST AUTH required before PUB",
        ),
        (
            E::Unauthorized {
                command: Subscribe,
                topic: topic(),
                channel: Some(channel()),
            },
            "E_UNAUTHORIZED AUTH failed for SUB on \"t\" \"c\"",
        ),
        (
            E::Unauthorized {
                command: PublishMany,
                topic: topic(),
                channel: None,
            },
            "E_UNAUTHORIZED AUTH failed for MPUB on \"t\" \"\"",
        ),
        (E::SubscribeExiting, "E_SUB_FAILED SUB failed exiting"),
        (
            E::TooManyConsumers {
                topic: topic(),
                channel: channel(),
                max: 3,
            },
            "E_SUB_FAILED SUB failed consumers for t:c exceeds limit of 3",
        ),
        (
            E::SubscribeDeleted,
            "E_SUB_FAILED SUB failed to deleted topic/channel",
        ),
        (
            E::PublishFailed {
                command: Publish,
                cause: cause(),
            },
            "E_PUB_FAILED PUB failed disk full",
        ),
        (
            E::PublishFailed {
                command: PublishMany,
                cause: "exiting".to_owned(),
            },
            "E_MPUB_FAILED MPUB failed exiting",
        ),
        (
            E::PublishFailed {
                command: PublishDeferred,
                cause: cause(),
            },
            "E_DPUB_FAILED DPUB failed disk full",
        ),
        (
            E::FinishFailed {
                id: ID,
                reason: Why::NotInFlight,
            },
            "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight",
        ),
        (
            E::RequeueFailed {
                id: ID,
                reason: Why::NotOwner,
            },
            "E_REQ_FAILED REQ 0123456789abcdef failed client does not own message",
        ),
        (
            E::RequeueFailed {
                id: ID,
                reason: Why::Exiting,
            },
            "E_REQ_FAILED REQ 0123456789abcdef failed exiting",
        ),
        (
            E::RequeueFailed {
                id: ID,
                reason: Why::AlreadyDeferred,
            },
            "E_REQ_FAILED REQ 0123456789abcdef failed ID already deferred",
        ),
        (
            E::RequeueFailed {
                id: ID,
                reason: Why::Backend("open \u{65e5}\u{e9}".to_owned()),
            },
            "E_REQ_FAILED REQ 0123456789abcdef failed open \u{65e5}\u{e9}",
        ),
        (
            E::TouchFailed {
                id: ID,
                reason: Why::AlreadyInFlight,
            },
            "E_TOUCH_FAILED TOUCH 0123456789abcdef failed ID already in flight",
        ),
    ];
    for (command, text) in [
        (Identify, "E_INVALID cannot IDENTIFY in current state"),
        (Auth, "E_INVALID cannot AUTH in current state"),
        (Subscribe, "E_INVALID cannot SUB in current state"),
        (Ready, "E_INVALID cannot RDY in current state"),
        (Finish, "E_INVALID cannot FIN in current state"),
        (Requeue, "E_INVALID cannot REQ in current state"),
        (Touch, "E_INVALID cannot TOUCH in current state"),
        (Close, "E_INVALID cannot CLS in current state"),
    ] {
        all.push((E::WrongState { command }, text));
    }
    for (command, text) in [
        (Subscribe, "E_INVALID SUB insufficient number of parameters"),
        (Publish, "E_INVALID PUB insufficient number of parameters"),
        (
            PublishMany,
            "E_INVALID MPUB insufficient number of parameters",
        ),
        (
            PublishDeferred,
            "E_INVALID DPUB insufficient number of parameters",
        ),
        (Finish, "E_INVALID FIN insufficient number of params"),
        (Requeue, "E_INVALID REQ insufficient number of params"),
        (Touch, "E_INVALID TOUCH insufficient number of params"),
    ] {
        all.push((E::TooFewParameters { command }, text));
    }
    for (command, missing_size, invalid, too_big, missing) in [
        (
            Publish,
            "E_BAD_MESSAGE PUB failed to read message body size",
            "E_BAD_MESSAGE PUB invalid message body size -7",
            "E_BAD_MESSAGE PUB message too big 11 > 10",
            "E_BAD_MESSAGE PUB failed to read message body",
        ),
        (
            PublishDeferred,
            "E_BAD_MESSAGE DPUB failed to read message body size",
            "E_BAD_MESSAGE DPUB invalid message body size -7",
            "E_BAD_MESSAGE DPUB message too big 11 > 10",
            "E_BAD_MESSAGE DPUB failed to read message body",
        ),
    ] {
        all.push((E::MessageSizeMissing { command }, missing_size));
        all.push((E::MessageSizeInvalid { command, size: -7 }, invalid));
        all.push((
            E::MessageTooBig {
                command,
                size: 11,
                max: 10,
            },
            too_big,
        ));
        all.push((E::MessageMissing { command }, missing));
    }
    all.push((
        E::MessageTooBig {
            command: PublishMany,
            size: 11,
            max: 10,
        },
        "E_BAD_MESSAGE MPUB message too big 11 > 10",
    ));
    all.push((
        E::MessageMissing {
            command: PublishMany,
        },
        "E_BAD_MESSAGE MPUB failed to read message body",
    ));
    all
}

#[test]
fn every_error_has_upstreams_text() {
    for (error, text) in catalogue() {
        let mut body = Vec::new();
        error.write_body(&mut body);
        assert_eq!(String::from_utf8_lossy(&body), text, "{error:?}");
        if text.is_ascii() {
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn only_a_lost_race_over_a_message_leaves_the_connection_open() {
    for (error, text) in catalogue() {
        let survivable = ["E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"];
        let expected = !survivable.iter().any(|code| text.starts_with(code));
        assert_eq!(error.is_fatal(), expected, "{text}");
    }
}

#[test]
fn echoed_bytes_come_back_as_they_were() {
    let raw: Vec<u8> = (0..=u8::MAX).collect();
    let id = *b"\xff\x80\x7f\0abcdefghijk\xc3";
    let reason = FailureReason::NotInFlight;
    let text = || bytes(&raw);
    for (error, before, echo, after) in [
        (
            CommandError::InvalidCommand { name: text() },
            "E_INVALID invalid command ",
            &raw[..],
            "",
        ),
        (
            CommandError::TlsRequired { name: text() },
            "E_INVALID cannot ",
            &raw,
            " in current state (TLS required)",
        ),
        (
            CommandError::ReadyCountSyntax { text: text() },
            "E_INVALID RDY could not parse count ",
            &raw,
            "",
        ),
        (
            CommandError::DelaySyntax {
                command: Requeue,
                text: text(),
            },
            "E_INVALID REQ could not parse timeout ",
            &raw,
            "",
        ),
        (
            CommandError::FinishFailed {
                id,
                reason: reason.clone(),
            },
            "E_FIN_FAILED FIN ",
            &id,
            " failed ID not in flight",
        ),
        (
            CommandError::RequeueFailed {
                id,
                reason: reason.clone(),
            },
            "E_REQ_FAILED REQ ",
            &id,
            " failed ID not in flight",
        ),
        (
            CommandError::TouchFailed { id, reason },
            "E_TOUCH_FAILED TOUCH ",
            &id,
            " failed ID not in flight",
        ),
    ] {
        let mut body = Vec::new();
        error.write_body(&mut body);
        assert_eq!(
            body,
            [before.as_bytes(), echo, after.as_bytes()].concat(),
            "{error:?}"
        );
    }
}
