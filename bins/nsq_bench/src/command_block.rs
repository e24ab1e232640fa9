//! Publish commands encoded once and sent over and over, with only their send times rewritten.
//!
//! Nothing is allocated or copied for a message: a block holds as many copies of the command as
//! may go out in one write, and a write takes a prefix of it.

use nsq_protocol::{TopicName, encode};

use crate::options::Publishing;

/// Copies of one PUB, DPUB or MPUB, one after the other.
#[derive(Debug)]
pub(crate) struct CommandBlock {
    bytes: Vec<u8>,
    command_bytes: usize,
    /// Where the bodies start within a command; empty when they are too short for a time.
    stamps: Vec<usize>,
}

impl CommandBlock {
    /// Encodes up to `window` commands of `publishing`'s shape, within [`BLOCK_BYTES`].
    pub(crate) fn new(topic: &TopicName, publishing: &Publishing) -> Self {
        let body_bytes = publishing.size as usize;
        let batch = publishing.batch as usize;
        let mut words = Words::default();
        let mut command = Vec::new();
        if batch > 1 {
            let bodies: Vec<_> = (0..batch).map(|_| words.body(body_bytes)).collect();
            encode::publish_many(&mut command, topic, bodies.iter().map(Vec::as_slice));
        } else if let Some(delay) = publishing.defer {
            encode::publish_deferred(&mut command, topic, delay, &words.body(body_bytes));
        } else {
            encode::publish(&mut command, topic, &words.body(body_bytes));
        }
        let command_bytes = command.len();
        // The bodies are at the command's end, each after its 4 bytes of length.
        let first_body = command_bytes - batch * (SIZE_BYTES + body_bytes) + SIZE_BYTES;
        let stamps = if body_bytes < STAMP_BYTES {
            Vec::new()
        } else {
            (0..batch)
                .map(|nth| first_body + nth * (SIZE_BYTES + body_bytes))
                .collect()
        };
        let copies = (BLOCK_BYTES / command_bytes).clamp(1, publishing.window as usize);
        Self {
            bytes: command.repeat(copies),
            command_bytes,
            stamps,
        }
    }

    /// The most commands that go out in one write.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len() / self.command_bytes
    }

    /// Writes `unix_nanos` into every body of command `nth`.
    pub(crate) fn stamp(&mut self, nth: usize, unix_nanos: u64) {
        let command = &mut self.bytes[nth * self.command_bytes..][..self.command_bytes];
        let stamp = unix_nanos.to_be_bytes();
        for &at in &self.stamps {
            command[at..at + STAMP_BYTES].copy_from_slice(&stamp);
        }
    }

    /// The first `count` commands, ready to be written.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        &self.bytes[..count * self.command_bytes]
    }
}

/// Text that compresses about as well as real messages: repeated names, and numbers that differ.
#[derive(Default)]
struct Words(u64);

impl Words {
    fn body(&mut self, length: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(length + WORDS[0].len());
        while body.len() < length {
            // A linear congruential generator, Knuth's: good enough to be different each time.
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let [.., number, word] = self.0.to_be_bytes().map(usize::from);
            let [first, second, ..] = self.0.to_be_bytes();
            body.extend_from_slice(WORDS[(word ^ usize::from(first)) % WORDS.len()].as_bytes());
            body.extend_from_slice(format!("{}", usize::from(second) * 256 + number).as_bytes());
        }
        body.truncate(length);
        body
    }
}

const WORDS: [&str; 16] = [
    r#","duration_ms":"#,
    r#","user_id":"#,
    r#","status":"#,
    r#","bytes_sent":"#,
    r#","region":"eu-"#,
    r#","path":"/api/v2/orders/"#,
    r#","timestamp":"#,
    r#","trace":""#,
    r#"","method":"GET","code":"#,
    r#","host":"web-"#,
    r#"","cache":"miss","age":"#,
    r#","referrer":"https://shop.example/item/"#,
    r#","retry":"#,
    r#","version":"#,
    r#","queue":"mail-"#,
    r#"","level":"info","line":"#,
];

/// The send time that a body begins with. `None` for bodies of other programs, whose first bytes are not a time of the
/// last day.
pub(crate) fn send_time(body: &[u8], now: u64) -> Option<u64> {
    let stamp = u64::from_be_bytes(*body.first_chunk::<STAMP_BYTES>()?);
    (stamp <= now && now - stamp < DAY_NANOS).then_some(stamp)
}

const SIZE_BYTES: usize = 4;
const STAMP_BYTES: usize = 8;
/// One write's worth: more would only evict the caches.
const BLOCK_BYTES: usize = 512 * 1024;
const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn topic() -> TopicName {
        TopicName::parse("t").unwrap()
    }

    fn publishing(size: u32, batch: u32, window: u32) -> Publishing {
        Publishing {
            size,
            batch,
            window,
            rate: 0,
            defer: None,
        }
    }

    #[test]
    fn a_pub_has_its_time_at_the_front_of_the_body() {
        let mut block = CommandBlock::new(&topic(), &publishing(10, 1, 3));
        assert_eq!(block.capacity(), 3);
        block.stamp(1, 0x0102_0304_0506_0708);
        let body = Words::default().body(10);
        let head = b"PUB t\n\0\0\0\x0a";
        let stamped = b"\x01\x02\x03\x04\x05\x06\x07\x08";
        assert_eq!(
            block.first(2),
            [head, &body[..], head, stamped, &body[8..]].concat()
        );
    }

    #[test]
    fn an_mpub_has_its_time_in_every_body() {
        let mut block = CommandBlock::new(&topic(), &publishing(8, 2, 1));
        block.stamp(0, u64::from_be_bytes(*b"12345678"));
        assert_eq!(
            block.first(1),
            b"MPUB t\n\0\0\0\x1c\0\0\0\x02\0\0\0\x0812345678\0\0\0\x0812345678"
        );
    }

    #[test]
    fn a_short_body_is_left_alone() {
        let mut block = CommandBlock::new(&topic(), &publishing(7, 1, 1));
        block.stamp(0, NOW);
        let body = Words::default().body(7);
        assert_eq!(block.first(1), [b"PUB t\n\0\0\0\x07", &body[..]].concat());
    }

    #[test]
    fn a_deferred_message_says_its_delay_in_milliseconds() {
        let block = CommandBlock::new(
            &topic(),
            &Publishing {
                defer: Some(Duration::from_millis(1500)),
                ..publishing(1, 1, 1)
            },
        );
        let body = Words::default().body(1);
        assert_eq!(
            block.first(1),
            [b"DPUB t 1500\n\0\0\0\x01", &body[..]].concat()
        );
    }

    #[test]
    fn bodies_are_text_and_differ() {
        let mut words = Words::default();
        let bodies: Vec<_> = (0..100).map(|_| words.body(200)).collect();
        assert!(
            bodies
                .iter()
                .all(|body| body.len() == 200 && body.is_ascii())
        );
        assert!(bodies.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_large_command_still_fits_once() {
        let block = CommandBlock::new(&topic(), &publishing(1_000_000, 1, 64));
        assert_eq!(block.capacity(), 1);
    }

    #[test]
    fn only_a_time_of_the_last_day_is_a_send_time() {
        assert_eq!(send_time(&(NOW - 5).to_be_bytes(), NOW), Some(NOW - 5));
        assert_eq!(send_time(&(NOW + 1).to_be_bytes(), NOW), None);
        assert_eq!(send_time(&(NOW - DAY_NANOS).to_be_bytes(), NOW), None);
        assert_eq!(send_time(b"xxxxxxxxxx", NOW), None);
        assert_eq!(send_time(b"short", NOW), None);
    }
}
