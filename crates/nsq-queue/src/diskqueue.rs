//! Upstream's disk queues: the files its nsqd keeps messages in. Read to move in, written to move out.
//!
//! ```text
//! <queue>.diskqueue.000000.dat ...   records, one after the other: [u32 length][length bytes]
//! <queue>.diskqueue.meta.dat         "<depth>\n<read file>,<read offset>\n<write file>,<write offset>\n"
//! <queue>.diskqueue.000000.dat.bad   a file upstream met damage in, and gave up
//! ```
//! The bytes of a record: `[i64 unix nanoseconds][u16 attempts][16 hex digits of the id][body]`, big-endian.
//! There is no check over them, so a record counts when its length fits its file and its id is an id.
//! Source: go-diskqueue 1.1.0, diskqueue.go; nsq 1.3.0, nsqd/message.go.

mod files;
mod metadata;
mod reader;
mod remark;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use files::{FileKind, QueueFiles};
pub use metadata::{Metadata, Place};
pub use reader::{Message, QueueReader, Step};
pub use remark::{Remark, RemarkKind};
pub use writer::QueueWriter;

/// The length before each record.
const LENGTH_BYTES: usize = 4;
/// Timestamp, attempts and id.
const HEADER_BYTES: usize = 26;
const ID_BYTES: usize = 16;
/// What a record has at least, its length included.
const LEAST_BYTES: usize = LENGTH_BYTES + HEADER_BYTES;
/// The largest body that a log can hold.
const MAX_BODY_BYTES: usize = (1 << 30) - 1;

/// The head of a record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// After the record's own first byte.
    record_bytes: usize,
    timestamp: i64,
    attempts: u16,
    id: u64,
}

impl Head {
    /// The head at the front of `bytes`, if a record of at most `room` bytes can begin so.
    fn parse(bytes: &[u8], room: u64) -> Option<Head> {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (attempts, rest) = rest.split_first_chunk::<2>()?;
        let (id, _) = rest.split_first_chunk::<ID_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if !(HEADER_BYTES..=HEADER_BYTES + MAX_BODY_BYTES).contains(&length) {
            return None;
        }
        let record_bytes = LENGTH_BYTES + length;
        if record_bytes as u64 > room {
            return None;
        }
        Some(Head {
            record_bytes,
            timestamp: i64::from_be_bytes(*timestamp),
            attempts: u16::from_be_bytes(*attempts),
            id: parse_id(id)?,
        })
    }

    /// Whether the time is one at which messages are published: asked where a record is looked for.
    fn is_of_our_time(&self) -> bool {
        (YEAR_2000..YEAR_2200).contains(&self.timestamp)
    }
}

/// Upstream writes lower case; another spelling would not come back as it was.
fn parse_id(digits: &[u8; ID_BYTES]) -> Option<u64> {
    digits.iter().try_fold(0, |id: u64, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(id << 4 | u64::from(value))
    })
}

/// Unix nanoseconds.
const YEAR_2000: i64 = 946_684_800_000_000_000;
const YEAR_2200: i64 = 7_258_118_400_000_000_000;
