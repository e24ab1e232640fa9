//! Fuzz bodies of nsq-client: what daemons send to a client.

use bytes::BytesMut;
use nsq_protocol::frame::{write_message, write_response};
use nsq_protocol::{Frame, MessageId};

use crate::lookup;
use crate::wire::Frames;

/// An nsqd's frames, or an nsqlookupd's answer.
pub fn client(bytes: &[u8]) {
    match bytes.split_first_chunk() {
        Some((&[0xff], answer)) => lookup_answer(answer),
        Some((&[cut], stream)) => frames(cut, stream),
        None => {}
    }
}

/// However the stream is cut into pieces, the same frames come, and each can be encoded and decoded again.
fn frames(cut: u8, stream: &[u8]) {
    let whole = read_frames(stream, stream.len().max(1));
    let cut = read_frames(stream, usize::from(cut % 64) + 1);
    assert_eq!(whole, cut, "the pieces changed what was decoded");
}

/// The frames, and the error that ended them.
fn read_frames(stream: &[u8], piece_bytes: usize) -> (Vec<String>, Option<String>) {
    let mut held = BytesMut::new();
    let mut found = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        loop {
            let before = held.len();
            let frames = match take_one(&mut held) {
                Ok(frames) => frames,
                Err(error) => return (found, Some(error)),
            };
            for frame in frames.iter() {
                check_round_trip(&frame);
                if let Frame::Message(message) = &frame {
                    assert_eq!(frames.body(message), message.body);
                }
                found.push(format!("{frame:?}"));
            }
            if held.len() == before {
                break;
            }
        }
        assert!(held.len() <= 4 + MAX_FRAME_BYTES as usize, "{}", held.len());
    }
    (found, None)
}

/// Takes the first frame alone, so that an error after it does not hide it.
fn take_one(held: &mut BytesMut) -> Result<Frames, String> {
    let end = match nsq_protocol::decode_frame(held, MAX_FRAME_BYTES) {
        Ok(Some((_, count))) => count,
        Ok(None) => 0,
        Err(error) => return Err(error.to_string()),
    };
    let mut first = held.split_to(end);
    let frames = Frames::take(&mut first, MAX_FRAME_BYTES);
    assert!(first.is_empty());
    frames.map_err(|error| error.to_string())
}

fn check_round_trip(frame: &Frame<'_>) {
    let mut wire = Vec::new();
    match frame {
        Frame::Response(body) => write_response(&mut wire, body),
        Frame::Message(message) => match MessageId::from_hex(&message.id) {
            None => return,
            Some(id) => {
                write_message(
                    &mut wire,
                    message.timestamp,
                    message.attempts,
                    id,
                    message.body,
                );
            }
        },
        Frame::Error(_) => return,
    }
    let again = nsq_protocol::decode_frame(&wire, MAX_FRAME_BYTES);
    assert_eq!(again, Ok(Some((*frame, wire.len()))));
}

/// nsqlookupd's answer: every address found in it can be parsed again.
fn lookup_answer(bytes: &[u8]) {
    for is_version_1 in [false, true] {
        for address in lookup::addresses(bytes, is_version_1).unwrap_or_default() {
            let (_, port) = address.rsplit_once(':').expect("host:port");
            port.parse::<u16>().expect("a port");
        }
    }
}

const MAX_FRAME_BYTES: u32 = 4096;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn what_daemons_send_in_the_corpus() {
        replay("client", super::client);
    }
}
