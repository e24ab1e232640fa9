//! Bytes to values and back: everything this crate puts on the wire or on the disk.
//!
//! ```text
//! entry        one entry of a Raft log, the same bytes on the disk and on the wire
//! vote         who a replica has voted for, and which entry ends its log
//! membership   who belongs to a Raft group
//! manifest     the files of a checkpoint
//! message      requests between nodes, and their answers
//! ```
//!
//! Integers are little-endian and of fixed width; whatever has a length says it first. Each format that is stored or sent on
//! its own begins with a version. A decoder never panics, and never allocates more than it was given bytes: a count or a
//! length that the rest cannot hold is an error before anything is reserved for it.

mod entry;
mod manifest;
mod membership;
mod message;
#[cfg(test)]
mod tests;
mod vote;

pub use entry::{Batch, BatchBuilder, Entry, EntryBody, MAX_PROPOSALS};
pub use manifest::{Manifest, ManifestFile};
pub use membership::Membership;
pub use message::{Answer, AppendAnswer, Refusal, Request, TransferAnswer};
pub use vote::{LogId, Vote};

use bytes::{Buf, Bytes};

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("{what} is cut short")]
    CutShort {
        /// The value.
        what: &'static str,
    },
    /// More bytes follow the value.
    #[error("{count} bytes too many after {what}")]
    TooLong {
        /// The value.
        what: &'static str,
        /// Bytes after it.
        count: usize,
    },
    /// A version, kind or flag that this build does not know.
    #[error("{what} {found} is unknown to this version of nsqd")]
    Unknown {
        /// What was looked at.
        what: &'static str,
        /// What it was.
        found: u64,
    },
    /// A value that no sound peer and no sound disk would hold.
    #[error("{what} is not valid")]
    Invalid {
        /// The value.
        what: &'static str,
    },
}

/// A value with a format of its own.
pub trait Wire: Sized {
    /// Appends the value's bytes.
    fn encode(&self, to: &mut Vec<u8>);

    /// Takes the value off the front of `from`.
    ///
    /// # Errors
    /// When the bytes are no such value.
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError>;

    /// How many bytes that are, about, where it may be many.
    fn size_hint(&self) -> usize {
        0
    }

    /// The value's bytes.
    fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.into()
    }

    /// The value that `bytes` hold, and nothing else.
    ///
    /// # Errors
    /// When they hold another value, or more than one.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let value = Self::decode(&mut from)?;
        from.finish("the value")?;
        Ok(value)
    }
}

/// Bytes being taken apart from the front.
#[derive(Clone, Debug)]
pub struct Decoder(Bytes);

impl Decoder {
    /// All of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// A byte. `what` names it in the error.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.0.get_u8())
    }

    /// A `u32`. `what` names it in the error.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.0.get_u32_le())
    }

    /// A `u64`. `what` names it in the error.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.0.get_u64_le())
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// When it is neither, or missing.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::Unknown {
                what,
                found: u64::from(found),
            }),
        }
    }

    /// A `u32` length and as many bytes, which stay where they are.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.u32(what)? as usize;
        self.need(length, what)?;
        Ok(self.0.split_to(length))
    }

    /// The next `length` bytes, which stay where they are.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        self.need(length, what)?;
        Ok(self.0.split_to(length))
    }

    /// A `u32` length and text of at most `max` bytes.
    ///
    /// # Errors
    /// When it is longer, not UTF-8, or cut short.
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        if bytes.len() > max {
            return Err(DecodeError::Invalid { what });
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::Invalid { what })?;
        Ok(text.to_owned())
    }

    /// A `u32` count of items that take at least `least` bytes each.
    ///
    /// # Errors
    /// When the bytes that are left cannot hold so many.
    pub fn count(&mut self, least: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > self.remaining() / least.max(1) {
            return Err(DecodeError::CutShort { what });
        }
        Ok(count)
    }

    /// A version: `newest` or an older one.
    ///
    /// # Errors
    /// When this build does not know the version.
    pub fn version(&mut self, newest: u8, what: &'static str) -> Result<u8, DecodeError> {
        match self.u8(what)? {
            version if (1..=newest).contains(&version) => Ok(version),
            found => Err(DecodeError::Unknown {
                what,
                found: u64::from(found),
            }),
        }
    }

    /// A flag, and a value if it is set.
    ///
    /// # Errors
    /// When either is not valid.
    pub fn optional<T: Wire>(&mut self, what: &'static str) -> Result<Option<T>, DecodeError> {
        if self.flag(what)? {
            T::decode(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> Bytes {
        self.0.split_to(self.0.len())
    }

    /// The bytes before the place where `later` has arrived.
    pub fn since(&self, later: &Self) -> Bytes {
        self.0.slice(..self.0.len() - later.0.len())
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(DecodeError::TooLong { what, count }),
        }
    }

    fn need(&self, count: usize, what: &'static str) -> Result<(), DecodeError> {
        if self.0.len() < count {
            return Err(DecodeError::CutShort { what });
        }
        Ok(())
    }
}

/// Appends a `u32` length and the bytes. What is longer than `u32::MAX` is refused long before it gets here.
pub fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_count(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// Appends a count as a `u32`.
pub fn put_count(to: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("everything that is encoded is limited to far less");
    to.extend_from_slice(&count.to_le_bytes());
}

/// Appends a flag, and the value if there is one.
pub fn put_optional<T: Wire>(to: &mut Vec<u8>, value: Option<&T>) {
    to.push(u8::from(value.is_some()));
    if let Some(value) = value {
        value.encode(to);
    }
}
