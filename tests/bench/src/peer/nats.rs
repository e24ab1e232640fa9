//! NATS JetStream: a stream with file storage, published to with an acknowledgement for each message, and a durable
//! consumer that pulls in batches and acknowledges each message.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::peer::{
    AT_ONCE,
    wire::{Wire, unexpected},
};

/// Makes the stream and its consumer, and publishes `count` messages; the stream's acknowledgement is the answer.
///
/// # Errors
/// See [`crate::peer::Peer::publish`].
pub(crate) fn publish(address: SocketAddr, count: u64, size: usize) -> io::Result<()> {
    make_stream(address, 1)?;
    publish_to_stream(address, count, size)
}

/// Makes the stream with so many replicas, and its consumer.
///
/// # Errors
/// The server refuses: a cluster without a leader does for a while.
pub(crate) fn make_stream(address: SocketAddr, replicas: u32) -> io::Result<()> {
    let mut wire = Wire::connect(address)?;
    introduce(&mut wire)?;
    request(
        &mut wire,
        "$JS.API.STREAM.CREATE.BENCH",
        &format!(
            r#"{{"name":"BENCH","subjects":["bench"],"storage":"file","num_replicas":{replicas}}}"#
        ),
    )?;
    request(
        &mut wire,
        "$JS.API.CONSUMER.DURABLE.CREATE.BENCH.C",
        r#"{"stream_name":"BENCH","config":{"durable_name":"C","ack_policy":"explicit","deliver_policy":"all"}}"#,
    )
}

/// Publishes `count` messages to the stream; its acknowledgement is the answer.
///
/// # Errors
/// See [`crate::peer::Peer::publish`].
pub(crate) fn publish_to_stream(address: SocketAddr, count: u64, size: usize) -> io::Result<()> {
    let mut wire = Wire::connect(address)?;
    introduce(&mut wire)?;
    publish_all(&mut wire, count, size)
}

/// Pulls and acknowledges `count` messages.
///
/// # Errors
/// See [`crate::peer::Peer::consume`].
pub(crate) fn consume(address: SocketAddr, count: u64) -> io::Result<()> {
    let mut wire = Wire::connect(address)?;
    introduce(&mut wire)?;
    take_all(&mut wire, count)
}

fn introduce(wire: &mut Wire<impl Read + Write>) -> io::Result<()> {
    let line = wire.line()?;
    if !line.starts_with("INFO ") {
        return Err(unexpected(line));
    }
    wire.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB in 1\r\n")
}

/// Asks the server's API and waits for the answer.
fn request(wire: &mut Wire<impl Read + Write>, subject: &str, body: &str) -> io::Result<()> {
    wire.send(format!("PUB {subject} in {}\r\n{body}\r\n", body.len()).as_bytes())?;
    let delivery = next_delivery(wire)?;
    acknowledged(&wire.counted(delivery.bytes)?)
}

fn publish_all(wire: &mut Wire<impl Read + Write>, count: u64, size: usize) -> io::Result<()> {
    let one = format!("PUB bench in {size}\r\n{}\r\n", "x".repeat(size));
    let block = one.repeat(usize::try_from(AT_ONCE.min(count)).unwrap_or_default());
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        wire.send(&block.as_bytes()[..usize::try_from(now).unwrap_or_default() * one.len()])?;
        for _ in 0..now {
            let delivery = next_delivery(wire)?;
            acknowledged(&wire.counted(delivery.bytes)?)?;
        }
        left -= now;
    }
    Ok(())
}

fn take_all(wire: &mut Wire<impl Read + Write>, count: u64) -> io::Result<()> {
    let mut left = count;
    let mut out = String::new();
    while left > 0 {
        let now = left.min(AT_ONCE);
        let body = format!(r#"{{"batch":{now}}}"#);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "PUB $JS.API.CONSUMER.MSG.NEXT.BENCH.C in {}\r\n{body}\r\n",
            body.len()
        );
        // The acknowledgements of the previous batch go out in the same write.
        wire.send(out.as_bytes())?;
        out.clear();
        for _ in 0..now {
            let delivery = next_delivery(wire)?;
            let Some(reply) = delivery.reply else {
                return Err(unexpected(&wire.counted(delivery.bytes)?));
            };
            wire.skip_counted(delivery.bytes)?;
            let _ = write!(out, "PUB {reply} 4\r\n+ACK\r\n");
        }
        left -= now;
    }
    // The server has read every acknowledgement when it answers.
    out.push_str("PING\r\n");
    wire.send(out.as_bytes())?;
    match wire.line()? {
        "PONG" => Ok(()),
        line => Err(unexpected(line)),
    }
}

/// The line of a message; its body follows on the wire.
struct Delivery {
    reply: Option<String>,
    bytes: u64,
}

/// Reads `MSG <subject> <sid> [reply] <bytes>`, answering pings before it.
fn next_delivery(wire: &mut Wire<impl Read + Write>) -> io::Result<Delivery> {
    loop {
        let line = wire.line()?;
        if line == "PING" {
            wire.send(b"PONG\r\n")?;
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let (reply, bytes) = match words[..] {
            ["MSG", _, _, bytes] => (None, bytes),
            ["MSG", _, _, reply, bytes] => (Some(reply), bytes),
            _ => return Err(unexpected(line)),
        };
        let Ok(bytes) = bytes.parse() else {
            return Err(unexpected(line));
        };
        let reply = reply.map(str::to_owned);
        return Ok(Delivery { reply, bytes });
    }
}

fn acknowledged(answer: &str) -> io::Result<()> {
    if answer.contains(r#""error""#) {
        return Err(unexpected(answer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::wire::tests::script;

    #[test]
    fn a_publish_is_answered_by_the_stream_and_pings_by_us() {
        let ack = r#"{"stream":"BENCH","seq":1}"#;
        let mut wire = script(format!("PING\r\nMSG in 1 {}\r\n{ack}\r\n", ack.len()));
        publish_all(&mut wire, 1, 3).unwrap();
        assert_eq!(wire.heard(), "PUB bench in 3\r\nxxx\r\nPONG\r\n");
        let refusal = r#"{"error":{"code":503}}"#;
        let mut wire = script(format!("MSG in 1 {}\r\n{refusal}\r\n", refusal.len()));
        let error = publish_all(&mut wire, 1, 3).unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[test]
    fn every_message_is_acknowledged_to_its_own_subject() {
        let mut wire =
            script("MSG bench 1 $JS.ACK.1 3\r\nx\r\n\r\nMSG bench 1 $JS.ACK.2 1\r\nx\r\nPONG\r\n");
        take_all(&mut wire, 2).unwrap();
        let tail = "PUB $JS.ACK.1 4\r\n+ACK\r\nPUB $JS.ACK.2 4\r\n+ACK\r\nPING\r\n";
        assert!(wire.heard().ends_with(tail), "{}", wire.heard());
    }

    #[test]
    fn a_status_instead_of_a_message_is_an_error() {
        let mut wire = script("HMSG in 1 28 28\r\nNATS/1.0 408 Request Timeout\r\n");
        let error = take_all(&mut wire, 1).unwrap_err();
        assert!(error.to_string().contains("HMSG"), "{error}");
    }
}
