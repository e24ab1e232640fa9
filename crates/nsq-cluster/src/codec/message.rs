//! What nodes say to each other: requests, and answers to them.
//!
//! A request and its answer are paired by the connection, which numbers them. An answer's bytes do not repeat which request
//! they belong to, except by their kind.

use bytes::Bytes;

use super::{
    DecodeError, Decoder, Entry, LogId, Manifest, Membership, Vote, Wire, put_bytes, put_count,
    put_optional,
};
use crate::{GroupId, NodeId};

/// A question to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A leader's entries; without any, a heartbeat.
    Append {
        /// The group.
        group: GroupId,
        /// The leader's vote.
        vote: Vote,
        /// The entry before the first one.
        previous: Option<LogId>,
        /// The newest entry that a majority holds.
        committed: Option<LogId>,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A candidate asks for a vote.
    Vote {
        /// The group.
        group: GroupId,
        /// The vote it asks for.
        vote: Vote,
        /// The end of the candidate's log.
        last: Option<LogId>,
        /// Only whether the vote would be given: nothing is promised.
        is_pre_vote: bool,
        /// The leader has asked the candidate to take over.
        is_transfer: bool,
    },
    /// A leader asks a follower to take over.
    Transfer {
        /// The group.
        group: GroupId,
        /// The leader's vote.
        from: Vote,
        /// The follower.
        to: NodeId,
        /// What the follower's log must hold first.
        last: Option<LogId>,
    },
    /// A leader offers a checkpoint to a follower that is too far behind for entries. The follower fetches what it needs by
    /// [`Chunk`](Self::Chunk) and answers once the checkpoint is installed.
    Checkpoint {
        /// The group.
        group: GroupId,
        /// The leader's vote.
        vote: Vote,
        /// The last entry in the checkpoint.
        last: Option<LogId>,
        /// The entry that made `membership` the members.
        membership_id: Option<LogId>,
        /// The members as of `last`.
        membership: Membership,
        /// By what the follower names the checkpoint when it fetches from it.
        transfer: u64,
        /// The files.
        manifest: Manifest,
    },
    /// A piece of a file in an offered checkpoint.
    Chunk {
        /// The offer.
        transfer: u64,
        /// Which file of the manifest.
        file: u32,
        /// Where in the file.
        offset: u64,
        /// How many bytes at most.
        bytes: u32,
    },
    /// A question of the program that uses this crate, to the same part of the other node.
    Call {
        /// The group it concerns.
        group: GroupId,
        /// The question.
        body: Bytes,
    },
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Append`].
    Append(AppendAnswer),
    /// To [`Request::Vote`].
    Vote {
        /// The replica's own vote.
        vote: Vote,
        /// The end of its log.
        last: Option<LogId>,
        /// Whether it gives the vote.
        is_granted: bool,
    },
    /// To [`Request::Transfer`].
    Transfer(TransferAnswer),
    /// To [`Request::Checkpoint`]: it is installed, or the replica follows another leader.
    Checkpoint {
        /// The replica's vote.
        vote: Vote,
    },
    /// To [`Request::Chunk`].
    Chunk {
        /// CRC-32 of the bytes, computed where they were read.
        checksum: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// To [`Request::Call`].
    Call(Bytes),
    /// To any request.
    Refused(Refusal),
}

/// What became of a leader's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// The replica holds them all.
    Success,
    /// The replica holds them up to here.
    Partial(Option<LogId>),
    /// The replica's log differs at the entry before the first one.
    Conflict,
    /// The replica follows a later leader.
    HigherVote(Vote),
}

/// Whether a follower takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAnswer {
    /// It stands for election.
    Accepted,
    /// It knows another vote.
    VoteChanged {
        /// The vote of the request.
        expected: Vote,
        /// The one it knows.
        actual: Vote,
    },
    /// Its log does not reach far enough yet.
    NotFlushed {
        /// What the request asks for.
        expected: Option<LogId>,
        /// The end of its log.
        actual: Option<LogId>,
    },
}

/// Why a node does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no replica of the group.
    #[error("has no replica of this group")]
    NoSuchGroup,
    /// It cannot take more work now.
    #[error("is overloaded")]
    Busy,
    /// The checkpoint is no longer offered.
    #[error("no longer offers this checkpoint")]
    NoSuchTransfer,
    /// It tried and failed.
    #[error("failed: {0}")]
    Failed(String),
}

impl Wire for Request {
    fn size_hint(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|entry| 8 + entry.size()).sum(),
            Self::Call { body, .. } => body.len(),
            _ => 0,
        }
    }

    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Append {
                group,
                vote,
                previous,
                committed,
                entries,
            } => {
                put_head(to, APPEND, *group);
                vote.encode(to);
                put_optional(to, previous.as_ref());
                put_optional(to, committed.as_ref());
                put_count(to, entries.len());
                for entry in entries {
                    put_entry(to, entry);
                }
            }
            Self::Vote {
                group,
                vote,
                last,
                is_pre_vote,
                is_transfer,
            } => {
                put_head(to, VOTE, *group);
                vote.encode(to);
                put_optional(to, last.as_ref());
                to.push(u8::from(*is_pre_vote));
                to.push(u8::from(*is_transfer));
            }
            Self::Transfer {
                group,
                from,
                to: target,
                last,
            } => {
                put_head(to, TRANSFER, *group);
                from.encode(to);
                to.extend_from_slice(&target.0.to_le_bytes());
                put_optional(to, last.as_ref());
            }
            Self::Checkpoint {
                group,
                vote,
                last,
                membership_id,
                membership,
                transfer,
                manifest,
            } => {
                put_head(to, CHECKPOINT, *group);
                vote.encode(to);
                put_optional(to, last.as_ref());
                put_optional(to, membership_id.as_ref());
                membership.encode(to);
                to.extend_from_slice(&transfer.to_le_bytes());
                manifest.encode(to);
            }
            Self::Chunk {
                transfer,
                file,
                offset,
                bytes,
            } => {
                to.push(CHUNK);
                to.extend_from_slice(&transfer.to_le_bytes());
                to.extend_from_slice(&file.to_le_bytes());
                to.extend_from_slice(&offset.to_le_bytes());
                to.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Call { group, body } => {
                put_head(to, CALL, *group);
                to.extend_from_slice(body);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        match from.u8("a request's kind")? {
            APPEND => decode_append(from),
            VOTE => Ok(Self::Vote {
                group: group_of(from)?,
                vote: Vote::decode(from)?,
                last: from.optional("the candidate's last entry")?,
                is_pre_vote: from.flag("whether it is a pre-vote")?,
                is_transfer: from.flag("whether it is a transfer")?,
            }),
            TRANSFER => Ok(Self::Transfer {
                group: group_of(from)?,
                from: Vote::decode(from)?,
                to: NodeId(from.u64("the next leader")?),
                last: from.optional("the leader's last entry")?,
            }),
            CHECKPOINT => Ok(Self::Checkpoint {
                group: group_of(from)?,
                vote: Vote::decode(from)?,
                last: from.optional("a checkpoint's last entry")?,
                membership_id: from.optional("a membership's entry")?,
                membership: Membership::decode(from)?,
                transfer: from.u64("a transfer")?,
                manifest: Manifest::decode(from)?,
            }),
            CHUNK => Ok(Self::Chunk {
                transfer: from.u64("a transfer")?,
                file: from.u32("a chunk's file")?,
                offset: from.u64("a chunk's offset")?,
                bytes: from.u32("a chunk's size")?,
            }),
            CALL => Ok(Self::Call {
                group: group_of(from)?,
                body: from.rest(),
            }),
            found => Err(DecodeError::Unknown {
                what: "a request's kind",
                found: u64::from(found),
            }),
        }
    }
}

fn decode_append(from: &mut Decoder) -> Result<Request, DecodeError> {
    let group = group_of(from)?;
    let vote = Vote::decode(from)?;
    let previous: Option<LogId> = from.optional("the entry before")?;
    let committed = from.optional("the committed entry")?;
    let count = from.count(4, "the entries")?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut next = previous.map_or(0, |previous| previous.index.saturating_add(1));
    for _ in 0..count {
        let entry = Entry::from_bytes(from.bytes("an entry")?)?;
        // Raft looks at the last index only, so a hole would never be noticed later.
        if entry.id.index != next {
            return Err(DecodeError::Invalid {
                what: "the order of entries",
            });
        }
        next = next.saturating_add(1);
        entries.push(entry);
    }
    Ok(Request::Append {
        group,
        vote,
        previous,
        committed,
        entries,
    })
}

impl Wire for Answer {
    fn size_hint(&self) -> usize {
        match self {
            Self::Chunk { bytes, .. } | Self::Call(bytes) => bytes.len(),
            _ => 0,
        }
    }

    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Append(answer) => {
                to.push(APPEND);
                answer.encode(to);
            }
            Self::Vote {
                vote,
                last,
                is_granted,
            } => {
                to.push(VOTE);
                vote.encode(to);
                put_optional(to, last.as_ref());
                to.push(u8::from(*is_granted));
            }
            Self::Transfer(answer) => {
                to.push(TRANSFER);
                answer.encode(to);
            }
            Self::Checkpoint { vote } => {
                to.push(CHECKPOINT);
                vote.encode(to);
            }
            Self::Chunk { checksum, bytes } => {
                to.push(CHUNK);
                to.extend_from_slice(&checksum.to_le_bytes());
                to.extend_from_slice(bytes);
            }
            Self::Call(body) => {
                to.push(CALL);
                to.extend_from_slice(body);
            }
            Self::Refused(refusal) => {
                to.push(REFUSED);
                refusal.encode(to);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        match from.u8("an answer's kind")? {
            APPEND => AppendAnswer::decode(from).map(Self::Append),
            VOTE => Ok(Self::Vote {
                vote: Vote::decode(from)?,
                last: from.optional("a replica's last entry")?,
                is_granted: from.flag("whether the vote is given")?,
            }),
            TRANSFER => TransferAnswer::decode(from).map(Self::Transfer),
            CHECKPOINT => Ok(Self::Checkpoint {
                vote: Vote::decode(from)?,
            }),
            CHUNK => Ok(Self::Chunk {
                checksum: from.u32("a chunk's checksum")?,
                bytes: from.rest(),
            }),
            CALL => Ok(Self::Call(from.rest())),
            REFUSED => Refusal::decode(from).map(Self::Refused),
            found => Err(DecodeError::Unknown {
                what: "an answer's kind",
                found: u64::from(found),
            }),
        }
    }
}

impl Wire for AppendAnswer {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Success => to.push(0),
            Self::Partial(last) => {
                to.push(1);
                put_optional(to, last.as_ref());
            }
            Self::Conflict => to.push(2),
            Self::HigherVote(vote) => {
                to.push(3);
                vote.encode(to);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        match from.u8("what became of the entries")? {
            0 => Ok(Self::Success),
            1 => from.optional("the last entry held").map(Self::Partial),
            2 => Ok(Self::Conflict),
            3 => Vote::decode(from).map(Self::HigherVote),
            found => Err(DecodeError::Unknown {
                what: "what became of the entries",
                found: u64::from(found),
            }),
        }
    }
}

impl Wire for TransferAnswer {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Accepted => to.push(0),
            Self::VoteChanged { expected, actual } => {
                to.push(1);
                expected.encode(to);
                actual.encode(to);
            }
            Self::NotFlushed { expected, actual } => {
                to.push(2);
                put_optional(to, expected.as_ref());
                put_optional(to, actual.as_ref());
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        match from.u8("whether the follower takes over")? {
            0 => Ok(Self::Accepted),
            1 => Ok(Self::VoteChanged {
                expected: Vote::decode(from)?,
                actual: Vote::decode(from)?,
            }),
            2 => Ok(Self::NotFlushed {
                expected: from.optional("the expected entry")?,
                actual: from.optional("the follower's last entry")?,
            }),
            found => Err(DecodeError::Unknown {
                what: "whether the follower takes over",
                found: u64::from(found),
            }),
        }
    }
}

impl Wire for Refusal {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::NoSuchGroup => to.push(0),
            Self::Busy => to.push(1),
            Self::NoSuchTransfer => to.push(2),
            Self::Failed(why) => {
                to.push(3);
                let end = why.floor_char_boundary(MAX_REASON_BYTES);
                put_bytes(to, &why.as_bytes()[..end]);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        match from.u8("a refusal")? {
            0 => Ok(Self::NoSuchGroup),
            1 => Ok(Self::Busy),
            2 => Ok(Self::NoSuchTransfer),
            3 => from.text(MAX_REASON_BYTES, "a reason").map(Self::Failed),
            found => Err(DecodeError::Unknown {
                what: "a refusal",
                found: u64::from(found),
            }),
        }
    }
}

fn put_head(to: &mut Vec<u8>, kind: u8, group: GroupId) {
    to.push(kind);
    to.extend_from_slice(&group.0.to_le_bytes());
}

fn group_of(from: &mut Decoder) -> Result<GroupId, DecodeError> {
    from.u64("a group").map(GroupId)
}

/// An entry with its length, which is known only afterwards.
fn put_entry(to: &mut Vec<u8>, entry: &Entry) {
    let at = to.len();
    put_count(to, 0);
    entry.encode(to);
    let length = u32::try_from(to.len() - at - 4).expect("entries are limited to far less");
    to[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const TRANSFER: u8 = 3;
const CHECKPOINT: u8 = 4;
const CHUNK: u8 = 5;
const CALL: u8 = 6;
const REFUSED: u8 = 255;
const MAX_REASON_BYTES: usize = 1024;
