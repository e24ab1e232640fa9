//! beanstalkd: `put`, and `reserve` and `delete`, pipelined on one connection.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::peer::{
    AT_ONCE,
    wire::{Wire, unexpected},
};

/// Puts `count` jobs; `INSERTED` is the answer.
///
/// # Errors
/// See [`crate::peer::Peer::publish`].
pub(crate) fn publish(address: SocketAddr, count: u64, size: usize) -> io::Result<()> {
    put_all(&mut Wire::connect(address)?, count, size)
}

/// Reserves and deletes `count` jobs.
///
/// # Errors
/// See [`crate::peer::Peer::consume`].
pub(crate) fn consume(address: SocketAddr, count: u64) -> io::Result<()> {
    take_all(&mut Wire::connect(address)?, count)
}

fn put_all(wire: &mut Wire<impl Read + Write>, count: u64, size: usize) -> io::Result<()> {
    // Priority 0, no delay, a minute to work on it.
    let command = format!("put 0 0 60 {size}\r\n{}\r\n", "x".repeat(size));
    let block = command.repeat(usize::try_from(AT_ONCE.min(count)).unwrap_or_default());
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        let bytes = usize::try_from(now).unwrap_or_default() * command.len();
        wire.send(&block.as_bytes()[..bytes])?;
        for _ in 0..now {
            let line = wire.line()?;
            if !line.starts_with("INSERTED ") {
                return Err(unexpected(line));
            }
        }
        left -= now;
    }
    Ok(())
}

fn take_all(wire: &mut Wire<impl Read + Write>, count: u64) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        let block = "reserve\r\n".repeat(usize::try_from(now).unwrap_or_default());
        wire.send(block.as_bytes())?;
        let mut deletes = String::new();
        for _ in 0..now {
            let line = wire.line()?;
            let mut words = line.split(' ');
            let (Some("RESERVED"), Some(id), Some(Ok(bytes))) =
                (words.next(), words.next(), words.next().map(str::parse))
            else {
                return Err(unexpected(line));
            };
            deletes.push_str("delete ");
            deletes.push_str(id);
            deletes.push_str("\r\n");
            wire.skip_counted(bytes)?;
        }
        wire.send(deletes.as_bytes())?;
        for _ in 0..now {
            let line = wire.line()?;
            if line != "DELETED" {
                return Err(unexpected(line));
            }
        }
        left -= now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::wire::tests::script;

    #[test]
    fn a_put_has_its_size_and_needs_its_answer() {
        let mut wire = script("INSERTED 1\r\nINSERTED 2\r\n");
        put_all(&mut wire, 2, 3).unwrap();
        assert_eq!(wire.heard(), "put 0 0 60 3\r\nxxx\r\n".repeat(2));
        assert!(put_all(&mut script("BURIED 1\r\n"), 1, 3).is_err());
        assert!(put_all(&mut script("INSERTED 1\r\n"), 2, 3).is_err());
    }

    #[test]
    fn what_was_reserved_is_deleted() {
        let mut wire = script("RESERVED 7 3\r\nxxx\r\nRESERVED 9 1\r\nx\r\nDELETED\r\nDELETED\r\n");
        take_all(&mut wire, 2).unwrap();
        assert_eq!(
            wire.heard(),
            "reserve\r\nreserve\r\ndelete 7\r\ndelete 9\r\n"
        );
        let error = take_all(&mut script("TIMED_OUT\r\n"), 1).unwrap_err();
        assert_eq!(error.to_string(), "unexpected answer \"TIMED_OUT\"");
        assert!(take_all(&mut script("RESERVED 7 3\r\nxxx\r\nNOT_FOUND\r\n"), 1).is_err());
    }
}
