//! The error catalogue: texts byte for byte, and which of them end the connection.

use nsq_tests::{Nsqd, PATIENCE, RawClient};

/// Limits small enough to pass.
pub(crate) const FLAGS: [&str; 4] = [
    "--max-msg-size=100",
    "--max-body-size=1000",
    "--max-rdy-count=50",
    "--max-req-timeout=1h",
];

/// Sends each case on a connection of its own, after `before`, and wants its error and then the end.
#[track_caller]
pub(crate) fn check_fatal(before: &[u8], oks_before: usize, cases: &[(Vec<u8>, &str)]) {
    let nsqd = Nsqd::start(&FLAGS);
    for (bytes, error) in cases {
        let mut client = nsqd.connect();
        client.send(before);
        for _ in 0..oks_before {
            client.expect_ok();
        }
        client.send(bytes);
        client.expect_error(error);
        client.expect_closed();
    }
}

pub(crate) fn line(line: &str) -> Vec<u8> {
    format!("{line}\n").into_bytes()
}

/// A command line and a size, with nothing after it.
pub(crate) fn sized(line: &str, size: i32) -> Vec<u8> {
    [line.as_bytes(), b"\n", &size.to_be_bytes()].concat()
}

pub(crate) fn body(line: &str, body: &[u8]) -> Vec<u8> {
    RawClient::command(line, body)
}

#[test]
fn a_bad_magic_is_refused_without_a_description() {
    let nsqd = Nsqd::start(&[]);
    for magic in ["GET ", "  V1", "V2  ", "\0\0\0\0"] {
        let mut client = RawClient::connect_silently(nsqd.tcp());
        client.send(magic.as_bytes());
        client.expect_error("E_BAD_PROTOCOL");
        client.expect_closed();
    }
}

#[test]
fn unknown_commands_are_fatal() {
    check_fatal(
        b"",
        0,
        &[
            (line(""), "E_INVALID invalid command "),
            (b"\n\n".to_vec(), "E_INVALID invalid command "),
            (line("BOGUS a b"), "E_INVALID invalid command BOGUS"),
            (line("nop"), "E_INVALID invalid command nop"),
            (line(" NOP"), "E_INVALID invalid command "),
            (b"NOP\r\r\n".to_vec(), "E_INVALID invalid command NOP\r"),
        ],
    );
}

#[test]
fn commands_before_sub_are_checked() {
    check_fatal(
        b"",
        0,
        &[
            (line("RDY 1"), "E_INVALID cannot RDY in current state"),
            (
                line("FIN 0123456789abcdef"),
                "E_INVALID cannot FIN in current state",
            ),
            (
                line("REQ 0123456789abcdef 0"),
                "E_INVALID cannot REQ in current state",
            ),
            (
                line("TOUCH 0123456789abcdef"),
                "E_INVALID cannot TOUCH in current state",
            ),
            (line("CLS"), "E_INVALID cannot CLS in current state"),
            (
                line("SUB"),
                "E_INVALID SUB insufficient number of parameters",
            ),
            (
                line("SUB t"),
                "E_INVALID SUB insufficient number of parameters",
            ),
            (
                line("SUB t! c"),
                r#"E_BAD_TOPIC SUB topic name "t!" is not valid"#,
            ),
            (
                line("SUB t c!"),
                r#"E_BAD_CHANNEL SUB channel name "c!" is not valid"#,
            ),
            (
                line("SUB t  c"),
                r#"E_BAD_CHANNEL SUB channel name "" is not valid"#,
            ),
            (
                line("SUB \"\t\\ c"),
                r#"E_BAD_TOPIC SUB topic name "\"\t\\" is not valid"#,
            ),
            (
                b"SUB \x01\x7f\xff c\n".to_vec(),
                r#"E_BAD_TOPIC SUB topic name "\x01\x7f\xff" is not valid"#,
            ),
            (
                line("SUB é% c"),
                r#"E_BAD_TOPIC SUB topic name "é%" is not valid"#,
            ),
            (
                line("AUTH x"),
                "E_INVALID AUTH invalid number of parameters",
            ),
            (line("AUTH "), "E_INVALID AUTH invalid number of parameters"),
            (body("AUTH", b"secret"), "E_AUTH_DISABLED AUTH disabled"),
            (sized("AUTH", 0), "E_BAD_BODY AUTH invalid body size 0"),
            (
                sized("AUTH", 1001),
                "E_BAD_BODY AUTH body too big 1001 > 1000",
            ),
        ],
    );
}

#[test]
fn commands_after_sub_are_checked() {
    check_fatal(
        b"SUB t c\n",
        1,
        &[
            (line("SUB t c"), "E_INVALID cannot SUB in current state"),
            (
                body("IDENTIFY", b"{}"),
                "E_INVALID cannot IDENTIFY in current state",
            ),
            (
                body("AUTH", b"secret"),
                "E_INVALID cannot AUTH in current state",
            ),
            (line("RDY x"), "E_INVALID RDY could not parse count x"),
            (line("RDY +1"), "E_INVALID RDY could not parse count +1"),
            (line("RDY -1"), "E_INVALID RDY could not parse count -1"),
            (line("RDY 51"), "E_INVALID RDY count 51 out of range 0-50"),
            (
                line("RDY 18446744073709551615"),
                "E_INVALID RDY count -1 out of range 0-50",
            ),
            (line("FIN"), "E_INVALID FIN insufficient number of params"),
            (line("FIN 0123456789abcde"), "E_INVALID invalid message ID"),
            (
                line("FIN 0123456789abcdefg"),
                "E_INVALID invalid message ID",
            ),
            (
                line("REQ 0123456789abcdef"),
                "E_INVALID REQ insufficient number of params",
            ),
            (line("REQ 0123 x"), "E_INVALID invalid message ID"),
            (
                line("REQ 0123456789abcdef -1"),
                "E_INVALID REQ could not parse timeout -1",
            ),
            (
                line("TOUCH"),
                "E_INVALID TOUCH insufficient number of params",
            ),
            (line("TOUCH 0123"), "E_INVALID invalid message ID"),
        ],
    );
}

#[test]
fn answers_about_unknown_messages_keep_the_connection() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    for (command, error) in [
        (
            "FIN 0123456789abcdef",
            "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight",
        ),
        (
            "REQ 0123456789abcdef 0",
            "E_REQ_FAILED REQ 0123456789abcdef failed ID not in flight",
        ),
        (
            "TOUCH 0123456789abcdef",
            "E_TOUCH_FAILED TOUCH 0123456789abcdef failed ID not in flight",
        ),
        (
            "FIN ????????????????",
            "E_FIN_FAILED FIN ???????????????? failed ID not in flight",
        ),
    ] {
        client.send_line(command);
        client.expect_error(error);
    }
    client.publish("t", "still here");
    client.expect_body("still here");
}

#[test]
fn a_line_without_an_end_is_cut_without_a_word() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.send(&[b'x'; 16_384]);
    client.expect_closed();

    let mut client = nsqd.connect();
    let longest = "x".repeat(16_383);
    client.send_line(&longest);
    client.expect_error(&format!("E_INVALID invalid command {longest}"));
    client.expect_closed();
}

#[test]
fn one_consumer_too_many_is_refused() {
    let nsqd = Nsqd::start(&["--max-channel-consumers=1"]);
    let first = nsqd.subscribe("t", "c", 1);
    let mut second = nsqd.connect();
    second.send_line("SUB t c");
    second.expect_error("E_SUB_FAILED SUB failed consumers for t:c exceeds limit of 1");
    second.expect_closed();
    nsqd.subscribe("t", "other", 1);

    drop(first);
    nsq_tests::wait_until("the first consumer is gone", PATIENCE, || {
        nsqd.channel("t", "c")["client_count"] == 0
    });
    nsqd.subscribe("t", "c", 1);
}
