//! Where a chunked body ends, found as hyper finds it. The body itself is not changed.

/// Follows one chunked body.
#[derive(Debug, Default)]
pub(super) struct ChunkTracker {
    place: Place,
    /// The size of the chunk whose size is being read, or what is left of it.
    left: u64,
}

/// The next part of the body that is expected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A digit of a chunk's size, or what follows the digits.
    #[default]
    Size,
    /// What may follow the size, up to the end of the line.
    AfterSize,
    Data,
    /// The `\r\n` after the data.
    DataEnd,
    /// The first byte of a line after the last chunk.
    LineStart,
    /// The rest of a trailer.
    Trailer,
    /// The `\n` of a trailer.
    TrailerLf,
    /// The `\n` of the empty line.
    LastLf,
}

impl ChunkTracker {
    /// Continues through `bytes`. Returns how many of them belong to the body, and whether it has ended. hyper closes a
    /// connection whose chunks make no sense, so there what is returned does not matter.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            self.place = match self.place {
                Place::Size => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        self.left = self.left.saturating_mul(16).saturating_add(digit.into());
                        Place::Size
                    }
                    None => self.after_size(byte),
                },
                Place::AfterSize => self.after_size(byte),
                Place::Data => {
                    at -= 1;
                    let rest = bytes.len() - at;
                    let count = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    at += count;
                    self.left -= count as u64;
                    if self.left == 0 {
                        Place::DataEnd
                    } else {
                        Place::Data
                    }
                }
                Place::DataEnd if byte == b'\n' => Place::Size,
                Place::DataEnd => Place::DataEnd,
                Place::LineStart if byte == b'\r' => Place::LastLf,
                Place::LineStart | Place::Trailer if byte != b'\r' => Place::Trailer,
                Place::LineStart | Place::Trailer => Place::TrailerLf,
                Place::TrailerLf => Place::LineStart,
                Place::LastLf => return (at, true),
            };
        }
        (at, false)
    }

    fn after_size(&self, byte: u8) -> Place {
        match byte {
            b'\n' if self.left == 0 => Place::LineStart,
            b'\n' => Place::Data,
            _ => Place::AfterSize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_with_its_empty_line() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "a;x=\"y\"\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "02 \r\n\r\n\r\n00\r\nTrailer: x\r\nB: y\r\n\r\n",
            "1F\r\n0123456789abcdef0123456789abcde\r\n0;\r\n\r\n",
        ] {
            let bytes = format!("{body}GET /#");
            for size in [1, 2, 5, usize::MAX] {
                let mut tracker = ChunkTracker::default();
                let mut used = 0;
                for part in bytes.as_bytes().chunks(size) {
                    let (count, has_ended) = tracker.follow(part);
                    used += count;
                    if has_ended {
                        break;
                    }
                }
                assert_eq!(&bytes[used..], "GET /#", "{body:?} in pieces of {size}");
            }
        }
    }
}
