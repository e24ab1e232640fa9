//! Commands as a client writes them, each appended to a buffer.
//!
//! Shape: the name and its parameters with one space between, `\n`, then for some commands
//! `[u32 size][body]`, big-endian. Source: `Command.WriteTo`, go-nsq, command.go.
//!
//! A body must be below 2 GiB, the wire's limit: a longer one is the caller's mistake and panics.

use std::io::Write;
use std::time::Duration;

use crate::{ChannelName, MAGIC_V2, RawMessageId, TopicName};

/// What every connection begins with.
pub fn magic_v2(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC_V2);
}

/// Says who the client is and what it would like; `json` is an object.
pub fn identify(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"IDENTIFY\n");
    write_body(out, json);
}

/// Hands over the secret that the authorization server knows the client by.
pub fn auth(out: &mut Vec<u8>, secret: &[u8]) {
    out.extend_from_slice(b"AUTH\n");
    write_body(out, secret);
}

/// Subscribes to a channel; once a connection.
pub fn subscribe(out: &mut Vec<u8>, topic: &TopicName, channel: &ChannelName) {
    write_line(
        out,
        &[
            b"SUB",
            topic.as_str().as_bytes(),
            channel.as_str().as_bytes(),
        ],
    );
}

/// Publishes one message. nsqd refuses an empty body.
pub fn publish(out: &mut Vec<u8>, topic: &TopicName, body: &[u8]) {
    write_line(out, &[b"PUB", topic.as_str().as_bytes()]);
    write_body(out, body);
}

/// Publishes one message that is held back for `delay`, in whole milliseconds.
pub fn publish_deferred(out: &mut Vec<u8>, topic: &TopicName, delay: Duration, body: &[u8]) {
    let delay = delay.as_millis().to_string();
    write_line(out, &[b"DPUB", topic.as_str().as_bytes(), delay.as_bytes()]);
    write_body(out, body);
}

/// Publishes several messages at once, all or none. nsqd refuses an empty batch or body.
pub fn publish_many<B: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    topic: &TopicName,
    bodies: impl IntoIterator<Item = B>,
) {
    write_line(out, &[b"MPUB", topic.as_str().as_bytes()]);
    let start = out.len();
    // Size and count are known once the iterator has run.
    out.extend_from_slice(&[0; 8]);
    let mut count = 0;
    for body in bodies {
        write_body(out, body.as_ref());
        count += 1;
    }
    let size = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&size);
    out[start + 4..start + 8].copy_from_slice(&length(count));
}

/// Sets how many messages the client is willing to hold at once.
pub fn ready(out: &mut Vec<u8>, count: u32) {
    writeln!(out, "RDY {count}").expect("a Vec takes every write");
}

/// Says that a message has been dealt with.
pub fn finish(out: &mut Vec<u8>, id: &RawMessageId) {
    write_line(out, &[b"FIN", id]);
}

/// Gives a message back, to be delivered again after `delay`, in whole milliseconds.
pub fn requeue(out: &mut Vec<u8>, id: &RawMessageId, delay: Duration) {
    let delay = delay.as_millis().to_string();
    write_line(out, &[b"REQ", id, delay.as_bytes()]);
}

/// Asks for more time with a message.
pub fn touch(out: &mut Vec<u8>, id: &RawMessageId) {
    write_line(out, &[b"TOUCH", id]);
}

/// Asks for no more messages, ahead of closing the connection.
pub fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"CLS\n");
}

/// Does nothing; the customary answer to a heartbeat.
pub fn nop(out: &mut Vec<u8>) {
    out.extend_from_slice(b"NOP\n");
}

fn write_line(out: &mut Vec<u8>, fields: &[&[u8]]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(field);
    }
    out.push(b'\n');
}

fn write_body(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&length(body.len()));
    out.extend_from_slice(body);
}

/// nsqd reads lengths as signed, so the upper half would be negative there.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes)
        .expect("the caller keeps bodies below 2 GiB")
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &[u8]) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn every_command_has_its_bytes() {
        let topic = TopicName::parse("t").unwrap();
        let channel = ChannelName::parse("c").unwrap();
        let id = b"0123456789abcdef";
        let delay = Duration::from_millis(1500);
        check(magic_v2, b"  V2");
        check(|out| identify(out, b"{}"), b"IDENTIFY\n\0\0\0\x02{}");
        check(|out| auth(out, b"secret"), b"AUTH\n\0\0\0\x06secret");
        check(|out| subscribe(out, &topic, &channel), b"SUB t c\n");
        check(|out| publish(out, &topic, b"hi"), b"PUB t\n\0\0\0\x02hi");
        check(
            |out| publish_deferred(out, &topic, delay, b"hi"),
            b"DPUB t 1500\n\0\0\0\x02hi",
        );
        check(
            |out| publish_many(out, &topic, [&b"a"[..], b"bc"]),
            b"MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc",
        );
        check(|out| ready(out, 2500), b"RDY 2500\n");
        check(|out| finish(out, id), b"FIN 0123456789abcdef\n");
        check(
            |out| requeue(out, id, delay),
            b"REQ 0123456789abcdef 1500\n",
        );
        check(|out| touch(out, id), b"TOUCH 0123456789abcdef\n");
        check(close, b"CLS\n");
        check(nop, b"NOP\n");
    }
}
