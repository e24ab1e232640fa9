//! Commands byte by byte, and everything that can be wrong with one.

use super::*;
use crate::RawMessageId;
use crate::{ChannelName, TopicName, encode};
use proptest::prelude::*;

const ID: &str = "0123456789abcdef";

fn limits() -> Limits {
    Limits {
        max_msg_size: 10,
        max_body_size: 100,
        max_rdy_count: 2500,
        max_req_timeout: Duration::from_hours(1),
    }
}

fn context(state: ClientState, limits: &Limits) -> Context<'_> {
    Context {
        state,
        tls_missing: false,
        heartbeats_disabled: false,
        limits,
    }
}

/// Feeds `bytes` as a connection would that delivers one byte a read, or all in one, and checks
/// that both read the same.
fn decode_all(bytes: &[u8], context: &Context<'_>) -> (Vec<String>, Option<DecodeFailure>) {
    let mut readings = [1, usize::MAX].map(|step| {
        let (mut commands, mut start, mut end) = (Vec::new(), 0, 0);
        let mut decoder = Decoder::new();
        loop {
            match decoder.decode(&bytes[start..end], context) {
                Ok(Some((command, consumed))) => {
                    commands.push(format!("{command:?}"));
                    start += consumed;
                }
                Ok(None) if end == bytes.len() => return (commands, None),
                Ok(None) => end = bytes.len().min(end.saturating_add(step)),
                Err(failure) => return (commands, Some(failure)),
            }
        }
    });
    assert_eq!(readings[0], readings[1], "{}", bytes.escape_ascii());
    std::mem::take(&mut readings[0])
}

/// `bytes` are exactly these commands.
fn check(state: ClientState, bytes: &[u8], commands: &[Command<'_>]) {
    let limits = limits();
    let commands = commands
        .iter()
        .map(|command| format!("{command:?}"))
        .collect();
    let decoded = decode_all(bytes, &context(state, &limits));
    assert_eq!(decoded, (commands, None), "{}", bytes.escape_ascii());
}

/// The first command in `bytes` fails with this text, and already without anything after them.
fn check_refused_in(context: &Context<'_>, bytes: &[u8], text: &str) {
    let (commands, failure) = decode_all(bytes, context);
    assert_eq!(commands, Vec::<String>::new(), "{}", bytes.escape_ascii());
    let Some(DecodeFailure::Refused(error)) = failure else {
        panic!("{}: {failure:?}", bytes.escape_ascii());
    };
    assert_eq!(error.to_string(), text, "{}", bytes.escape_ascii());
    assert!(error.is_fatal());
}

fn check_refused(state: ClientState, bytes: &[u8], text: &str) {
    let limits = limits();
    check_refused_in(&context(state, &limits), bytes, text);
}

/// The stream ends after `bytes`, within a command.
fn check_interrupted(bytes: &[u8], text: Option<&str>) {
    let limits = limits();
    let context = context(ClientState::Init, &limits);
    let mut decoder = Decoder::new();
    assert_eq!(
        decoder.decode(bytes, &context),
        Ok(None),
        "{}",
        bytes.escape_ascii()
    );
    let error = decoder
        .interrupted(bytes, &context)
        .map(|error| error.to_string());
    assert_eq!(error.as_deref(), text, "{}", bytes.escape_ascii());
}

fn with_body(line: &str, size: i32, body: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\n", &size.to_be_bytes(), body].concat()
}

fn batch(line: &str, size: i32, count: i32, messages: &[(i32, &[u8])]) -> Vec<u8> {
    let mut bytes = with_body(line, size, &count.to_be_bytes());
    for (size, body) in messages {
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// What the batch in `bytes` is refused for.
fn check_bad_batch(bytes: &[u8], text: &str) {
    let limits = limits();
    let context = context(ClientState::Init, &limits);
    let mut decoder = Decoder::new();
    let decoded = decoder.decode(bytes, &context);
    let Ok(Some((
        Command::PublishMany {
            topic: "t",
            messages: Err(error),
        },
        consumed,
    ))) = decoded
    else {
        panic!("{}: {decoded:?}", bytes.escape_ascii());
    };
    assert_eq!(error.to_string(), text);
    assert!(consumed <= bytes.len());
}

fn id() -> RawMessageId {
    *b"0123456789abcdef"
}

mod commands {
    use super::*;
    use ClientState::{Closing, Init, Subscribed};

    #[test]
    fn every_command_is_read() {
        check(Init, b"NOP\n", &[Command::Nop]);
        check(
            Init,
            &with_body("IDENTIFY", 2, b"{}"),
            &[Command::Identify { body: b"{}" }],
        );
        check(
            Init,
            &with_body("AUTH", 3, b"key"),
            &[Command::Auth { secret: b"key" }],
        );
        check(
            Init,
            b"SUB t c\n",
            &[Command::Subscribe {
                topic: "t",
                channel: "c",
            }],
        );
        check(
            Init,
            &with_body("PUB t", 2, b"hi"),
            &[Command::Publish {
                topic: "t",
                body: b"hi",
            }],
        );
        let delay = Duration::from_millis(1500);
        check(
            Init,
            &with_body("DPUB t 1500", 2, b"hi"),
            &[Command::PublishDeferred {
                topic: "t",
                delay,
                body: b"hi",
            }],
        );
        check(Subscribed, b"RDY 7\n", &[Command::Ready { count: 7 }]);
        for state in [Subscribed, Closing] {
            check(
                state,
                format!("FIN {ID}\n").as_bytes(),
                &[Command::Finish { id: id() }],
            );
            check(
                state,
                format!("TOUCH {ID}\n").as_bytes(),
                &[Command::Touch { id: id() }],
            );
            let requeue = Command::Requeue {
                id: id(),
                delay,
                clamped_from: None,
            };
            check(state, format!("REQ {ID} 1500\n").as_bytes(), &[requeue]);
        }
        check(Subscribed, b"CLS\n", &[Command::Close]);
    }

    #[test]
    fn a_batch_is_walked_without_a_copy() {
        let limits = limits();
        let bytes = batch("MPUB t", 15, 2, &[(1, b"a"), (2, b"bc")]);
        let mut decoder = Decoder::new();
        let decoded = decoder.decode(&bytes, &context(Init, &limits));
        let Ok(Some((
            Command::PublishMany {
                topic: "t",
                messages: Ok(messages),
            },
            consumed,
        ))) = decoded
        else {
            panic!("{decoded:?}");
        };
        assert_eq!(consumed, bytes.len());
        assert_eq!((messages.len(), messages.body_bytes()), (2, 3));
        assert_eq!(messages.iter().len(), 2);
        assert_eq!(messages.iter().collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
    }

    #[test]
    fn many_commands_in_one_read_are_read_one_by_one() {
        let mut bytes = with_body("PUB t", 4, b"NOP\n");
        bytes.extend_from_slice(&batch("MPUB t", 9, 1, &[(1, b"a")]));
        bytes.extend_from_slice(&batch("MPUB t", 9, 1, &[(1, b"b")]));
        bytes.extend_from_slice(b"NOP\r\nNO");
        let limits = limits();
        let (commands, failure) = decode_all(&bytes, &context(Init, &limits));
        assert_eq!((commands.len(), failure), (4, None));
        assert_eq!(commands[3], "Nop");
    }

    #[test]
    fn one_carriage_return_before_the_end_of_line_is_dropped() {
        check(Init, b"NOP\r\n", &[Command::Nop]);
        check(Subscribed, b"RDY 1\r\n", &[Command::Ready { count: 1 }]);
        check_refused(Init, b"NOP\r\r\n", "E_INVALID invalid command NOP\r");
        check_refused(Init, b"\r\n", "E_INVALID invalid command ");
        check(
            Init,
            &with_body("PUB t\r", 1, b"\r"),
            &[Command::Publish {
                topic: "t",
                body: b"\r",
            }],
        );
    }

    #[test]
    fn fields_beyond_those_a_command_needs_are_ignored() {
        check(Init, b"NOP now \n", &[Command::Nop]);
        check(
            Init,
            b"SUB t c d\n",
            &[Command::Subscribe {
                topic: "t",
                channel: "c",
            }],
        );
        check(Subscribed, b"RDY 3 x\n", &[Command::Ready { count: 3 }]);
        check(
            Subscribed,
            format!("FIN {ID} \n").as_bytes(),
            &[Command::Finish { id: id() }],
        );
        check(Subscribed, b"CLS x\n", &[Command::Close]);
    }

    #[test]
    fn two_spaces_make_an_empty_field() {
        check(Subscribed, b"RDY  5\n", &[Command::Ready { count: 0 }]);
        check_refused(
            Init,
            b"SUB  c\n",
            "E_BAD_TOPIC SUB topic name \"\" is not valid",
        );
        check_refused(Init, b" NOP\n", "E_INVALID invalid command ");
    }

    #[test]
    fn an_id_is_any_sixteen_bytes_but_space_and_end_of_line() {
        let id = *b"\xff\0\tABCDEFGHIJKLM";
        let line = [b"FIN ", &id[..], b"\n"].concat();
        check(Subscribed, &line, &[Command::Finish { id }]);
    }

    #[test]
    fn a_batch_is_driven_by_its_count_whatever_size_it_declares() {
        let mut bytes = batch("MPUB t", 1, 2, &[(1, b"a"), (1, b"b")]);
        bytes.extend_from_slice(b"NOP\n");
        let limits = limits();
        let (commands, failure) = decode_all(&bytes, &context(Init, &limits));
        assert_eq!((commands.len(), failure), (2, None));
    }

    #[test]
    fn what_may_be_sent_at_any_time_is_read_in_every_state() {
        for state in [Init, Subscribed, Closing] {
            check(state, b"NOP\n", &[Command::Nop]);
            let publish = Command::Publish {
                topic: "t",
                body: b"a",
            };
            check(state, &with_body("PUB t", 1, b"a"), &[publish]);
        }
    }

    #[test]
    fn the_states_have_upstreams_numbers() {
        assert_eq!(
            [Init, Subscribed, Closing].map(ClientState::number),
            [0, 3, 4]
        );
    }
}

mod numbers {
    use super::*;
    use ClientState::{Closing, Init, Subscribed};

    #[test]
    fn the_ready_count_may_be_left_out_or_empty() {
        check(Subscribed, b"RDY\n", &[Command::Ready { count: 1 }]);
        check(Subscribed, b"RDY \n", &[Command::Ready { count: 0 }]);
        check(Subscribed, b"RDY 2500\n", &[Command::Ready { count: 2500 }]);
        check(
            Subscribed,
            b"RDY 18446744073709551617\n",
            &[Command::Ready { count: 1 }],
        );
    }

    #[test]
    fn a_ready_count_out_of_range_is_refused_as_a_signed_number() {
        for (text, shown) in [
            ("2501", "2501"),
            ("18446744073709551615", "-1"),
            ("9223372036854775808", "-9223372036854775808"),
        ] {
            let expected = format!("E_INVALID RDY count {shown} out of range 0-2500");
            check_refused(Subscribed, format!("RDY {text}\n").as_bytes(), &expected);
        }
    }

    #[test]
    fn a_highest_ready_count_beyond_32_bits_is_as_good_as_none() {
        let limits = Limits {
            max_rdy_count: i64::MAX,
            ..limits()
        };
        let context = context(Subscribed, &limits);
        let decoded = Decoder::new()
            .decode(b"RDY 4294967296\n", &context)
            .map(Option::unzip);
        assert_eq!(
            decoded,
            Ok((Some(Command::Ready { count: u32::MAX }), Some(15)))
        );
    }

    #[test]
    fn after_close_a_ready_count_is_not_even_looked_at() {
        check(Closing, b"RDY x\n", &[Command::ReadyIgnored]);
        check(Closing, b"RDY 9999\n", &[Command::ReadyIgnored]);
    }

    #[test]
    fn a_requeue_delay_out_of_range_is_clamped() {
        let max = Duration::from_hours(1);
        for (text, delay, clamped_from) in [
            ("", Duration::ZERO, None),
            ("0", Duration::ZERO, None),
            ("3600000", max, None),
            ("3600001", max, Some(3_600_001)),
            // -1 ms
            ("18446744073709551615", Duration::ZERO, Some(-1)),
            // 2^63 ms is a multiple of 2^64 ns
            ("9223372036854775808", Duration::ZERO, None),
            // The product with 10^6 wraps around to a negative number, and to a small one.
            ("9223372036855", Duration::ZERO, Some(9_223_372_036_855)),
            ("18446744073710", Duration::from_nanos(448_384), None),
        ] {
            let requeue = Command::Requeue {
                id: id(),
                delay,
                clamped_from,
            };
            check(
                Subscribed,
                format!("REQ {ID} {text}\n").as_bytes(),
                &[requeue],
            );
        }
    }

    #[test]
    fn a_publish_delay_out_of_range_is_refused_as_an_unsigned_number() {
        for text in ["3600001", "18446744073709551615", "9223372036855"] {
            let expected = format!("E_INVALID DPUB timeout {text} out of range 0-3600000");
            check_refused(Init, format!("DPUB t {text}\n").as_bytes(), &expected);
        }
        for (text, delay) in [
            ("", Duration::ZERO),
            ("3600000", Duration::from_hours(1)),
            ("18446744073709551616", Duration::ZERO),
            ("18446744073710", Duration::from_nanos(448_384)),
        ] {
            let publish = Command::PublishDeferred {
                topic: "t",
                delay,
                body: b"a",
            };
            check(
                Init,
                &with_body(&format!("DPUB t {text}"), 1, b"a"),
                &[publish],
            );
        }
    }
}

mod refusals {
    use super::*;
    use ClientState::{Closing, Init, Subscribed};

    #[test]
    fn unknown_commands_are_repeated_to_the_byte() {
        check_refused(Init, b"\n", "E_INVALID invalid command ");
        check_refused(Init, b"nop\n", "E_INVALID invalid command nop");
        check_refused(Init, b"NOP\t\n", "E_INVALID invalid command NOP\t");
        let limits = limits();
        let failure = Decoder::new().decode(b"\xff\xfe x\n", &context(Init, &limits));
        let error = CommandError::InvalidCommand {
            name: b"\xff\xfe"[..].into(),
        };
        assert_eq!(failure, Err(DecodeFailure::Refused(error)));
    }

    #[test]
    fn a_command_in_the_wrong_state_is_refused_before_its_parameters() {
        for (state, name) in [
            (Subscribed, "IDENTIFY"),
            (Closing, "IDENTIFY"),
            (Subscribed, "AUTH"),
            (Closing, "AUTH"),
            (Subscribed, "SUB"),
            (Closing, "SUB"),
            (Init, "RDY"),
            (Init, "FIN"),
            (Init, "REQ"),
            (Init, "TOUCH"),
            (Init, "CLS"),
            (Closing, "CLS"),
        ] {
            let expected = format!("E_INVALID cannot {name} in current state");
            check_refused(state, format!("{name}\n").as_bytes(), &expected);
            check_refused(state, format!("{name} a b c\n").as_bytes(), &expected);
        }
    }

    #[test]
    fn without_tls_only_identify_passes() {
        let limits = limits();
        let context = Context {
            tls_missing: true,
            ..context(Init, &limits)
        };
        for name in ["NOP", "nonsense", "PUB", "RDY", "AUTH", ""] {
            let expected = format!("E_INVALID cannot {name} in current state (TLS required)");
            check_refused_in(&context, format!("{name} x\n").as_bytes(), &expected);
        }
        let (commands, failure) = decode_all(&with_body("IDENTIFY", 2, b"{}"), &context);
        assert_eq!((commands.len(), failure), (1, None));
    }

    #[test]
    fn without_heartbeats_there_is_no_subscribing() {
        let limits = limits();
        let context = Context {
            heartbeats_disabled: true,
            ..context(Init, &limits)
        };
        check_refused_in(
            &context,
            b"SUB\n",
            "E_INVALID cannot SUB with heartbeats disabled",
        );
    }

    #[test]
    fn missing_parameters_are_refused() {
        for line in [
            "SUB", "SUB t", "SUB !", "PUB", "MPUB", "DPUB", "DPUB t", "DPUB !",
        ] {
            let name = line.split(' ').next().unwrap();
            let expected = format!("E_INVALID {name} insufficient number of parameters");
            check_refused(Init, format!("{line}\n").as_bytes(), &expected);
        }
        for line in ["FIN", "TOUCH", "REQ", "REQ x"] {
            let name = line.split(' ').next().unwrap();
            let expected = format!("E_INVALID {name} insufficient number of params");
            check_refused(Subscribed, format!("{line}\n").as_bytes(), &expected);
        }
        check_refused(
            Init,
            b"AUTH \n",
            "E_INVALID AUTH invalid number of parameters",
        );
        check_refused(
            Init,
            b"AUTH x\n",
            "E_INVALID AUTH invalid number of parameters",
        );
    }

    #[test]
    fn bad_names_are_refused_before_anything_that_follows() {
        for (line, text) in [
            (
                "SUB a/b c!",
                "E_BAD_TOPIC SUB topic name \"a/b\" is not valid",
            ),
            (
                "SUB a c!",
                "E_BAD_CHANNEL SUB channel name \"c!\" is not valid",
            ),
            ("SUB a ", "E_BAD_CHANNEL SUB channel name \"\" is not valid"),
            ("PUB ", "E_BAD_TOPIC PUB topic name \"\" is not valid"),
            (
                "PUB a\tb",
                "E_BAD_TOPIC PUB topic name \"a\\tb\" is not valid",
            ),
            ("DPUB ! x", "E_BAD_TOPIC DPUB topic name \"!\" is not valid"),
            (
                "MPUB !",
                "E_BAD_TOPIC E_BAD_TOPIC MPUB topic name \"!\" is not valid",
            ),
        ] {
            check_refused(Init, format!("{line}\n").as_bytes(), text);
        }
    }

    #[test]
    fn ids_and_numbers_that_are_none_are_refused() {
        for (line, text) in [
            ("FIN 0123456789abcde", "E_INVALID invalid message ID"),
            ("FIN 0123456789abcdef0", "E_INVALID invalid message ID"),
            ("TOUCH ", "E_INVALID invalid message ID"),
            ("REQ x x", "E_INVALID invalid message ID"),
            (
                "REQ 0123456789abcdef -1",
                "E_INVALID REQ could not parse timeout -1",
            ),
            ("RDY -1", "E_INVALID RDY could not parse count -1"),
            ("RDY 1.5", "E_INVALID RDY could not parse count 1.5"),
            ("DPUB t 1s", "E_INVALID DPUB could not parse timeout 1s"),
        ] {
            check_refused(Subscribed, format!("{line}\n").as_bytes(), text);
        }
    }

    #[test]
    fn a_bad_size_is_refused_before_its_body_arrives() {
        for name in ["IDENTIFY", "AUTH"] {
            for (size, text) in [
                (101, "body too big 101 > 100"),
                (i32::MAX, "body too big 2147483647 > 100"),
                (0, "invalid body size 0"),
                (-1, "invalid body size -1"),
            ] {
                let expected = format!("E_BAD_BODY {name} {text}");
                check_refused(Init, &with_body(name, size, b""), &expected);
            }
        }
        for line in ["PUB t", "DPUB t 0"] {
            let name = line.split(' ').next().unwrap();
            for (size, text) in [
                (0, "invalid message body size 0"),
                (i32::MIN, "invalid message body size -2147483648"),
                (11, "message too big 11 > 10"),
            ] {
                let expected = format!("E_BAD_MESSAGE {name} {text}");
                check_refused(Init, &with_body(line, size, b""), &expected);
            }
        }
        for size in [10, 9] {
            let body = vec![b'x'; usize::try_from(size).unwrap()];
            let publish = Command::Publish {
                topic: "t",
                body: &body,
            };
            check(Init, &with_body("PUB t", size, &body), &[publish]);
        }
    }

    #[test]
    fn a_bad_batch_still_names_its_topic() {
        for (bytes, text) in [
            (
                with_body("MPUB t", 0, b""),
                "E_BAD_BODY MPUB invalid body size 0",
            ),
            (
                with_body("MPUB t", -1, b""),
                "E_BAD_BODY MPUB invalid body size -1",
            ),
            (
                with_body("MPUB t", 101, b""),
                "E_BAD_BODY MPUB body too big 101 > 100",
            ),
            (
                batch("MPUB t", 100, 0, &[]),
                "E_BAD_BODY MPUB invalid message count 0",
            ),
            (
                batch("MPUB t", 100, -1, &[]),
                "E_BAD_BODY MPUB invalid message count -1",
            ),
            // (100 - 4) / 5 is 19
            (
                batch("MPUB t", 100, 20, &[]),
                "E_BAD_BODY MPUB invalid message count 20",
            ),
            (
                batch("MPUB t", 100, 19, &[(1, b"a"), (0, b"")]),
                "E_BAD_MESSAGE MPUB invalid message(1) body size 0",
            ),
            (
                batch("MPUB t", 100, 2, &[(-5, b"")]),
                "E_BAD_MESSAGE MPUB invalid message(0) body size -5",
            ),
            (
                batch("MPUB t", 100, 2, &[(1, b"a"), (11, b"")]),
                "E_BAD_MESSAGE MPUB message too big 11 > 10",
            ),
        ] {
            check_bad_batch(&bytes, text);
        }
    }

    #[test]
    fn messages_that_exceed_the_largest_body_in_all_are_refused() {
        // 4 + 6 * (4 + 10) is 88; 2 more bytes of size 4 + 8 fit, one more does not.
        let ten = (10, &b"0123456789"[..]);
        let fits = batch(
            "MPUB t",
            100,
            7,
            &[ten, ten, ten, ten, ten, ten, (8, b"01234567")],
        );
        let limits = limits();
        let (commands, failure) = decode_all(&fits, &context(Init, &limits));
        assert_eq!((commands.len(), failure), (1, None));
        let exceeds = batch("MPUB t", 4, 7, &[ten, ten, ten, ten, ten, ten, (9, b"")]);
        check_bad_batch(&exceeds, "E_BAD_BODY MPUB body too big 101 > 100");
    }

    #[test]
    fn a_line_may_have_16384_bytes_and_no_more() {
        let limits = limits();
        let context = context(Init, &limits);
        let mut line = vec![b'x'; MAX_LINE_BYTES];
        line[..4].copy_from_slice(b"NOP ");
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.decode(&line[..MAX_LINE_BYTES - 1], &context),
            Ok(None)
        );
        assert_eq!(
            decoder.decode(&line, &context),
            Err(DecodeFailure::LineTooLong)
        );
        assert_eq!(decoder.interrupted(&line, &context), None);
        line.push(b'\n');
        assert_eq!(
            decoder.decode(&line, &context),
            Err(DecodeFailure::LineTooLong)
        );
        line.swap_remove(MAX_LINE_BYTES - 1);
        assert_eq!(
            decoder.decode(&line, &context),
            Ok(Some((Command::Nop, MAX_LINE_BYTES)))
        );
    }
}

mod interruptions {
    use super::*;

    #[test]
    fn within_a_line_the_connection_closes_without_a_word() {
        for bytes in ["", "N", "NOP", "SUB t c\r"] {
            check_interrupted(bytes.as_bytes(), None);
        }
    }

    #[test]
    fn within_a_body_the_missing_piece_is_named() {
        for (line, code, size, body) in [
            ("IDENTIFY", "E_BAD_BODY IDENTIFY", "body size", "body"),
            ("AUTH", "E_BAD_BODY AUTH", "body size", "body"),
            (
                "PUB t",
                "E_BAD_MESSAGE PUB",
                "message body size",
                "message body",
            ),
            (
                "DPUB t 1",
                "E_BAD_MESSAGE DPUB",
                "message body size",
                "message body",
            ),
        ] {
            let whole = with_body(line, 2, b"hi");
            let start = line.len() + 1;
            for end in start..whole.len() {
                let missing = if end < start + 4 { size } else { body };
                let expected = format!("{code} failed to read {missing}");
                check_interrupted(&whole[..end], Some(&expected));
            }
        }
    }

    #[test]
    fn within_a_batch_the_missing_piece_is_named() {
        let whole = batch("MPUB t", 15, 2, &[(1, b"a"), (2, b"bc")]);
        let pieces = [
            (4, "E_BAD_BODY MPUB failed to read body size"),
            (4, "E_BAD_BODY MPUB failed to read message count"),
            (4, "E_BAD_MESSAGE MPUB failed to read message(0) body size"),
            (1, "E_BAD_MESSAGE MPUB failed to read message body"),
            (4, "E_BAD_MESSAGE MPUB failed to read message(1) body size"),
            (2, "E_BAD_MESSAGE MPUB failed to read message body"),
        ];
        let mut end = "MPUB t\n".len();
        for (bytes, text) in pieces {
            for _ in 0..bytes {
                check_interrupted(&whole[..end], Some(text));
                end += 1;
            }
        }
        assert_eq!(end, whole.len());
    }
}

#[test]
fn a_batch_in_many_reads_is_checked_once() {
    let limits = Limits {
        max_body_size: 1 << 20,
        ..limits()
    };
    let context = context(ClientState::Init, &limits);
    let mut bytes = Vec::new();
    encode::publish_many(
        &mut bytes,
        &TopicName::parse("t").unwrap(),
        vec![b"x"; 1000],
    );
    let mut decoder = Decoder::new();
    let half = bytes.len() / 2;
    assert_eq!(decoder.decode(&bytes[..half], &context), Ok(None));
    // Whatever was checked is not looked at again: spoiling it now goes unnoticed.
    assert!(decoder.batch.bytes() > half - 100);
    bytes["MPUB t\n".len() + 8] = 0xff;
    let decoded = decoder.decode(&bytes, &context);
    assert!(matches!(
        decoded,
        Ok(Some((
            Command::PublishMany {
                messages: Ok(_),
                ..
            },
            _
        )))
    ));
    assert_eq!(decoder.batch.bytes(), 0);
}

fn any_state() -> impl Strategy<Value = ClientState> {
    prop_oneof![
        Just(ClientState::Init),
        Just(ClientState::Subscribed),
        Just(ClientState::Closing)
    ]
}

/// Something like a command, or nothing like one.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "FIN",
        "PUB t",
        "RDY",
        "MPUB t",
        "REQ",
        "TOUCH",
        "DPUB t 1",
        "NOP",
        "SUB t",
        "CLS",
        "IDENTIFY",
        "AUTH",
        "\n",
        "MPUB t\n\0\0\0\x20\0\0\0\x02\0\0\0\x01a\0\0\0\x01b",
    ]);
    let rest = prop::collection::vec(
        prop_oneof![
            Just(0),
            Just(1),
            Just(b'\n'),
            Just(b' '),
            Just(b'0'),
            any::<u8>()
        ],
        0..40,
    );
    let command = (name, rest).prop_map(|(name, rest)| [name.as_bytes(), &rest].concat());
    prop::collection::vec(command, 0..4).prop_map(|commands| commands.concat())
}

proptest! {
    #[test]
    fn a_fin_reads_the_same_on_the_short_way_as_on_the_long_one(
        id in prop::array::uniform16(prop_oneof![
            8 => Just(b'a'),
            1 => Just(b' '),
            1 => Just(b'\n'),
            1 => Just(b'\r'),
            1 => any::<u8>(),
        ]),
        end in prop::sample::select(vec!["\n", "\r\n", "x\n", " \n", ""]),
        state in any_state(),
        tls_missing: bool,
    ) {
        let limits = limits();
        let context = Context { tls_missing, ..context(state, &limits) };
        let line = [b"FIN ", &id[..], end.as_bytes()].concat();
        let long = match read_command(&mut BatchProgress::default(), &line, &context) {
            Ok(command) => Ok(Some(command)),
            Err(Stop::Partial(_)) => Ok(None),
            Err(Stop::Failed(failure)) => Err(failure),
        };
        prop_assert_eq!(Decoder::new().decode(&line, &context), long);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_read_the_same_in_every_chunking(
        bytes in any_input(),
        state in any_state(),
        tls_missing in prop::bool::weighted(0.1),
    ) {
        let limits = limits();
        let context = Context { tls_missing, ..context(state, &limits) };
        let mut decoder = Decoder::new();
        let mut start = 0;
        while let Ok(Some((command, consumed))) = decoder.decode(&bytes[start..], &context) {
            prop_assert!(consumed > 0 && start + consumed <= bytes.len());
            start += consumed;
            // After a bad batch nothing is defined: the connection closes.
            if matches!(command, Command::PublishMany { messages: Err(_), .. }) {
                return Ok(());
            }
        }
        let _ = decoder.interrupted(&bytes[start..], &context);
        decode_all(&bytes, &context);
    }

    #[test]
    fn a_decoder_that_is_lied_to_does_not_panic(first in any_input(), second: Vec<u8>) {
        let limits = limits();
        let context = context(ClientState::Init, &limits);
        let mut decoder = Decoder::new();
        let _ = decoder.decode(&first, &context);
        let _ = decoder.decode(&second, &context);
        let _ = decoder.interrupted(&second, &context);
    }

    #[test]
    fn what_a_client_writes_is_what_nsqd_reads(
        topic in "[.a-zA-Z0-9_-]{1,54}(#ephemeral)?",
        channel in "[.a-zA-Z0-9_-]{1,54}(#ephemeral)?",
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..20),
        millis in 0..=3_600_000u64,
        count in 0..=2500u32,
        id in prop::array::uniform16(prop_oneof![b'0'..=b'9', b'a'..=b'f']),
    ) {
        let limits = Limits { max_msg_size: 20, max_body_size: 1000, ..limits() };
        let topic = TopicName::parse(&topic).unwrap();
        let channel = ChannelName::parse(&channel).unwrap();
        let delay = Duration::from_millis(millis);
        let body = &bodies[0];

        let mut out = Vec::new();
        encode::identify(&mut out, body);
        encode::auth(&mut out, body);
        encode::publish(&mut out, &topic, body);
        encode::publish_many(&mut out, &topic, &bodies);
        encode::publish_deferred(&mut out, &topic, delay, body);
        encode::nop(&mut out);
        encode::subscribe(&mut out, &topic, &channel);
        let (topic, channel) = (topic.as_str(), channel.as_str());
        let before = out.len();
        let mut read = Vec::new();
        let mut decoder = Decoder::new();
        let init = context(ClientState::Init, &limits);
        let mut start = 0;
        while let Some((command, consumed)) = decoder.decode(&out[start..], &init).unwrap() {
            if let Command::PublishMany { messages: Ok(messages), .. } = &command {
                prop_assert_eq!(messages.iter().collect::<Vec<_>>(), bodies.clone());
                prop_assert_eq!(messages.body_bytes(), bodies.concat().len());
                read.push(Command::Close);
            } else {
                read.push(command);
            }
            start += consumed;
        }
        prop_assert_eq!(start, before);
        prop_assert_eq!(read, vec![
            Command::Identify { body },
            Command::Auth { secret: body },
            Command::Publish { topic, body },
            Command::Close,
            Command::PublishDeferred { topic, delay, body },
            Command::Nop,
            Command::Subscribe { topic, channel },
        ]);

        let mut out = Vec::new();
        encode::ready(&mut out, count);
        encode::finish(&mut out, &id);
        encode::requeue(&mut out, &id, delay);
        encode::touch(&mut out, &id);
        encode::close(&mut out);
        check(ClientState::Subscribed, &out, &[
            Command::Ready { count },
            Command::Finish { id },
            Command::Requeue { id, delay, clamped_from: None },
            Command::Touch { id },
            Command::Close,
        ]);
    }
}

#[test]
fn a_batch_that_has_only_begun_tells_its_topic() {
    let limits = limits();
    let check = |bytes: &[u8], expected: Option<&str>| {
        let mut decoder = Decoder::new();
        let context = context(ClientState::Init, &limits);
        assert!(matches!(decoder.decode(bytes, &context), Ok(None)));
        assert_eq!(decoder.awaited_batch(bytes), expected);
    };
    check(b"MPUB t\n", Some("t"));
    check(
        b"MPUB t#ephemeral x\r\n\0\0\0\x20\0\0\0\x01",
        Some("t#ephemeral"),
    );
    check(b"MPUB t", None);
    check(b"PUB t\n\0\0", None);
    check(b"", None);
}
