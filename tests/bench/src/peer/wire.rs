//! A connection to a server whose protocol is lines and counted bytes.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Reads lines and counted bytes from `S`, and writes to it.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: BufReader<S>,
    line: Vec<u8>,
}

impl Wire<TcpStream> {
    /// Connects. A server that says nothing for [`PATIENCE`] is an error from then on.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            line: vec![],
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The write failed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next line without its line end, as text.
    ///
    /// # Errors
    /// The connection has ended, nothing came for too long, or the line is too long.
    pub(crate) fn line(&mut self) -> io::Result<&str> {
        self.line.clear();
        let mut limited = (&mut self.stream).take(MAX_LINE_BYTES);
        limited.read_until(b'\n', &mut self.line).map_err(silence)?;
        if self.line.pop() != Some(b'\n') {
            return Err(wrong("the connection ended, or a line does"));
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        std::str::from_utf8(&self.line).map_err(|_| wrong("a line that is no text"))
    }

    /// `count` bytes as text, without the line end after them.
    ///
    /// # Errors
    /// They do not arrive, or are longer than any answer.
    pub(crate) fn counted(&mut self, count: u64) -> io::Result<String> {
        if count > MAX_LINE_BYTES {
            return Err(wrong("an answer that is too long"));
        }
        let mut text = String::new();
        let mut limited = (&mut self.stream).take(count);
        limited.read_to_string(&mut text).map_err(silence)?;
        self.skip_counted(0)?;
        Ok(text)
    }

    /// Skips `count` bytes and the line end after them.
    ///
    /// # Errors
    /// They do not arrive.
    pub(crate) fn skip_counted(&mut self, count: u64) -> io::Result<()> {
        let wanted = count + 2;
        let mut limited = (&mut self.stream).take(wanted);
        if io::copy(&mut limited, &mut io::sink()).map_err(silence)? < wanted {
            return Err(wrong("the connection ended"));
        }
        Ok(())
    }
}

/// The error for an unexpected answer.
pub(crate) fn wrong(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

/// The error for an answer that is none of the expected ones.
pub(crate) fn unexpected(line: &str) -> io::Error {
    wrong(&format!("unexpected answer {line:?}"))
}

fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            wrong(&format!("no answer for {PATIENCE:?}"))
        }
        _ => error,
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
/// Far longer than any line of these protocols.
const MAX_LINE_BYTES: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server whose whole output is known in advance.
    #[derive(Debug, Default)]
    pub(crate) struct Script {
        pub(crate) says: io::Cursor<Vec<u8>>,
        pub(crate) heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn script(says: impl Into<Vec<u8>>) -> Wire<Script> {
        Wire::new(Script {
            says: io::Cursor::new(says.into()),
            heard: vec![],
        })
    }

    impl Wire<Script> {
        pub(crate) fn heard(&self) -> String {
            String::from_utf8_lossy(&self.stream.get_ref().heard).into_owned()
        }
    }

    #[test]
    fn lines_and_counted_bytes_are_told_apart() {
        let mut wire = script("$5\r\nab\r\nc\r\n+OK\r\n");
        assert_eq!(wire.line().unwrap(), "$5");
        wire.skip_counted(5).unwrap();
        assert_eq!(wire.line().unwrap(), "+OK");
        assert!(wire.line().is_err());
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() {
        assert!(script("half").line().is_err());
        assert!(script("abc").skip_counted(3).is_err());
        assert!(script("a".repeat(100_000)).line().is_err());
    }
}
