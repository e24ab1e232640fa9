//! Redis Streams: `XADD`, and a group's `XREADGROUP` and `XACK`, pipelined on one connection.
//! Acknowledged entries stay in the stream: removing them takes one more command, which is not measured.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::peer::{
    AT_ONCE,
    wire::{Wire, unexpected},
};

/// Makes the stream and its group, and adds `count` entries; the entry's id is the answer.
///
/// # Errors
/// See [`crate::peer::Peer::publish`].
pub(crate) fn publish(address: SocketAddr, count: u64, size: usize) -> io::Result<()> {
    let mut wire = Wire::connect(address)?;
    wire.send(&command(&[
        "XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM",
    ]))?;
    let line = wire.line()?;
    if line != "+OK" {
        return Err(unexpected(line));
    }
    add_all(&mut wire, count, size)
}

/// Reads and acknowledges `count` entries.
///
/// # Errors
/// See [`crate::peer::Peer::consume`].
pub(crate) fn consume(address: SocketAddr, count: u64) -> io::Result<()> {
    take_all(&mut Wire::connect(address)?, count)
}

fn add_all(wire: &mut Wire<impl Read + Write>, count: u64, size: usize) -> io::Result<()> {
    let one = command(&["XADD", STREAM, "*", "b", &"x".repeat(size)]);
    let block = one.repeat(usize::try_from(AT_ONCE.min(count)).unwrap_or_default());
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        wire.send(&block[..usize::try_from(now).unwrap_or_default() * one.len()])?;
        for _ in 0..now {
            read_id(wire)?;
        }
        left -= now;
    }
    Ok(())
}

fn take_all(wire: &mut Wire<impl Read + Write>, count: u64) -> io::Result<()> {
    let mut left = count;
    let mut acks = Vec::new();
    while left > 0 {
        let most = left.min(AT_ONCE).to_string();
        wire.send(&command(&[
            "XREADGROUP",
            "GROUP",
            GROUP,
            "bench",
            "COUNT",
            &most,
            "STREAMS",
            STREAM,
            ">",
        ]))?;
        let ids = read_entries(wire)?;
        acks.clear();
        for id in &ids {
            acks.extend_from_slice(&command(&["XACK", STREAM, GROUP, id]));
        }
        wire.send(&acks)?;
        for _ in &ids {
            let line = wire.line()?;
            if line != ":1" {
                return Err(unexpected(line));
            }
        }
        left = left.saturating_sub(ids.len() as u64);
    }
    Ok(())
}

/// The ids of the entries in an answer: `[[stream, [[id, [field, value]], ...]]]`.
fn read_entries(wire: &mut Wire<impl Read + Write>) -> io::Result<Vec<String>> {
    expect_count(wire, '*', 1)?;
    expect_count(wire, '*', 2)?;
    skip_string(wire)?;
    let entry_count = read_count(wire, '*')?;
    (0..entry_count)
        .map(|_| {
            expect_count(wire, '*', 2)?;
            let id = read_id(wire)?;
            for _ in 0..read_count(wire, '*')? {
                skip_string(wire)?;
            }
            Ok(id)
        })
        .collect()
}

fn read_id(wire: &mut Wire<impl Read + Write>) -> io::Result<String> {
    read_count(wire, '$')?;
    // An id is digits and a dash, so it contains no line end.
    wire.line().map(str::to_owned)
}

fn skip_string(wire: &mut Wire<impl Read + Write>) -> io::Result<()> {
    let bytes = read_count(wire, '$')?;
    wire.skip_counted(bytes)
}

fn expect_count(wire: &mut Wire<impl Read + Write>, kind: char, count: u64) -> io::Result<()> {
    match read_count(wire, kind)? {
        actual if actual == count => Ok(()),
        actual => Err(unexpected(&format!("{kind}{actual}"))),
    }
}

fn read_count(wire: &mut Wire<impl Read + Write>, kind: char) -> io::Result<u64> {
    let line = wire.line()?;
    line.strip_prefix(kind)
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| unexpected(line))
}

/// A command in Redis's form: an array of strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        // Writing to a string does not fail.
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

const STREAM: &str = "bench";
const GROUP: &str = "group";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::wire::tests::script;

    #[test]
    fn an_entry_is_added_and_its_id_awaited() {
        let mut wire = script("$3\r\n1-0\r\n");
        add_all(&mut wire, 1, 2).unwrap();
        assert_eq!(
            wire.heard(),
            "*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nb\r\n$2\r\nxx\r\n"
        );
        let error = add_all(&mut script("-OOM no memory\r\n"), 1, 2).unwrap_err();
        assert!(error.to_string().contains("OOM"), "{error}");
    }

    #[test]
    fn every_entry_that_was_read_is_acknowledged() {
        let entry = |id| format!("*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nb\r\n$2\r\nxx\r\n");
        let answer = format!(
            "*1\r\n*2\r\n$5\r\nbench\r\n*2\r\n{}{}:1\r\n:1\r\n",
            entry("1-0"),
            entry("1-1")
        );
        let mut wire = script(answer.clone());
        take_all(&mut wire, 2).unwrap();
        assert!(wire.heard().ends_with("$3\r\n1-1\r\n"), "{}", wire.heard());
        assert_eq!(wire.heard().matches("XACK").count(), 2);
        assert!(take_all(&mut script(&answer[..answer.len() - 4]), 2).is_err());
    }

    #[test]
    fn nothing_there_is_an_error() {
        let error = take_all(&mut script("*-1\r\n"), 1).unwrap_err();
        assert_eq!(error.to_string(), "unexpected answer \"*-1\"");
    }
}
