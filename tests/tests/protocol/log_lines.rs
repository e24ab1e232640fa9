//! What nsqd and nsqlookupd write to their logs about a connection: the lines that operators search for.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use nsq_tests::{Daemon, Lookupd, Nsqd, PATIENCE, RawClient};

const ID: &str = "0123456789abcdef";

/// A connection whose lines in the log are looked at.
struct Watched<'a> {
    daemon: &'a Daemon,
    stream: TcpStream,
    address: String,
}

impl<'a> Watched<'a> {
    fn connect(daemon: &'a Daemon) -> Self {
        let stream = TcpStream::connect(daemon.tcp()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let address = stream.local_addr().expect("connected").to_string();
        Self {
            daemon,
            stream,
            address,
        }
    }

    fn sending(daemon: &'a Daemon, bytes: impl AsRef<[u8]>) -> Self {
        let mut client = Self::connect(daemon);
        client.stream.write_all(bytes.as_ref()).expect("it reads");
        client
    }

    /// Ends what is sent, and waits until nsqd closes.
    fn finish(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Waits until the log has `line`, in which `ADDR` stands for the client's address.
    #[track_caller]
    fn expect_line(&self, line: &str) {
        let line = line.replace("ADDR", &self.address);
        assert!(
            self.daemon.log().wait_for(&line, PATIENCE).is_some(),
            "no {line:?} in:\n{}",
            self.daemon.log().tail()
        );
    }

    #[track_caller]
    fn expect_lines(&self, lines: &[&str]) {
        for line in lines {
            self.expect_line(line);
        }
    }

    /// How many lines name the client and contain `text`.
    fn count(&self, text: &str) -> usize {
        let log = self.daemon.log().text();
        let lines = log.lines().filter(|line| line.contains(&self.address));
        lines.filter(|line| line.contains(text)).count()
    }
}

fn with_magic(rest: impl AsRef<[u8]>) -> Vec<u8> {
    [b"  V2", rest.as_ref()].concat()
}

#[test]
fn the_magic_is_in_the_log_and_a_wrong_or_missing_one_is_an_error() {
    let nsqd = Nsqd::start(&[]);
    let mut client = Watched::sending(&nsqd, "  V2");
    client.finish();
    client.expect_lines(&[
        "INFO: TCP: new client(ADDR)",
        "INFO: CLIENT(ADDR): desired protocol magic '  V2'",
        "INFO: PROTOCOL(V2): [ADDR] exiting ioloop",
        "INFO: PROTOCOL(V2): [ADDR] exiting messagePump",
    ]);
    assert_eq!(client.count("ERROR"), 0);

    let mut client = Watched::sending(&nsqd, "GET / HTTP/1.1\r\n\r\n");
    client.finish();
    client.expect_lines(&[
        "INFO: CLIENT(ADDR): desired protocol magic 'GET '",
        "ERROR: client(ADDR) bad protocol magic 'GET '",
    ]);
    assert_eq!(client.count("ERROR"), 1);
    assert_eq!(client.count("ioloop"), 0);

    for (bytes, cause) in [("", "EOF"), ("  V", "unexpected EOF")] {
        let mut client = Watched::sending(&nsqd, bytes);
        client.finish();
        client.expect_line(&format!("ERROR: failed to read protocol version - {cause}"));
        assert_eq!(client.count("ioloop"), 0);
    }
}

#[test]
fn a_fatal_error_is_logged_as_an_answer_and_as_an_end() {
    let nsqd = Nsqd::start(&[]);
    for (sent, error, cause) in [
        (&b"BOGUS\n"[..], "E_INVALID invalid command BOGUS", ""),
        (
            b"PUB t\n\0\0",
            "E_BAD_MESSAGE PUB failed to read message body size",
            " - unexpected EOF",
        ),
        (
            b"PUB t\n\0\0\0\x05",
            "E_BAD_MESSAGE PUB failed to read message body",
            " - EOF",
        ),
        (
            b"DPUB t soon\n",
            "E_INVALID DPUB could not parse timeout soon",
            " - failed to convert to Base10",
        ),
        (
            b"IDENTIFY\n\0\0\0\x18{\"heartbeat_interval\":5}",
            "E_BAD_BODY IDENTIFY heartbeat interval (5) is invalid",
            " - heartbeat interval (5) is invalid",
        ),
    ] {
        let mut client = Watched::sending(&nsqd, with_magic(sent));
        client.finish();
        client.expect_lines(&[
            &format!("ERROR: [ADDR] - {error}{cause}"),
            "INFO: PROTOCOL(V2): [ADDR] exiting ioloop",
            &format!("ERROR: client(ADDR) - {error}"),
        ]);
        assert_eq!(client.count("ERROR"), 2);
    }
}

#[test]
fn an_error_that_leaves_the_connection_open_is_logged_once() {
    let nsqd = Nsqd::start(&[]);
    let commands =
        format!("SUB t c\nFIN {ID}\nREQ {ID} 0\nTOUCH {ID}\nREQ {ID} 99999999\nCLS\nRDY 1\n");
    let mut client = Watched::sending(&nsqd, with_magic(commands));
    client.expect_lines(&[
        &format!("ERROR: [ADDR] - E_FIN_FAILED FIN {ID} failed ID not in flight - ID not in flight"),
        &format!("ERROR: [ADDR] - E_REQ_FAILED REQ {ID} failed ID not in flight - ID not in flight"),
        &format!("ERROR: [ADDR] - E_TOUCH_FAILED TOUCH {ID} failed ID not in flight - ID not in flight"),
        // Nanoseconds, as upstream prints them.
        "INFO: PROTOCOL(V2): [ADDR] REQ timeout 99999999000000 out of range 0-3600000000000. Setting to 3600000000000",
        "INFO: PROTOCOL(V2): [ADDR] ignoring RDY after CLS in state ClientStateV2Closing",
    ]);
    client.finish();
    client.expect_line("PROTOCOL(V2): [ADDR] exiting ioloop");
    assert_eq!(
        client.count("client("),
        1,
        "only its arrival:\n{}",
        nsqd.log().tail()
    );
}

#[test]
fn an_identify_is_logged_whole() {
    let nsqd = Nsqd::start(&[]);
    let body = r#"{"client_id":"me","hostname":"me.local","user_agent":"test/1","msg_timeout":2000,"feature_negotiation":true}"#;
    let mut client = Watched::sending(
        &nsqd,
        with_magic(RawClient::command("IDENTIFY", body.as_bytes())),
    );
    client.expect_line(
        "INFO: [ADDR] IDENTIFY: {ClientID:me Hostname:me.local HeartbeatInterval:0 OutputBufferSize:0 \
         OutputBufferTimeout:0 FeatureNegotiation:true TLSv1:false Deflate:false DeflateLevel:0 Snappy:false \
         SampleRate:0 UserAgent:test/1 MsgTimeout:2000",
    );
    client.finish();
}

#[test]
fn a_connection_that_breaks_or_falls_silent_leaves_an_error() {
    let nsqd = Nsqd::start(&[]);
    let identify = RawClient::command("IDENTIFY", br#"{"heartbeat_interval":1000}"#);
    let silent = Watched::sending(&nsqd, with_magic(identify));
    silent.expect_line("ERROR: client(ADDR) - failed to read command - ");
    assert_eq!(silent.count("i/o timeout"), 1);

    let reset = Watched::sending(&nsqd, with_magic("NOP\n"));
    reset.expect_line("desired protocol magic");
    socket2::SockRef::from(&reset.stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    let (address, stream) = (reset.address, reset.stream);
    drop(stream);
    let start = format!("ERROR: client({address}) - failed to read command - ");
    let line = nsqd.log().wait_for(&start, PATIENCE).unwrap();
    assert!(line.ends_with("connection reset by peer"), "{line}");

    let long = Watched::sending(&nsqd, with_magic("x".repeat(20_000)));
    long.expect_line("ERROR: client(ADDR) - failed to read command - bufio: buffer full");
}

#[test]
fn bytes_that_are_not_of_the_agreed_compression_leave_an_error() {
    let nsqd = Nsqd::start(&[]);
    for (feature, garbage, cause) in [
        (
            "snappy",
            &b"\xff\x06\0\0sNaPpY\x01\x08\0\0abcdabcd"[..],
            "snappy: corrupt input",
        ),
        (
            "deflate",
            &[0xff; 20],
            "flate: corrupt input before offset ",
        ),
    ] {
        let body = format!(r#"{{"{feature}":true,"feature_negotiation":true}}"#);
        let mut client = Watched::sending(
            &nsqd,
            with_magic(RawClient::command("IDENTIFY", body.as_bytes())),
        );
        client.expect_line(&format!(
            "PROTOCOL(V2): [ADDR] upgrading connection to {feature}"
        ));
        client.stream.write_all(garbage).unwrap();
        client.expect_line(&format!(
            "ERROR: client(ADDR) - failed to read command - {cause}"
        ));
    }
}

#[test]
fn every_command_and_message_is_logged_at_level_debug() {
    let nsqd = Nsqd::start(&["--log-level=debug"]);
    nsqd.post("/pub?topic=t", b"hello");
    let mut client = Watched::sending(&nsqd, with_magic("SUB t c\nRDY 5\r\n"));
    client.expect_lines(&[
        "DEBUG: PROTOCOL(V2): [ADDR] [SUB t c]",
        "DEBUG: PROTOCOL(V2): [ADDR] [RDY 5]",
    ]);
    let line = nsqd
        .log()
        .wait_for("DEBUG: PROTOCOL(V2): writing msg(", PATIENCE);
    let line = line.expect("a message was sent");
    assert!(
        line.ends_with(&format!(") to client({}) - hello", client.address)),
        "{line}"
    );
    client.finish();
}

#[test]
fn nsqlookupd_logs_the_same_of_its_connections() {
    let lookupd = Lookupd::start();
    let mut client = Watched::sending(&lookupd, "  V1FOO\n");
    client.finish();
    client.expect_lines(&[
        "INFO: CLIENT(ADDR): desired protocol magic '  V1'",
        "ERROR: [ADDR] - E_INVALID invalid command FOO",
        "INFO: PROTOCOL(V1): [ADDR] exiting ioloop",
        "ERROR: client(ADDR) - E_INVALID invalid command FOO",
    ]);
    let mut client = Watched::sending(&lookupd, "  V2FOO\n");
    client.finish();
    client.expect_line("ERROR: client(ADDR) bad protocol magic '  V2'");
    for (bytes, cause) in [("", "EOF"), ("  V", "unexpected EOF")] {
        let mut client = Watched::sending(&lookupd, bytes);
        client.finish();
        client.expect_line(&format!("ERROR: failed to read protocol version - {cause}"));
    }
    let reset = Watched::sending(&lookupd, "  V1PING\n");
    reset.expect_line("desired protocol magic");
    socket2::SockRef::from(&reset.stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    let (address, stream) = (reset.address, reset.stream);
    drop(stream);
    let start = format!("ERROR: client({address}) - ");
    let line = lookupd.log().wait_for(&start, PATIENCE).unwrap();
    assert!(line.ends_with("connection reset by peer"), "{line}");
}

#[test]
fn a_query_that_cannot_be_parsed_leaves_an_error() {
    let nsqd = Nsqd::start(&[]);
    for (path, cause) in [
        ("/pub?topic=%zz", "invalid URL escape \"%zz\""),
        (
            "/topic/create?topic=a;b",
            "invalid semicolon separator in query",
        ),
    ] {
        assert_eq!(nsqd.post(path, b"x").status, 400);
        let line = format!("ERROR: failed to parse request params - {cause}");
        assert!(nsqd.log().wait_for(&line, PATIENCE).is_some(), "no {line}");
    }
}
