//! The messages in the body of an `/mpub`: lines, or sizes and bodies as in a TCP MPUB.

use nsq_daemon::http::ApiError;
use nsq_protocol::Limits;

/// The messages of a body of lines. Blank lines are none; a `\r` belongs to its message.
pub(crate) fn lines<'a>(body: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, ApiError> {
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            if fits(line.len(), limits.max_msg_size) {
                Ok(line)
            } else {
                Err(ApiError::too_large("MSG_TOO_BIG"))
            }
        })
        .collect()
}

/// The messages of a binary body, `[i32 count]` and then `[i32 size][body]` for each, big-endian. What follows the
/// last one does not count.
///
/// Compat: whatever is wrong with it, the status is 413 (doMPUB, nsqd/http.go).
pub(crate) fn binary<'a>(body: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, ApiError> {
    let bad_message = || ApiError::too_large("BAD_MESSAGE");
    // The count itself, and per message its size and at least one byte.
    let max_count = limits.max_body_size.saturating_sub(SIZE_BYTES) / (SIZE_BYTES + 1);
    let (count, mut rest) = size_before(body)
        .filter(|(count, _)| *count > 0 && fits(*count, max_count))
        .ok_or(ApiError::too_large("BAD_BODY"))?;
    // No more room on the client's word than what came can fill.
    let mut messages = Vec::with_capacity(count.min(rest.len() / 5));
    for _ in 0..count {
        let (size, after_size) = size_before(rest)
            .filter(|(size, _)| *size > 0 && fits(*size, limits.max_msg_size))
            .ok_or_else(bad_message)?;
        let (message, after) = after_size.split_at_checked(size).ok_or_else(bad_message)?;
        messages.push(message);
        rest = after;
    }
    Ok(messages)
}

/// Takes a size off the front; `None` when it is not there in full, or negative.
fn size_before(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    let size = usize::try_from(i32::from_be_bytes(*size)).ok()?;
    Some((size, rest))
}

fn fits(length: usize, max: i64) -> bool {
    i64::try_from(length).is_ok_and(|length| length <= max)
}

const SIZE_BYTES: i64 = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        max_msg_size: 5,
        max_body_size: 29,
        max_rdy_count: 0,
        max_req_timeout: Duration::ZERO,
    };

    #[track_caller]
    fn check(outcome: &Result<Vec<&[u8]>, ApiError>, want: Result<&[&str], &'static str>) {
        let want = want
            .map(|messages| messages.iter().map(|message| message.as_bytes()).collect())
            .map_err(ApiError::too_large);
        assert_eq!(*outcome, want);
    }

    #[test]
    fn every_line_that_is_not_blank_is_a_message() {
        let check = |body: &[u8], want| check(&lines(body, &LIMITS), want);
        check(b"", Ok(&[]));
        check(b"\n\n", Ok(&[]));
        check(b"one\n\ntwo\r\n", Ok(&["one", "two\r"]));
        check(b"\nlast", Ok(&["last"]));
        check(b"12345\n", Ok(&["12345"]));
        check(b"fine\n123456", Err("MSG_TOO_BIG"));
    }

    #[test]
    fn a_binary_batch_is_right_throughout_or_refused() {
        let check = |body: &[u8], want| check(&binary(body, &LIMITS), want);
        check(b"\0\0\0\x01\0\0\0\x01a", Ok(&["a"]));
        check(b"\0\0\0\x02\0\0\0\x01a\0\0\0\x0512345", Ok(&["a", "12345"]));
        check(b"\0\0\0\x01\0\0\0\x01a surplus", Ok(&["a"]));
        for bad_count in [
            b"".as_slice(),
            b"\0\0\0",
            b"\0\0\0\0",
            b"\0\0\0\x06",
            b"\xff\xff\xff\xff",
        ] {
            check(bad_count, Err("BAD_BODY"));
        }
        for bad_message in [
            b"\0\0\0\x05".as_slice(),
            b"\0\0\0\x01\0\0\0",
            b"\0\0\0\x01\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x06123456",
            b"\0\0\0\x01\xff\xff\xff\xff",
            b"\0\0\0\x02\0\0\0\x01a\0\0\0\x02b",
        ] {
            check(bad_message, Err("BAD_MESSAGE"));
        }
    }
}
