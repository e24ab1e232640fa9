//! Changes of topics and channels on their way into the shard's log.
//!
//! A topic or channel that is created again under its old name begins at the same positions as the deleted one. Messages
//! that were finished in the old one must not count for the new one. So a change that follows a deletion is held back until
//! the deletion was executed here and the notes of the deleted one are forgotten. The leader proposes that the shard has
//! followed the directory only after all earlier changes were made.
//!
//! A node that gave a leadership up and leads again in the same term may still have deletions under way. So a leadership
//! begins with a fence, an empty part of a proposal: once it was executed, so was all that was proposed before.

use std::collections::VecDeque;
use std::sync::Arc;

use nsq_core::Pending;
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};

use crate::codec;

/// What is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) topic: TopicName,
    /// `None` for the topic with all its channels.
    pub(crate) channel: Option<ChannelName>,
}

/// The changes in one proposal.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) count: usize,
    pub(crate) deleted: Vec<Deleted>,
    /// Whether the fence is among them, which is no change.
    pub(crate) has_fence: bool,
}

/// One change, encoded, and who waits for it.
#[derive(Debug)]
pub(crate) struct Change {
    kind: Kind,
    pub(crate) command: Vec<u8>,
    pub(crate) pending: Arc<Pending>,
}

#[derive(Debug)]
enum Kind {
    Deletes(Deleted),
    Changes(TopicName),
    Followed,
}

impl Change {
    pub(crate) fn new(command: &Command<'_>, pending: &Arc<Pending>) -> Change {
        let kind = match *command {
            Command::DeleteTopic(topic) => Kind::Deletes(Deleted {
                topic: topic.clone(),
                channel: None,
            }),
            Command::DeleteChannel(topic, channel) => Kind::Deletes(Deleted {
                topic: topic.clone(),
                channel: Some(channel.clone()),
            }),
            _ => Kind::Changes(command.topic().clone()),
        };
        let mut bytes = Vec::new();
        codec::put_command(&mut bytes, command);
        Change {
            kind,
            command: bytes,
            pending: Arc::clone(pending),
        }
    }

    /// That the shard has followed the directory.
    pub(crate) fn followed(index: u64, pending: &Arc<Pending>) -> Change {
        let mut command = Vec::new();
        codec::put_followed(&mut command, index);
        Change {
            kind: Kind::Followed,
            command,
            pending: Arc::clone(pending),
        }
    }

    /// Counts it among the changes of the proposal that it becomes a part of.
    pub(crate) fn count(&self, counted: &mut Counted) {
        counted.count += 1;
        if let Kind::Deletes(deleted) = &self.kind {
            counted.deleted.push(deleted.clone());
        }
    }
}

/// The changes that have no outcome yet.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The fence was not executed yet.
    is_fenced: bool,
    /// Put in line, or proposed.
    under_way: usize,
    /// The deletions among these.
    deleting: Vec<Deleted>,
    /// Not put in line yet, in their order.
    held: VecDeque<Change>,
}

impl Changes {
    /// None, and a fence under way.
    pub(crate) fn fenced() -> Changes {
        Changes {
            is_fenced: true,
            under_way: 0,
            deleting: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// Takes a change. Returns it if it may be put in line now.
    pub(crate) fn accept(&mut self, change: Change) -> Option<Change> {
        self.held.push_back(change);
        self.next()
    }

    /// The next change that may be put in line.
    pub(crate) fn next(&mut self) -> Option<Change> {
        let is_free = match &self.held.front()?.kind {
            Kind::Deletes(_) => true,
            Kind::Changes(topic) => self.deleting.iter().all(|deleted| deleted.topic != *topic),
            Kind::Followed => self.under_way == 0,
        };
        if !is_free || self.is_fenced {
            return None;
        }
        let next = self.held.pop_front()?;
        self.under_way += 1;
        if let Kind::Deletes(deleted) = &next.kind {
            self.deleting.push(deleted.clone());
        }
        Some(next)
    }

    /// A proposal was executed, or was not.
    pub(crate) fn note_outcome(&mut self, changes: &Counted, is_executed: bool) {
        self.is_fenced &= !(changes.has_fence && is_executed);
        self.under_way = self.under_way.saturating_sub(changes.count);
        for deleted in &changes.deleted {
            if let Some(place) = self.deleting.iter().position(|known| known == deleted) {
                self.deleting.swap_remove(place);
            }
        }
    }

    /// Takes all that is held back.
    pub(crate) fn take_held(&mut self) -> VecDeque<Change> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use nsq_core::TicketWaiter;

    use super::*;

    struct NoWaiter;

    impl TicketWaiter for NoWaiter {
        fn ticket_settled(&self) {}
    }

    fn topic(name: &str) -> TopicName {
        TopicName::try_from(name).unwrap()
    }

    fn change(command: &Command<'_>) -> Change {
        Change::new(command, &Pending::new(Arc::new(NoWaiter)))
    }

    fn counted(change: &Change) -> Counted {
        let mut counted = Counted::default();
        change.count(&mut counted);
        counted
    }

    fn fence() -> Counted {
        Counted {
            has_fence: true,
            ..Counted::default()
        }
    }

    fn unfenced() -> Changes {
        let mut changes = Changes::fenced();
        changes.note_outcome(&fence(), true);
        changes
    }

    #[test]
    fn nothing_is_put_in_line_before_the_fence_was_executed() {
        let mut changes = Changes::fenced();
        let a = topic("a");
        assert!(changes.accept(change(&Command::DeleteTopic(&a))).is_none());
        changes.note_outcome(&fence(), false);
        assert!(changes.next().is_none());
        changes.note_outcome(&fence(), true);
        assert!(changes.next().is_some());
    }

    #[test]
    fn what_follows_a_deletion_waits_until_it_has_its_outcome() {
        let (a, b) = (topic("a"), topic("b"));
        let mut changes = unfenced();
        let deletion = changes.accept(change(&Command::DeleteTopic(&a))).unwrap();
        let other = changes.accept(change(&Command::CreateTopic(&b))).unwrap();
        assert!(changes.accept(change(&Command::CreateTopic(&a))).is_none());
        // Even of another topic: changes are made in their order.
        assert!(changes.accept(change(&Command::DeleteTopic(&b))).is_none());
        changes.note_outcome(&counted(&other), true);
        assert!(changes.next().is_none());
        changes.note_outcome(&counted(&deletion), true);
        assert_eq!(
            changes.next().unwrap().command,
            change(&Command::CreateTopic(&a)).command
        );
        assert!(counted(&changes.next().unwrap()).deleted.len() == 1);
        assert!(changes.next().is_none());
    }

    #[test]
    fn that_the_directory_was_followed_comes_after_all_outcomes() {
        let a = topic("a");
        let mut changes = unfenced();
        let creation = changes.accept(change(&Command::CreateTopic(&a))).unwrap();
        let followed = Change::followed(3, &Pending::new(Arc::new(NoWaiter)));
        assert!(changes.accept(followed).is_none());
        changes.note_outcome(&counted(&creation), true);
        assert!(changes.next().is_some());
        assert!(changes.take_held().is_empty());
    }
}
