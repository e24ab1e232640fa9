//! Answers in the order of their commands: a publish is answered when it is safe, and what is answered after it waits.
//!
//! Messages and heartbeats are no answers, and do not wait.

use std::collections::VecDeque;
use std::sync::Arc;

use nsq_core::{Pending, Ticket, TicketState, Topic};
use nsq_protocol::{CommandError, CommandName, frame};

use super::outbox::Outbox;

/// Runs of publishes that may wait at a time: the client's next commands are read when some of them are answered. It
/// bounds what a connection holds, at 100 bytes each.
pub(super) const MAX_WAITING: usize = 256;

/// The answers that must not leave yet.
#[derive(Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// What all of them will take in the outbox.
    bytes: usize,
}

/// What a publish waits for.
pub(super) enum Awaited {
    /// A topic of this node's broker is synced.
    Ticket(Arc<Topic>, Ticket),
    /// The cluster has it.
    Pending(Arc<Pending>),
}

impl Awaited {
    fn state(&self) -> TicketState {
        match self {
            Awaited::Ticket(topic, ticket) => topic.ticket_state(*ticket),
            Awaited::Pending(pending) => pending.state(),
        }
    }
}

/// Publishes that were accepted together, and the answers after theirs.
pub(super) struct Waiting {
    pub(super) awaited: Awaited,
    pub(super) command: CommandName,
    /// How many publishes: each is answered with `OK`.
    pub(super) publish_count: usize,
    after: Vec<u8>,
}

impl Waiting {
    pub(super) fn new(awaited: Awaited, command: CommandName, publish_count: usize) -> Waiting {
        Waiting {
            awaited,
            command,
            publish_count,
            after: Vec::new(),
        }
    }
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many runs of publishes wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has publishes answered once what they wait for is settled.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.bytes += waiting.publish_count * frame::OK.len();
        self.waiting.push_back(waiting);
    }

    /// Has `write` append an answer: to the outbox, or after the publishes that wait.
    pub(super) fn write(&mut self, outbox: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
        match self.waiting.back_mut() {
            None => write(outbox.bytes()),
            Some(last) => {
                let before = last.after.len();
                write(&mut last.after);
                self.bytes += last.after.len() - before;
            }
        }
    }

    /// Moves the answers that need not wait any longer to the outbox.
    ///
    /// # Errors
    /// Why a publish is not safe. It and all after it are answered no more: the caller refuses it, and closes.
    pub(super) fn settle(&mut self, outbox: &mut Outbox) -> Result<(), CommandError> {
        while let Some(first) = self.waiting.front() {
            match first.awaited.state() {
                TicketState::Pending => break,
                TicketState::Safe => {}
                TicketState::Failed(cause) => {
                    let command = first.command;
                    *self = Answers::default();
                    return Err(CommandError::PublishFailed { command, cause });
                }
            }
            let out = outbox.bytes();
            for _ in 0..first.publish_count {
                out.extend_from_slice(frame::OK);
            }
            out.extend_from_slice(&first.after);
            self.bytes -= first.publish_count * frame::OK.len() + first.after.len();
            self.waiting.pop_front();
        }
        Ok(())
    }
}
