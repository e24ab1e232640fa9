//! The body of a POST to `/adopt`: messages as one nsqd gives them to another.
//!
//! Shape, for each message: `[i64 timestamp][u16 attempts][i64 due][u32 size][body]`, big-endian; times in unix
//! nanoseconds, `due` 0 for a message that may be delivered at once.

use nsq_core::TransferMessage;

/// The header of each body.
const HEAD_BYTES: usize = 8 + 2 + 8 + 4;

/// A batch that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchError {
    /// It ends within a message, has an empty one, or a time before 1970.
    Malformed,
    /// A message is larger than `--max-msg-size`.
    MessageTooBig,
}

/// Adds a message.
pub(crate) fn write(batch: &mut Vec<u8>, message: &TransferMessage<'_>) {
    let size = u32::try_from(message.body.len()).expect("a log takes no message of 4 GiB");
    batch.extend_from_slice(&message.timestamp.to_be_bytes());
    batch.extend_from_slice(&message.attempts.to_be_bytes());
    batch.extend_from_slice(&message.due.to_be_bytes());
    batch.extend_from_slice(&size.to_be_bytes());
    batch.extend_from_slice(message.body);
}

/// All messages of a batch, of `max_msg_size` bytes at most.
pub(crate) fn read(
    mut batch: &[u8],
    max_msg_size: i64,
) -> Result<Vec<TransferMessage<'_>>, BatchError> {
    let mut messages = Vec::new();
    while !batch.is_empty() {
        let (message, rest) = read_one(batch).ok_or(BatchError::Malformed)?;
        if i64::try_from(message.body.len()).map_or(true, |size| size > max_msg_size) {
            return Err(BatchError::MessageTooBig);
        }
        messages.push(message);
        batch = rest;
    }
    Ok(messages)
}

fn read_one(batch: &[u8]) -> Option<(TransferMessage<'_>, &[u8])> {
    let (&timestamp, rest) = batch.split_first_chunk()?;
    let (&attempts, rest) = rest.split_first_chunk()?;
    let (&due, rest) = rest.split_first_chunk()?;
    let (&size, rest) = rest.split_first_chunk()?;
    let size = usize::try_from(u32::from_be_bytes(size)).ok()?;
    let (body, rest) = rest.split_at_checked(size)?;
    let message = TransferMessage {
        timestamp: i64::from_be_bytes(timestamp),
        attempts: u16::from_be_bytes(attempts),
        due: i64::from_be_bytes(due),
        body,
    };
    let is_sound = message.timestamp >= 0 && message.due >= 0 && !body.is_empty();
    is_sound.then_some((message, rest))
}

/// The longest batch that is taken, in bytes: a message of the largest size, or more of them in one body.
pub(crate) fn limit_bytes(max_msg_size: i64, max_body_size: i64) -> usize {
    let largest = usize::try_from(max_msg_size).unwrap_or(0) + HEAD_BYTES;
    largest.max(usize::try_from(max_body_size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [TransferMessage<'static>; 2] = [
        TransferMessage {
            timestamp: 1_700_000_000_000_000_000,
            attempts: 3,
            due: 0,
            body: b"a",
        },
        TransferMessage {
            timestamp: 0,
            attempts: u16::MAX,
            due: i64::MAX,
            body: b"bcd",
        },
    ];

    fn batch() -> Vec<u8> {
        let mut batch = Vec::new();
        for message in &MESSAGES {
            write(&mut batch, message);
        }
        batch
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(read(&batch(), 3), Ok(MESSAGES.to_vec()));
        assert_eq!(read(&[], 3), Ok(Vec::new()));
        assert_eq!(read(&batch(), 2), Err(BatchError::MessageTooBig));
    }

    #[test]
    fn whatever_ends_early_or_makes_no_sense_is_refused() {
        let whole = batch();
        let first_bytes = HEAD_BYTES + 1;
        for end in (1..whole.len()).filter(|&end| end != first_bytes) {
            assert_eq!(read(&whole[..end], 3), Err(BatchError::Malformed), "{end}");
        }
        let spoiled = |at: usize, byte: u8| {
            let mut batch = whole.clone();
            batch[at] = byte;
            read(&batch, 3).map(|_| ())
        };
        assert_eq!(spoiled(0, 0x80), Err(BatchError::Malformed), "timestamp");
        assert_eq!(spoiled(10, 0x80), Err(BatchError::Malformed), "due");
        assert_eq!(spoiled(18, 0xff), Err(BatchError::Malformed), "size");
        assert_eq!(spoiled(21, 0), Err(BatchError::Malformed), "empty");
    }

    #[test]
    fn a_message_of_the_largest_size_fits_whatever_the_limit_of_bodies() {
        assert_eq!(limit_bytes(1000, 10), 1000 + HEAD_BYTES);
        assert_eq!(limit_bytes(10, 1000), 1000);
        assert_eq!(limit_bytes(-1, -1), HEAD_BYTES);
    }
}
