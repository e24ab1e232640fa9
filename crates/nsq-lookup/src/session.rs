//! One connection to nsqlookupd: bytes in, commands out. Every error ends the connection.

#![warn(clippy::indexing_slicing, reason = "the bytes are a stranger's")]

use std::fmt;

use bytes::{Buf, BytesMut};
use nsq_protocol::{ChannelName, TopicName};

use crate::Node;
use crate::limits::Full;
use crate::node::IdentifyError;
use crate::wire::SIZE_BYTES;

/// A connection after its magic.
#[derive(Debug)]
pub(crate) struct Session {
    remote: String,
    reading: Reading,
    identified: bool,
}

/// The next thing that is expected on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Line,
    BodySize,
    Body { bytes: usize },
}

/// A command that may be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ping,
    Identify(Box<Node>),
    Register(TopicName, Option<ChannelName>),
    Unregister(TopicName, Option<ChannelName>),
}

/// Why the connection ends. `Display` is the answer, byte for byte.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("E_INVALID invalid command {0}")]
    UnknownCommand(String),
    #[error("E_INVALID line is longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    #[error("E_INVALID cannot IDENTIFY again")]
    IdentifyAgain,
    #[error("E_BAD_BODY IDENTIFY failed to read body size")]
    BodySize,
    #[error("E_BAD_BODY IDENTIFY failed to read body")]
    Body,
    #[error("E_BAD_BODY IDENTIFY failed to decode JSON body")]
    Json(#[source] serde_json::Error),
    #[error("E_BAD_BODY IDENTIFY missing fields")]
    MissingFields,
    #[error("E_INVALID client must IDENTIFY")]
    NotIdentified,
    #[error("E_INVALID {0} insufficient number of params")]
    NoParams(Verb),
    #[error("E_LIMIT_REACHED REGISTER failed {0}")]
    Full(Full),
    #[error("E_BAD_TOPIC {verb} topic name '{name}' is not valid")]
    BadTopic { verb: Verb, name: String },
    #[error("E_BAD_CHANNEL {verb} channel name '{name}' is not valid")]
    BadChannel { verb: Verb, name: String },
}

/// The two commands that name a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Register,
    Unregister,
}

impl Session {
    /// A connection from `remote`, an `ip:port`.
    pub(crate) fn new(remote: String) -> Self {
        Self {
            remote,
            reading: Reading::Line,
            identified: false,
        }
    }

    /// Takes the next command off the front of `input`; `None` until all of it is there.
    ///
    /// # Errors
    /// [`ProtocolError`]; nothing after it is worth reading.
    pub(crate) fn next_command(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Command>, ProtocolError> {
        loop {
            match self.reading {
                Reading::Line => {
                    let Some(line) = take_line(input)? else {
                        return Ok(None);
                    };
                    match self.parse_line(&line)? {
                        Some(command) => return Ok(Some(command)),
                        None => self.reading = Reading::BodySize,
                    }
                }
                Reading::BodySize => {
                    if input.len() < SIZE_BYTES {
                        return Ok(None);
                    }
                    // Before waiting for the body: no peer may talk us into holding 2 GiB.
                    match usize::try_from(input.get_i32()) {
                        Ok(bytes) if bytes <= MAX_IDENTIFY_BYTES => {
                            self.reading = Reading::Body { bytes };
                        }
                        _ => return Err(ProtocolError::Body),
                    }
                }
                Reading::Body { bytes } => {
                    if input.len() < bytes {
                        return Ok(None);
                    }
                    let body = input.split_to(bytes);
                    let node = Node::from_identify(&body, self.remote.clone())?;
                    self.reading = Reading::Line;
                    self.identified = true;
                    return Ok(Some(Command::Identify(Box::new(node))));
                }
            }
        }
    }

    /// The client sends no more. Half a line is no command; half an IDENTIFY is an error.
    ///
    /// # Errors
    /// What is still told to a client that closed only its own side.
    pub(crate) fn end(&self) -> Result<(), ProtocolError> {
        match self.reading {
            Reading::Line => Ok(()),
            Reading::BodySize => Err(ProtocolError::BodySize),
            Reading::Body { .. } => Err(ProtocolError::Body),
        }
    }

    /// `None` for an IDENTIFY, whose body follows.
    fn parse_line(&self, line: &[u8]) -> Result<Option<Command>, ProtocolError> {
        let line = String::from_utf8_lossy(line);
        // Compat: one space separates, so two of them enclose an empty parameter (strings.Split).
        let mut words = line.trim().split(' ');
        let word = words.next().unwrap_or_default();
        let verb = match word {
            "PING" => return Ok(Some(Command::Ping)),
            "IDENTIFY" if self.identified => return Err(ProtocolError::IdentifyAgain),
            "IDENTIFY" => return Ok(None),
            "REGISTER" => Verb::Register,
            "UNREGISTER" => Verb::Unregister,
            unknown => return Err(ProtocolError::UnknownCommand(unknown.to_owned())),
        };
        if !self.identified {
            return Err(ProtocolError::NotIdentified);
        }
        let name = words.next().ok_or(ProtocolError::NoParams(verb))?;
        let topic = TopicName::parse(name).map_err(|_| ProtocolError::BadTopic {
            verb,
            name: name.to_owned(),
        })?;
        let channel = match words.next() {
            None | Some("") => None,
            Some(name) => {
                Some(
                    ChannelName::parse(name).map_err(|_| ProtocolError::BadChannel {
                        verb,
                        name: name.to_owned(),
                    })?,
                )
            }
        };
        Ok(Some(match verb {
            Verb::Register => Command::Register(topic, channel),
            Verb::Unregister => Command::Unregister(topic, channel),
        }))
    }
}

fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>, ProtocolError> {
    match input
        .iter()
        .take(MAX_LINE_BYTES)
        .position(|&byte| byte == b'\n')
    {
        Some(end) => Ok(Some(input.split_to(end + 1))),
        None if input.len() >= MAX_LINE_BYTES => Err(ProtocolError::LineTooLong),
        None => Ok(None),
    }
}

impl From<IdentifyError> for ProtocolError {
    fn from(error: IdentifyError) -> Self {
        match error {
            IdentifyError::Json(error) => Self::Json(error),
            IdentifyError::MissingFields => Self::MissingFields,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "REGISTER",
            Self::Unregister => "UNREGISTER",
        })
    }
}

/// The longest sensible line is a verb and two names; the rest is room for parameters no one reads.
const MAX_LINE_BYTES: usize = 4096;

/// An nsqd sends some 200 bytes; no one has a reason to send more than this.
const MAX_IDENTIFY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"broadcast_address":"h","http_port":2,"tcp_port":1,"version":"v"}"#;

    fn identify(body: &str) -> Vec<u8> {
        let size = i32::try_from(body.len()).unwrap().to_be_bytes();
        [b"IDENTIFY\n", &size[..], body.as_bytes()].concat()
    }

    /// Feeds `input` and then the end; returns the commands, and the answer to an error.
    fn run(input: &[u8], chunk: usize) -> (Vec<String>, String) {
        let mut session = Session::new("1.2.3.4:5".into());
        let mut buffer = BytesMut::new();
        let mut commands = Vec::new();
        for part in input.chunks(chunk) {
            buffer.extend_from_slice(part);
            loop {
                match session.next_command(&mut buffer) {
                    Ok(Some(Command::Identify(node))) => {
                        assert_eq!(node.remote_address, "1.2.3.4:5");
                        commands.push("Identify".into());
                    }
                    Ok(Some(command)) => commands.push(format!("{command:?}")),
                    Ok(None) => break,
                    Err(error) => return (commands, error.to_string()),
                }
            }
        }
        let answer = session.end().err();
        (commands, answer.map(|e| e.to_string()).unwrap_or_default())
    }

    #[track_caller]
    fn check(input: &[u8], commands: &[&str], answer: &str) {
        for chunk in [1, 7, usize::MAX] {
            let (got, error) = run(input, chunk);
            assert_eq!(got, commands, "in chunks of {chunk}");
            assert_eq!(error, answer, "in chunks of {chunk}");
        }
    }

    /// What is answered to `line` after a good IDENTIFY.
    #[track_caller]
    fn check_line(line: &str, command: &str, answer: &str) {
        let input = [&identify(BODY)[..], line.as_bytes()].concat();
        let commands: Vec<&str> = ["Identify", command]
            .into_iter()
            .filter(|c| !c.is_empty())
            .collect();
        check(&input, &commands, answer);
    }

    #[test]
    fn commands_come_in_any_chunks_and_any_number() {
        let input = [
            b"PING\r\n",
            &identify(BODY)[..],
            b"REGISTER t c\n  REGISTER t \nUNREGISTER t c ignored ignored\nUNREGISTER t  c\nPING\n",
        ];
        check(
            &input.concat(),
            &[
                "Ping",
                "Identify",
                r#"Register("t", Some("c"))"#,
                r#"Register("t", None)"#,
                r#"Unregister("t", Some("c"))"#,
                r#"Unregister("t", None)"#,
                "Ping",
            ],
            "",
        );
        check(b"PING\nPIN", &["Ping"], "");
    }

    #[test]
    fn every_mistake_has_its_words() {
        check(b"FOO bar\n", &[], "E_INVALID invalid command FOO");
        check(b"\n", &[], "E_INVALID invalid command ");
        check(b"ping\n", &[], "E_INVALID invalid command ping");
        check(b"REGISTER\n", &[], "E_INVALID client must IDENTIFY");
        check(b"UNREGISTER t\n", &[], "E_INVALID client must IDENTIFY");
        check_line("IDENTIFY\n", "", "E_INVALID cannot IDENTIFY again");
        check_line(
            "REGISTER\n",
            "",
            "E_INVALID REGISTER insufficient number of params",
        );
        check_line(
            "UNREGISTER \n",
            "",
            "E_INVALID UNREGISTER insufficient number of params",
        );
        check_line(
            "REGISTER t/u c\n",
            "",
            "E_BAD_TOPIC REGISTER topic name 't/u' is not valid",
        );
        check_line(
            "UNREGISTER  c\n",
            "",
            "E_BAD_TOPIC UNREGISTER topic name '' is not valid",
        );
        check_line(
            "REGISTER t c*\n",
            "",
            "E_BAD_CHANNEL REGISTER channel name 'c*' is not valid",
        );
        check_line(
            "UNREGISTER t ?\n",
            "",
            "E_BAD_CHANNEL UNREGISTER channel name '?' is not valid",
        );
        let long = format!("REGISTER {}\n", "x".repeat(65));
        check_line(
            &long,
            "",
            &format!(
                "E_BAD_TOPIC REGISTER topic name '{}' is not valid",
                "x".repeat(65)
            ),
        );
    }

    #[test]
    fn a_bad_introduction_is_told_what_is_wrong_with_it() {
        let json = "E_BAD_BODY IDENTIFY failed to decode JSON body";
        check(&identify("{}"), &[], "E_BAD_BODY IDENTIFY missing fields");
        check(&identify("null"), &[], "E_BAD_BODY IDENTIFY missing fields");
        check(&identify(""), &[], json);
        check(&identify("[]"), &[], json);
        check(
            b"IDENTIFY\n\0\0",
            &[],
            "E_BAD_BODY IDENTIFY failed to read body size",
        );
        check(
            b"IDENTIFY\n\0\0\0\x05{}",
            &[],
            "E_BAD_BODY IDENTIFY failed to read body",
        );
    }

    #[test]
    fn a_size_nobody_needs_is_refused_at_once() {
        let refused = "E_BAD_BODY IDENTIFY failed to read body";
        for size in [-1, i32::MIN, i32::MAX, (1 << 20) + 1] {
            let input = [b"IDENTIFY\n", &size.to_be_bytes()[..]].concat();
            check(&input, &[], refused);
        }
        // Not refused, only unfinished: the end of the stream is what is complained about.
        let mut session = Session::new(String::new());
        let mut input = BytesMut::from(&b"IDENTIFY\n\x00\x10\x00\x00"[..]);
        assert!(matches!(session.next_command(&mut input), Ok(None)));
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut session = Session::new(String::new());
        let mut input = BytesMut::from(&vec![b'x'; MAX_LINE_BYTES][..]);
        let refused = session.next_command(&mut input).unwrap_err().to_string();
        assert_eq!(refused, "E_INVALID line is longer than 4096 bytes");
    }
}
