//! A replica that is not open, without a change to it: how far it has executed the shard's log, and what is left to execute.

use std::io;
use std::path::Path;

use nsq_cluster::codec::{DecodeError, Entry, EntryBody, LogId};

use crate::codec::{CommandError, Item, ProposalReader};
use crate::meta::{Meta, Stored};
use crate::transfer;

/// How far a replica has executed its shard's log.
#[derive(Debug, Clone, Copy)]
pub struct ShardLook {
    meta: Meta,
    is_interrupted: bool,
}

/// Why an entry could not be visited.
#[derive(Debug, thiserror::Error)]
pub enum PendingError<E> {
    /// It cannot be read: it is damaged, or a newer version of nsqd has written it.
    #[error("an entry cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// What the visitor returned.
    #[error(transparent)]
    Visit(E),
}

impl ShardLook {
    /// Looks at the replica whose own folder this is.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when a file is damaged, otherwise when it cannot be read now.
    pub fn at(folder: &Path) -> io::Result<ShardLook> {
        Ok(ShardLook {
            meta: Stored::load(folder)?.meta,
            is_interrupted: transfer::is_interrupted(folder),
        })
    }

    /// The last entry of which everything was executed for sure. More may have been: executing it again is harmless.
    pub fn executed(&self) -> Option<LogId> {
        self.meta.applied
    }

    /// Up to which change of the directory the shard has the topics and channels.
    pub fn registry_index(&self) -> u64 {
        self.meta.registry_index
    }

    /// Whether the replica was being replaced by a received one. The next start ends that; until then its data are of both.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Calls `visit` with every part of an entry of the log that is left to execute, in order. The entries are to be those after
    /// [`executed`](Self::executed).
    ///
    /// # Errors
    /// [`PendingError`]; the parts before were visited.
    pub fn for_each_pending<E>(
        &self,
        entry: &Entry,
        mut visit: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), PendingError<E>> {
        let EntryBody::Proposals(batch) = &entry.body else {
            return Ok(());
        };
        let next = self.meta.applied.map_or(0, |id| id.index + 1);
        let executed_parts = if entry.id.index == next {
            self.meta.parts
        } else {
            0
        };
        let mut part = 0;
        for proposal in batch.iter() {
            let proposal = ProposalReader::new(&proposal)?;
            if proposal.term() != entry.id.term {
                continue;
            }
            let read = proposal.read(|item| {
                part += 1;
                if part <= executed_parts {
                    return Ok(());
                }
                visit(item)
            });
            read.map_err(|error| match error {
                CommandError::Decode(error) => PendingError::Decode(error),
                CommandError::Execute(error) => PendingError::Visit(error),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nsq_cluster::codec::BatchBuilder;
    use nsq_core::command::Command;
    use nsq_protocol::TopicName;

    use super::*;
    use crate::codec::{begin, put_command, put_followed};

    fn proposal(term: u64, indexes: &[u64]) -> Bytes {
        let mut bytes = Vec::new();
        begin(&mut bytes, term);
        let topic = TopicName::try_from("t").unwrap();
        put_command(&mut bytes, &Command::CreateTopic(&topic));
        for index in indexes {
            put_followed(&mut bytes, *index);
        }
        bytes.into()
    }

    #[test]
    fn parts_that_were_executed_and_proposals_of_another_term_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let meta = Meta {
            applied: Some(LogId { term: 2, index: 9 }),
            parts_term: 0,
            parts: 2,
            registry_index: 4,
        };
        let stored = Stored {
            meta,
            ..Stored::default()
        };
        stored.store(folder.path()).unwrap();
        let look = ShardLook::at(folder.path()).unwrap();
        assert!(!look.is_interrupted());
        let mut batch = BatchBuilder::default();
        batch.push(&proposal(2, &[5, 6]));
        batch.push(&proposal(1, &[7]));
        batch.push(&proposal(2, &[8]));
        let mut entry = Entry {
            id: LogId { term: 2, index: 10 },
            body: EntryBody::Proposals(batch.build()),
        };
        let pending = |entry: &Entry| {
            let mut seen = Vec::new();
            look.for_each_pending(entry, |item| {
                seen.push(match item {
                    Item::Followed(index) => index,
                    Item::Command(_) => 0,
                });
                Ok::<_, io::Error>(())
            })
            .unwrap();
            seen
        };
        assert_eq!(pending(&entry), [6, 0, 8]);
        entry.id.index = 11;
        assert_eq!(
            pending(&entry),
            [0, 5, 6, 0, 8],
            "parts are of the next entry only"
        );
        entry.body = EntryBody::Blank;
        assert!(pending(&entry).is_empty());
    }
}
