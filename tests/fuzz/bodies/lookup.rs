//! Fuzz bodies of nsq-lookup: the lookup protocol at both ends.

use bytes::{Bytes, BytesMut};

use crate::session::{Command, Session};
use crate::wire::{self, Request, SIZE_BYTES, take_answer};

/// The commands that an nsqd sends to nsqlookupd, or nsqlookupd's answers. However the stream is cut into pieces, the
/// result is the same; the bytes held are bounded; and every command can be encoded and decoded again.
pub fn lookup(bytes: &[u8]) {
    let Some((&[end, cut], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let piece_bytes = usize::from(cut % 64) + 1;
    let whole = stream.len().max(1);
    if end.is_multiple_of(2) {
        let pieces = read_commands(stream, piece_bytes);
        assert_eq!(read_commands(stream, whole), pieces);
    } else {
        let pieces = read_answers(stream, piece_bytes);
        assert_eq!(read_answers(stream, whole), pieces);
    }
}

/// The commands, and the error that the client is sent at the end.
fn read_commands(stream: &[u8], piece_bytes: usize) -> (Vec<String>, Option<String>) {
    let mut session = Session::new("1.2.3.4:5".to_owned());
    let mut held = BytesMut::new();
    let mut commands = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        loop {
            match session.next_command(&mut held) {
                Ok(Some(command)) => {
                    check_round_trip(&command);
                    commands.push(format!("{command:?}"));
                }
                Ok(None) => break,
                Err(error) => {
                    let mut answer = BytesMut::new();
                    wire::put_sized(&mut answer, error.to_string().as_bytes());
                    return (commands, Some(error.to_string()));
                }
            }
        }
        assert!(held.len() <= MOST_HELD_BYTES, "{}", held.len());
    }
    let end = session.end().err();
    (commands, end.map(|error| error.to_string()))
}

fn check_round_trip(command: &Command) {
    let request = match command {
        Command::Ping => Request::Ping,
        Command::Register(topic, channel) => Request::Register(topic.clone(), channel.clone()),
        Command::Unregister(topic, channel) => Request::Unregister(topic.clone(), channel.clone()),
        Command::Identify(node) => {
            let json = serde_json::to_vec(node).expect("texts and numbers are always JSON");
            Request::Identify(Bytes::from(json))
        }
    };
    let mut stream = BytesMut::new();
    let mut session = Session::new("1.2.3.4:5".to_owned());
    if !matches!(request, Request::Ping | Request::Identify(_)) {
        let introduction = br#"{"broadcast_address":"h","http_port":2,"tcp_port":1,"version":"v"}"#;
        Request::Identify(Bytes::from_static(introduction)).put(&mut stream);
        assert!(session.next_command(&mut stream).is_ok());
    }
    request.put(&mut stream);
    match session.next_command(&mut stream) {
        Ok(Some(again)) => assert_eq!(&again, command),
        other => panic!("{command:?} came back as {other:?}"),
    }
    assert!(stream.is_empty());
}

/// The answers, and the error that ended them.
fn read_answers(stream: &[u8], piece_bytes: usize) -> (Vec<Bytes>, Option<String>) {
    let mut held = BytesMut::new();
    let mut answers = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        loop {
            match take_answer(&mut held, MAX_ANSWER_BYTES) {
                Ok(Some(answer)) => {
                    assert!(answer.len() <= MAX_ANSWER_BYTES);
                    answers.push(answer);
                }
                Ok(None) => break,
                Err(error) => return (answers, Some(error.to_string())),
            }
        }
        assert!(held.len() <= SIZE_BYTES + MAX_ANSWER_BYTES);
    }
    (answers, None)
}

const MAX_ANSWER_BYTES: usize = 256;
/// The longest body of an IDENTIFY.
const MOST_HELD_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn lookup_streams_of_the_corpus() {
        replay("lookup", super::lookup);
    }
}
