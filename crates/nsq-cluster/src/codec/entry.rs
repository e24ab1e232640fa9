//! One entry of a Raft log.
//!
//! ```text
//! 0  u8   version of this format
//! 1  u8   kind: 0 blank, 1 proposals, 2 membership
//! 2  u64  term
//! 10 u64  index
//! 18      the kind's own bytes, to the end
//! ```
//! Proposals are a `u32` count, then each as a `u32` length and its bytes. What is in a proposal is the state machine's
//! business, with a format and versions of its own.

use std::fmt;

use bytes::Bytes;

use super::{DecodeError, Decoder, LogId, Membership, Wire, put_bytes};

/// An entry with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub id: LogId,
    /// What it holds.
    pub body: EntryBody,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryBody {
    /// Nothing: a new leader begins its term with one.
    Blank,
    /// Whatever arrived while the entry before was being appended.
    Proposals(Batch),
    /// From here on the group has these members.
    Membership(Membership),
}

/// Proposals that share an entry, encoded once and never copied again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The `count` proposals, each after its length.
    framed: Bytes,
    count: u32,
}

impl Batch {
    /// How many proposals there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes they take in an entry.
    pub fn size(&self) -> usize {
        self.framed.len()
    }

    /// The proposals in the order they were made.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> {
        let mut rest = Decoder::new(self.framed.clone());
        (0..self.count).map(move |_| rest.bytes("a proposal").expect("checked when it was made"))
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} proposals of {} bytes", self.count, self.framed.len())
    }
}

/// Collects proposals for one entry.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    framed: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// Adds a proposal.
    pub fn push(&mut self, proposal: &[u8]) {
        self.framed.reserve(4 + proposal.len());
        put_bytes(&mut self.framed, proposal);
        self.count += 1;
    }

    /// How many proposals there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes they take so far.
    pub fn size(&self) -> usize {
        self.framed.len()
    }

    /// The batch.
    pub fn build(self) -> Batch {
        Batch {
            framed: self.framed.into(),
            count: self.count,
        }
    }
}

impl Entry {
    /// The same entry, for someone who keeps it for long. A received one is a slice of the buffer it was read into, which is
    /// many times as large as a small entry and would be kept with it.
    pub(crate) fn to_keep(&self) -> Entry {
        let mut kept = self.clone();
        if let EntryBody::Proposals(batch) = &mut kept.body
            && batch.framed.len() < COPIED_BELOW
        {
            batch.framed = Bytes::copy_from_slice(&batch.framed);
        }
        kept
    }

    /// Bytes the entry takes, about.
    pub fn size(&self) -> usize {
        let body = match &self.body {
            EntryBody::Blank => 0,
            EntryBody::Proposals(batch) => 4 + batch.size(),
            EntryBody::Membership(membership) => membership.nodes.len() * 64,
        };
        HEADER_BYTES + body
    }
}

impl Wire for Entry {
    fn encode(&self, to: &mut Vec<u8>) {
        to.reserve(self.size());
        to.push(VERSION);
        to.push(match &self.body {
            EntryBody::Blank => BLANK,
            EntryBody::Proposals(_) => PROPOSALS,
            EntryBody::Membership(_) => MEMBERSHIP,
        });
        self.id.encode(to);
        match &self.body {
            EntryBody::Blank => {}
            EntryBody::Proposals(batch) => {
                to.extend_from_slice(&batch.count.to_le_bytes());
                to.extend_from_slice(&batch.framed);
            }
            EntryBody::Membership(membership) => membership.encode(to),
        }
    }

    /// Takes all that is left: an entry is alone in its record, and in a message it has a length.
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "an entry's version")?;
        let kind = from.u8("an entry's kind")?;
        let id = LogId::decode(from)?;
        let body = match kind {
            BLANK => EntryBody::Blank,
            PROPOSALS => EntryBody::Proposals(decode_batch(from)?),
            MEMBERSHIP => EntryBody::Membership(Membership::decode(from)?),
            found => {
                return Err(DecodeError::Unknown {
                    what: "an entry's kind",
                    found: u64::from(found),
                });
            }
        };
        from.finish("an entry")?;
        Ok(Self { id, body })
    }
}

/// Checks every length once, so that no one has to later.
fn decode_batch(from: &mut Decoder) -> Result<Batch, DecodeError> {
    let count = from.count(4, "the proposals")?;
    let begin = from.clone();
    for _ in 0..count {
        from.bytes("a proposal")?;
    }
    Ok(Batch {
        framed: begin.since(from),
        count: u32::try_from(count).map_err(|_| DecodeError::Invalid {
            what: "the proposals",
        })?,
    })
}

/// More do not share an entry, however small they are.
pub const MAX_PROPOSALS: usize = 1 << 16;
const VERSION: u8 = 1;
/// A larger entry takes a good part of the buffer that it was read into.
const COPIED_BELOW: usize = 16 << 10;
const HEADER_BYTES: usize = 18;
const BLANK: u8 = 0;
const PROPOSALS: u8 = 1;
const MEMBERSHIP: u8 = 2;
