//! Records of a stream, split at a delimiter.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest record worth holding: no nsqd takes more.
const RECORD_LIMIT: usize = 1 << 30;
/// What one read may bring.
const READ_BYTES: usize = 128 << 10;

/// Reads records one after the other.
///
/// Only a delimiter that is there is taken off. Where the delimiter is not the newline, one newline at the very end is
/// taken off too, so that `echo "one,two,three" | to_nsq -delimiter=,` publishes three words.
#[derive(Debug)]
pub(crate) struct Records<R> {
    source: R,
    delimiter: u8,
    buffer: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Up to here there is no delimiter.
    searched: usize,
    is_at_end: bool,
}

impl<R: AsyncRead + Unpin> Records<R> {
    pub(crate) fn new(source: R, delimiter: u8) -> Self {
        Self {
            source,
            delimiter,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            is_at_end: false,
        }
    }

    /// The next record, which may be empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(found) = memchr::memchr(self.delimiter, &self.buffer[self.searched..]) {
                let end = self.searched + found;
                let record = self.start..end;
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Some(&self.buffer[record]));
            }
            self.searched = self.buffer.len();
            if self.is_at_end {
                return Ok(self.last());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() >= RECORD_LIMIT {
            let text = format!("a record on stdin is longer than {RECORD_LIMIT} bytes");
            return Err(io::Error::other(text));
        }
        self.buffer.reserve(READ_BYTES);
        self.is_at_end = self.source.read_buf(&mut self.buffer).await? == 0;
        Ok(())
    }

    fn last(&mut self) -> Option<&[u8]> {
        let rest = self.start..self.buffer.len();
        self.start = rest.end;
        let record = &self.buffer[rest];
        let record = match record {
            [text @ .., b'\n'] if self.delimiter != b'\n' => text,
            whole => whole,
        };
        (!record.is_empty()).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(input: &[u8], delimiter: u8) -> Vec<String> {
        let mut records = Records::new(input, delimiter);
        let mut all = Vec::new();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                while let Some(record) = records.next().await.unwrap() {
                    all.push(String::from_utf8_lossy(record).into_owned());
                }
            });
        all
    }

    #[test]
    fn the_last_record_needs_no_delimiter_and_keeps_its_last_byte() {
        assert_eq!(records(b"one\ntwo\nthree", b'\n'), ["one", "two", "three"]);
        assert_eq!(records(b"one\n", b'\n'), ["one"]);
        assert_eq!(records(b"", b'\n'), Vec::<String>::new());
    }

    #[test]
    fn empty_records_are_seen() {
        assert_eq!(records(b"\n\na\n", b'\n'), ["", "", "a"]);
    }

    #[test]
    fn echos_newline_is_no_part_of_a_last_record_split_by_something_else() {
        assert_eq!(records(b"one,two,three\n", b','), ["one", "two", "three"]);
        assert_eq!(records(b"one,\n", b','), ["one"]);
        assert_eq!(records(b"a\nb,c\n\n", b','), ["a\nb", "c\n"]);
    }

    proptest! {
        #[test]
        fn as_splitting_a_slice(input in "[ab\n]{0,60}") {
            let mut expected: Vec<_> = input.split('\n').map(str::to_owned).collect();
            if expected.last().is_some_and(String::is_empty) {
                expected.pop();
            }
            prop_assert_eq!(records(input.as_bytes(), b'\n'), expected);
        }
    }
}
