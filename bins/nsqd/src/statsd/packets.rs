//! Lines in packets.

/// Lines put together in packets of whole lines, none of them above a limit. A line that is longer itself goes alone.
#[derive(Debug)]
pub(super) struct Packets {
    limit: usize,
    packets: Vec<Vec<u8>>,
}

/// In place of a limit that is none.
///
/// Compat: the size of Go's `bufio.Writer` (internal/writers/boundary_buffered_writer.go).
const DEFAULT_LIMIT: usize = 4096;

impl Packets {
    /// None yet.
    pub(super) fn new(limit_bytes: i64) -> Packets {
        Packets {
            limit: usize::try_from(limit_bytes)
                .ok()
                .filter(|&limit| limit > 0)
                .unwrap_or(DEFAULT_LIMIT),
            packets: Vec::new(),
        }
    }

    /// Adds a line, its end included.
    pub(super) fn push(&mut self, line: &str) {
        match self.packets.last_mut() {
            Some(packet) if packet.len() + line.len() <= self.limit => {
                packet.extend_from_slice(line.as_bytes());
            }
            _ => self.packets.push(line.as_bytes().to_vec()),
        }
    }

    /// The packets, in the order of their lines.
    pub(super) fn into_vec(self) -> Vec<Vec<u8>> {
        self.packets
    }
}
