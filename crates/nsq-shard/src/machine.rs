//! A replica of a shard as its Raft group sees it: entries in, files out.
//!
//! **Why applying again is harmless.** How far the replica has applied is stored every few seconds, and never before the
//! files of what it claims are synced. After a kill the entries since then come again. A publish replaces the messages whose
//! ids the log has already, and all after them; creating what exists and finishing what is finished change nothing; of pauses and journal
//! entries the last one counts. Commands after which names or positions are given again (`Command::is_barrier`) are
//! executed between two stores, so that at most the command itself comes again. Topics that are made one after the other, with
//! their channels, count as one such command: all of it may come again, since nothing else happened in between.
//!
//! **After a crash of the machine** the shard's log may have lost its end, and what was executed from it may be on the disk,
//! in part. So the topics' logs are cut off where they ended when that was stored ([`crash`](nsq_core::crash)): the replica is
//! what it was then, and continues with whatever entries the shard's log has from there on.
//!
//! **Why no message is taken for one that was applied.** A log takes a message whose id is higher than all before. The ids
//! of one term are given by one leader in the order of the log, from above the last id of all earlier terms. A proposal that
//! a leader made in one term and that was committed in another one (it lost and won an election meanwhile) is of no effect
//! on any replica.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use nsq_cluster::codec::{Batch, LogId, Manifest};
use nsq_cluster::state_machine::{Checkpoint, Staging, StateMachine};
use nsq_core::command::Command;

use crate::ahead;
use crate::codec::{Item, ProposalReader};
use crate::shard::{Held, Mode, Shard, ShardError};
use crate::transfer::{self, Staged};

#[cfg(test)]
mod tests;

/// The outcome of a proposal that was committed in another term than it was made in, and so changed nothing.
pub(crate) const OF_ANOTHER_TERM: &[u8] = b"another term";

/// The state machine of a replica; see [`Shard::open`].
#[derive(Debug)]
pub struct ShardMachine {
    shard: Arc<Shard>,
}

impl ShardMachine {
    pub(crate) fn new(shard: Arc<Shard>) -> ShardMachine {
        ShardMachine { shard }
    }
}

impl StateMachine for ShardMachine {
    fn applied(&self) -> Option<LogId> {
        self.shard.held().meta.applied
    }

    fn apply(&mut self, id: LogId, proposals: &Batch) -> io::Result<Vec<Bytes>> {
        let mut held = self.shard.held();
        if held.meta.applied.is_some_and(|applied| id <= applied) {
            return Ok(vec![Bytes::new(); proposals.len()]);
        }
        match &held.mode {
            // Another node leads: what this node's broker has not executed is executed by a replica from now on.
            Mode::Leading(leading) if leading.term != id.term => {
                self.shard.stop_leading(&mut held)?;
            }
            Mode::Closed(_) => self.shard.open_replica(&mut held)?,
            Mode::Leading(_) | Mode::Following(_) => {}
        }
        if held.meta.parts > 0 && ![0, id.term].contains(&held.meta.parts_term) {
            // The parts were those of an entry that a crash of all machines has taken out of the shard's log.
            held.meta.parts = 0;
        }
        held.meta.parts_term = id.term;
        let mut outcomes = Vec::with_capacity(proposals.len());
        let mut part = 0;
        for proposal in proposals.iter() {
            let proposal = ProposalReader::new(&proposal).map_err(io::Error::other)?;
            if proposal.term() != id.term {
                outcomes.push(Bytes::from_static(OF_ANOTHER_TERM));
                continue;
            }
            let executed = proposal.read(|item| {
                part += 1;
                // Executed before the process was killed, or before the disk refused a later part.
                if part <= held.meta.parts {
                    return Ok(());
                }
                let executed = self.shard.execute(&mut held, item);
                executed.inspect_err(|error| self.shard.note_if_damaged(error))?;
                held.meta.parts = part;
                Ok::<(), ShardError>(())
            });
            executed.map_err(io::Error::other)?;
            outcomes.push(Bytes::new());
        }
        held.meta.applied = Some(id);
        held.meta.parts = 0;
        held.meta.parts_term = 0;
        self.shard.note_meta(&held.meta);
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        let mut held = self.shard.held();
        let (files, ends) = match &mut held.mode {
            Mode::Following(replica) => replica.checkpoint().map_err(io::Error::other)?,
            Mode::Leading(leading) => leading
                .broker
                .checkpoint(self.shard.now())
                .map_err(io::Error::other)?,
            Mode::Closed(_) => return Err(self.shard.broken(&held).into()),
        };
        self.shard.store_meta(&mut held, &ends)?;
        Ok(transfer::checkpoint(files, &held.meta))
    }

    fn stage(&mut self, manifest: &Manifest) -> io::Result<Box<dyn Staging>> {
        let mut held = self.shard.held();
        if let Mode::Leading(_) = held.mode {
            self.shard.stop_leading(&mut held)?;
        }
        let mut known = None;
        if let Mode::Following(replica) = &mut held.mode {
            let (files, ends) = replica.checkpoint().map_err(io::Error::other)?;
            self.shard.store_meta(&mut held, &ends)?;
            known = Some(files);
        }
        let (folder, previous) = (&self.shard.options.folder, &self.shard.options.previous);
        Ok(Box::new(Staged::begin(
            folder,
            manifest,
            known,
            previous.clone(),
        )?))
    }

    fn install(&mut self, staged: Box<dyn Staging>, applied: LogId) -> io::Result<()> {
        let staged = staged
            .into_any()
            .downcast::<Staged>()
            .map_err(|_| io::Error::other("what was received is not a shard's state"))?;
        let mut held = self.shard.held();
        if let Mode::Leading(_) = held.mode {
            self.shard.stop_leading(&mut held)?;
        }
        // A leader's files have what it has not proposed yet.
        ahead::note(&self.shard.options.folder)?;
        // Should it break off, the replica is opened when it is needed, which continues or gives up first.
        held.mode = Mode::Closed("it is being replaced".to_owned());
        let meta = (*staged).install(&self.shard.options.data_path, applied)?;
        self.shard.take_over(&mut held, meta);
        Ok(self.shard.open_replica(&mut held)?)
    }
}

impl Shard {
    fn execute(&self, held: &mut Held, item: Item<'_>) -> Result<(), ShardError> {
        let command = match item {
            Item::Followed(index) => {
                held.meta.registry_index = held.meta.registry_index.max(index);
                return Ok(());
            }
            Item::Command(command) => command,
        };
        let is_creation = match command {
            Command::CreateTopic(topic) => {
                if held.created.is_empty() {
                    self.store(held)?;
                }
                held.created.insert(topic.clone());
                true
            }
            Command::CreateChannel(topic, _) => held.created.contains(topic),
            _ => false,
        };
        if !is_creation && !held.created.is_empty() {
            self.store(held)?;
            held.created.clear();
        }
        if is_creation || !command.is_barrier() {
            return self.execute_in(held, &command);
        }
        self.store(held)?;
        self.execute_in(held, &command)?;
        held.meta.parts += 1;
        let stored = self.store(held);
        // Counted again by the caller, once nothing has failed.
        held.meta.parts -= 1;
        stored
    }

    fn execute_in(&self, held: &mut Held, command: &Command<'_>) -> Result<(), ShardError> {
        if let (Command::DeleteTopic(topic), Some(ends)) = (command, &mut held.ends) {
            // Another one of its name begins at the beginning.
            ends.remove(*topic);
        }
        match &mut held.mode {
            Mode::Following(replica) => Ok(replica.execute(command)?),
            Mode::Leading(leading) => {
                leading.broker.execute(command, self.now())?;
                match *command {
                    Command::DeleteTopic(topic) => leading.forget(topic, None),
                    Command::DeleteChannel(topic, channel) => leading.forget(topic, Some(channel)),
                    _ => {}
                }
                Ok(())
            }
            Mode::Closed(_) => Err(self.broken(held)),
        }
    }

    /// Syncs what was applied, which topics and channels there are too, and notes how far that is.
    fn store(&self, held: &mut Held) -> Result<(), ShardError> {
        if held.stored == held.meta {
            return Ok(());
        }
        let ends = match &mut held.mode {
            Mode::Following(replica) => replica.sync()?,
            Mode::Leading(leading) => {
                leading.broker.save_metadata()?;
                leading.broker.sync(self.now())?
            }
            Mode::Closed(_) => return Err(self.broken(held)),
        };
        Ok(self.store_meta(held, &ends)?)
    }
}
