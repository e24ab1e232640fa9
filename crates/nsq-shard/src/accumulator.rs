//! What a leader has accepted and not proposed yet.
//!
//! Messages are encoded once, into the proposal that they will be part of. Consecutive publishes to one topic become one
//! command, so that every replica appends them with one write.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use nsq_core::change::LogKind;
use nsq_core::{IdGenerator, Now, Pending};
use nsq_protocol::{MessageId, TopicName};
use tokio::time::Instant;

use crate::changes::Counted;
use crate::codec::{self, BatchWriter};

/// A proposal is closed when it has this many bytes. A single publish may make it larger.
const PROPOSAL_BYTES: usize = 1 << 20;
/// Room for the first messages. A proposal begins with as much room as the last one needed, so that it need not grow.
const LEAST_ROOM: usize = 4 << 10;

/// A proposal, and who waits for it.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) bytes: Bytes,
    pub(crate) waiting: Vec<Arc<Pending>>,
    /// The changes of topics and channels in it.
    pub(crate) changes: Counted,
    /// Pieces of progress in it.
    pub(crate) progress: usize,
    /// When the first part of it was accepted.
    pub(crate) since: Instant,
}

#[derive(Debug)]
struct Collecting {
    bytes: Vec<u8>,
    waiting: Vec<Arc<Pending>>,
    changes: Counted,
    progress: usize,
    since: Instant,
    run: Option<Run>,
}

/// A publish command that may still grow.
#[derive(Debug)]
struct Run {
    topic: TopicName,
    log: LogKind,
    count_at: usize,
    batches: u32,
}

impl Collecting {
    fn new(term: u64, room: usize) -> Collecting {
        let mut bytes = Vec::with_capacity(room);
        codec::begin(&mut bytes, term);
        Collecting {
            bytes,
            waiting: Vec::new(),
            changes: Counted::default(),
            progress: 0,
            since: Instant::now(),
            run: None,
        }
    }

    fn begin_publish(&mut self, topic: &TopicName, log: LogKind) -> Run {
        Run {
            topic: topic.clone(),
            log,
            count_at: codec::put_publish(&mut self.bytes, topic, log),
            batches: 0,
        }
    }

    fn end_batch(&mut self, mut run: Run) {
        run.batches += 1;
        codec::set_count(&mut self.bytes, run.count_at, run.batches);
        self.run = Some(run);
    }
}

/// What was accepted, in the order in which it will be executed.
#[derive(Debug)]
pub(crate) struct Accumulator {
    term: u64,
    /// Proposals that have all the bytes they may have.
    full: VecDeque<Proposal>,
    collecting: Option<Collecting>,
    bytes: usize,
    /// Of the next proposal.
    room: usize,
    max_bytes: usize,
    max_proposal_bytes: usize,
    /// Ids are higher than this one, which was given before.
    above: u64,
    highest_id: u64,
}

impl Accumulator {
    /// For the leader of `term`, whose ids are to be higher than `above`.
    pub(crate) fn new(
        term: u64,
        above: u64,
        max_bytes: usize,
        max_proposal_bytes: usize,
    ) -> Accumulator {
        Accumulator {
            term,
            full: VecDeque::new(),
            collecting: None,
            bytes: 0,
            room: LEAST_ROOM,
            max_bytes,
            max_proposal_bytes,
            above,
            highest_id: above,
        }
    }

    /// Whether more may be accepted. What is accepted then may exceed the bound by one publish.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.max_bytes
    }

    /// Bytes that wait to be proposed.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Publishes, and other changes that someone waits for, that wait to be proposed.
    pub(crate) fn publishes(&self) -> usize {
        let collecting = self.collecting.iter().map(|now| now.waiting.len());
        let full = self.full.iter().map(|proposal| proposal.waiting.len());
        collecting.chain(full).sum()
    }

    /// The highest id that was given here or before.
    pub(crate) fn highest_id(&self) -> u64 {
        self.highest_id
    }

    /// Accepts messages for a topic, all or none.
    ///
    /// # Errors
    /// How many bytes the messages take, or more than this, if they are more than a proposal may have.
    pub(crate) fn publish(
        &mut self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        ids: &mut IdGenerator,
        pending: &Arc<Pending>,
    ) -> Result<(), usize> {
        let log = if due.is_some() {
            LogKind::Deferred
        } else {
            LogKind::Main
        };
        ids.stay_above(MessageId::from_u64(self.above));
        let (term, room) = (self.term, self.room);
        let collecting = self
            .collecting
            .get_or_insert_with(|| Collecting::new(term, room));
        let before = collecting.bytes.len();
        let run = match collecting.run.take() {
            Some(run) if run.log == log && run.topic == *topic => run,
            _ => collecting.begin_publish(topic, log),
        };
        let head = codec::HEAD_BYTES + codec::publish_head_bytes(topic);
        let most = self.max_proposal_bytes.saturating_sub(head);
        let start = collecting.bytes.len();
        let mut batch = BatchWriter::begin(&mut collecting.bytes, now.unix_nanos, due);
        let mut last_id = 0;
        for body in bodies {
            last_id = ids.next(now.unix_nanos).as_u64();
            batch.put(&mut collecting.bytes, last_id, body);
            let size = collecting.bytes.len() - start;
            if size > most {
                // A run that was there keeps its count; one that was begun here goes with its head.
                collecting.bytes.truncate(before);
                return Err(size);
            }
        }
        batch.end(&mut collecting.bytes);
        self.highest_id = self.highest_id.max(last_id);
        if collecting.bytes.len() > self.max_proposal_bytes {
            self.move_on(topic, log, before, start);
        } else {
            collecting.end_batch(run);
            self.bytes += collecting.bytes.len() - before;
        }
        if let Some(collecting) = &mut self.collecting {
            collecting.waiting.push(Arc::clone(pending));
        }
        self.close_if_full();
        Ok(())
    }

    /// Has the batch that begins at `start` begin another proposal, since it is too much for this one. Up to `before`,
    /// this one stays as it is.
    fn move_on(&mut self, topic: &TopicName, log: LogKind, before: usize, start: usize) {
        let mut next = Collecting::new(self.term, self.room);
        let run = next.begin_publish(topic, log);
        if let Some(collecting) = &mut self.collecting {
            next.bytes.extend_from_slice(&collecting.bytes[start..]);
            collecting.bytes.truncate(before);
        }
        next.end_batch(run);
        self.close();
        self.bytes += next.bytes.len();
        self.collecting = Some(next);
    }

    /// Accepts commands that are encoded already, and belong into one proposal.
    pub(crate) fn append(&mut self, commands: &[u8], pending: Option<&Arc<Pending>>) {
        let collecting = self.with_room_for(commands.len());
        collecting.run = None;
        collecting.bytes.extend_from_slice(commands);
        collecting.waiting.extend(pending.cloned());
        self.bytes += commands.len();
        self.close_if_full();
    }

    /// As [`append`](Self::append), for a change of topics and channels, or for the fence.
    pub(crate) fn append_change(
        &mut self,
        command: &[u8],
        pending: Option<&Arc<Pending>>,
        count: impl FnOnce(&mut Counted),
    ) {
        count(&mut self.with_room_for(command.len()).changes);
        self.append(command, pending);
    }

    /// As [`append`](Self::append), for a piece of progress.
    pub(crate) fn append_progress(&mut self, commands: &[u8]) {
        let collecting = self.with_room_for(commands.len());
        collecting.progress += 1;
        self.append(commands, None);
    }

    /// What is being collected, of which there is room for this many bytes more in a proposal.
    fn with_room_for(&mut self, bytes: usize) -> &mut Collecting {
        let size = self.collecting.as_ref().map_or(0, |now| now.bytes.len()) + bytes;
        if size > self.max_proposal_bytes {
            self.close();
        }
        let (term, room) = (self.term, self.room);
        self.collecting
            .get_or_insert_with(|| Collecting::new(term, room))
    }

    fn close_if_full(&mut self) {
        let is_full = |collecting: &Collecting| collecting.bytes.len() >= PROPOSAL_BYTES;
        if self.collecting.as_ref().is_some_and(is_full) {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(collecting) = self.collecting.take() {
            self.room = collecting.bytes.len().clamp(LEAST_ROOM, PROPOSAL_BYTES);
            self.full.push_back(Proposal {
                bytes: collecting.bytes.into(),
                waiting: collecting.waiting,
                changes: collecting.changes,
                progress: collecting.progress,
                since: collecting.since,
            });
        }
    }

    /// The next proposal.
    pub(crate) fn take(&mut self) -> Option<Proposal> {
        if self.full.is_empty() {
            self.close();
        }
        let proposal = self.full.pop_front()?;
        self.bytes = self.bytes.saturating_sub(proposal.bytes.len());
        if self.full.is_empty() && self.collecting.is_none() {
            self.bytes = 0;
        }
        Some(proposal)
    }

    /// When the oldest part was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let collecting = self.collecting.as_ref().map(|collecting| collecting.since);
        self.full.front().map(|first| first.since).or(collecting)
    }
}

#[cfg(test)]
mod tests;
