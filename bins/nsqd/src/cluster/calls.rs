//! Questions of one nsqd to another that concern neither a shard nor how clusters are founded and joined.
//!
//! They are [`Request::Call`](nsq_cluster::codec::Request::Call)s to [`NODE`], which is the number of no group. Who is no member of the
//! cluster may not ask them.

use bytes::Bytes;
use nsq_cluster::GroupId;
use nsq_cluster::codec::{DecodeError, Decoder, Refusal, put_bytes};
use nsq_cluster::network::CallError;

/// Stands for the node itself where a call names a group. No shard has this number.
pub(crate) const NODE: GroupId = GroupId(u64::MAX);

/// A question to another nsqd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// To the leader of the directory: propose this change.
    Change(Bytes),
    /// To any node: the state of its replicas.
    Status,
    /// To any member: whether the caller was removed from the cluster. A node that was away then does not learn it otherwise.
    AmIRemoved,
}

/// The answer to [`Call::Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It is committed; the bytes are the outcome.
    Outcome(Bytes),
    /// Not proposed: the node does not lead the directory.
    NotLeading,
    /// Not made, for this reason.
    NotMade(String),
    /// Made or not; the reason why that is not known.
    Unconfirmed(String),
}

impl Call {
    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Call::Change(change) => {
                let mut bytes = vec![CHANGE];
                bytes.extend_from_slice(change);
                bytes.into()
            }
            Call::Status => Bytes::from_static(&[STATUS]),
            Call::AmIRemoved => Bytes::from_static(&[AM_I_REMOVED]),
        }
    }

    /// # Errors
    /// When the bytes are no call that this build knows.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Call, DecodeError> {
        let mut from = Decoder::new(bytes);
        match from.u8("a question to a node")? {
            CHANGE => Ok(Call::Change(from.rest())),
            STATUS => {
                from.finish("a question for the state")?;
                Ok(Call::Status)
            }
            AM_I_REMOVED => {
                from.finish("a question for membership")?;
                Ok(Call::AmIRemoved)
            }
            found => Err(DecodeError::Unknown {
                what: "a question to a node",
                found: u64::from(found),
            }),
        }
    }
}

impl Changed {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        match self {
            Changed::Outcome(outcome) => {
                bytes.push(0);
                put_bytes(&mut bytes, outcome);
            }
            Changed::NotLeading => bytes.push(1),
            Changed::NotMade(why) => {
                bytes.push(2);
                put_bytes(&mut bytes, cut(why).as_bytes());
            }
            Changed::Unconfirmed(why) => {
                bytes.push(3);
                put_bytes(&mut bytes, cut(why).as_bytes());
            }
        }
        bytes.into()
    }

    /// # Errors
    /// When the bytes are no such answer.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Changed, DecodeError> {
        let mut from = Decoder::new(bytes);
        let changed = match from.u8("what became of a change")? {
            0 => Changed::Outcome(from.bytes("an outcome")?),
            1 => Changed::NotLeading,
            2 => Changed::NotMade(from.text(MAX_TEXT_BYTES, "an explanation")?),
            3 => Changed::Unconfirmed(from.text(MAX_TEXT_BYTES, "an explanation")?),
            found => {
                return Err(DecodeError::Unknown {
                    what: "what became of a change",
                    found: u64::from(found),
                });
            }
        };
        from.finish("what became of a change")?;
        Ok(changed)
    }
}

/// Whether a call that failed like this had surely no effect.
pub(super) fn was_not_sent(error: &CallError) -> bool {
    match error {
        CallError::NotSent(_) | CallError::Refused(Refusal::NoSuchGroup | Refusal::Busy) => true,
        CallError::Refused(Refusal::NoSuchTransfer | Refusal::Failed(_))
        | CallError::Unreachable(_)
        | CallError::TimedOut(_)
        | CallError::Misfit => false,
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

const CHANGE: u8 = 1;
const STATUS: u8 = 2;
const AM_I_REMOVED: u8 = 3;
/// The answers to [`Call::AmIRemoved`].
pub(crate) const REMOVED: &[u8] = &[1];
pub(crate) const NOT_REMOVED: &[u8] = &[0];
const MAX_TEXT_BYTES: usize = 1024;
