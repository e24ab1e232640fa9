//! Messages that move to another nsqd, one channel's at a time: set aside here until the other one has them, adopted
//! there.
//!
//! What is set aside is in flight and held by nobody, so that no client gets it meanwhile. No attempt is counted: when
//! the other nsqd does not take it, it is as if nothing had been.

use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::MessageId;
use nsq_queue::{Log, NewRecord, ReadError};

use super::delivery::{Budget, STALL};
use super::out_message::{LogKind, OutMessage};
use super::resume::NOBODY;
use super::{Channel, Life, State};
use crate::client::Wakes;
use crate::error::StoreError;
use crate::time::{Now, Tick};

/// What is set aside longer than this comes back by itself, should whoever did it be gone. Far above the time that a
/// request to another nsqd may take.
const LONGEST_ASIDE: Duration = Duration::from_mins(10);

/// A message as one nsqd gives it to another. It gets an id of the other's: two nsqds may have given the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moving<'a> {
    /// When it was published, in unix nanoseconds.
    pub timestamp: i64,
    /// How often it has been delivered.
    pub attempts: u16,
    /// When it may be delivered, in unix nanoseconds; 0 for at once.
    pub due: i64,
    /// Its body.
    pub body: &'a [u8],
}

/// Messages that were set aside, until they are finished or put back.
#[derive(Debug, Default)]
pub struct SetAside {
    /// Each with when it is due, if it was deferred.
    messages: Vec<(u64, Option<Tick>)>,
    /// How many were passed over because of their size. They can be had by clients as before.
    pub too_large: u64,
    /// When [`Channel::handle_timeout`] has to be called at the latest.
    pub deadline: Option<Tick>,
}

impl SetAside {
    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Channel {
    /// Whether nothing of the channel is kept on disk: then nothing of it moves either.
    pub fn is_in_memory(&self) -> bool {
        self.store.folder.is_none()
    }

    // ---- the nsqd that gives ----

    /// Sets aside messages that no client holds, up to `budget` and none of more than `max_body_bytes`, and shows each to
    /// `show`. Those that can be had come first, then the deferred. A pause does not matter.
    pub fn set_aside(
        &mut self,
        budget: Budget,
        max_body_bytes: usize,
        now: Now,
        mut show: impl FnMut(Moving<'_>),
    ) -> SetAside {
        let mut aside = SetAside::default();
        if self.life != Life::Open || self.is_in_memory() || self.stalled_until.is_some() {
            return aside;
        }
        let mut left = budget;
        let mut passed_over =
            self.set_aside_requeued(&mut left, max_body_bytes, now, &mut aside, &mut show);
        if left.messages > 0 && left.bytes > 0 {
            self.take_in_some(LogKind::Backlog, left.messages, now);
            self.take_in_some(LogKind::Main, left.messages, now);
            passed_over =
                self.set_aside_requeued(&mut left, max_body_bytes, now, &mut aside, &mut show);
        }
        passed_over +=
            self.set_aside_deferred(&mut left, max_body_bytes, now, &mut aside, &mut show);
        aside.too_large = passed_over;
        if !aside.is_empty() {
            aside.deadline = Some(now.tick.after(LONGEST_ASIDE));
        }
        aside
    }

    /// Returns how many were passed over.
    fn set_aside_requeued(
        &mut self,
        left: &mut Budget,
        max_body_bytes: usize,
        now: Now,
        aside: &mut SetAside,
        show: &mut impl FnMut(Moving<'_>),
    ) -> u64 {
        let mut passed_over = 0;
        for _ in 0..self.out.requeued_count() {
            if left.messages == 0 || left.bytes == 0 || self.stalled_until.is_some() {
                break;
            }
            let until = now.tick.after(LONGEST_ASIDE);
            let Some(message) = self.out.set_first_requeued_aside(NOBODY, until) else {
                break;
            };
            match self.show(&message, 0, max_body_bytes, now, show) {
                Shown::Yes { bytes } => {
                    left.messages -= 1;
                    left.bytes = left.bytes.saturating_sub(bytes);
                    aside.messages.push((message.id, None));
                }
                Shown::TooLarge => {
                    passed_over += 1;
                    // To the end of the line: the others are looked at before it comes up again.
                    let _ = self.out.requeue(NOBODY, message.id, None);
                }
                Shown::Unreadable => {
                    let _ = self.out.requeue(NOBODY, message.id, None);
                }
                Shown::Damaged => {}
            }
        }
        passed_over
    }

    fn set_aside_deferred(
        &mut self,
        left: &mut Budget,
        max_body_bytes: usize,
        now: Now,
        aside: &mut SetAside,
        show: &mut impl FnMut(Moving<'_>),
    ) -> u64 {
        if self.out.deferred_count() == 0 {
            return 0;
        }
        let deferred = self
            .out
            .iter()
            .filter(|message| message.state == State::Deferred);
        let deferred: Vec<OutMessage> = deferred.copied().collect();
        let mut passed_over = 0;
        for message in deferred {
            if left.messages == 0 || left.bytes == 0 || self.stalled_until.is_some() {
                break;
            }
            let due = now.unix_at(message.until);
            match self.show(&message, due, max_body_bytes, now, show) {
                Shown::Yes { bytes } => {
                    left.messages -= 1;
                    left.bytes = left.bytes.saturating_sub(bytes);
                    let until = now.tick.after(LONGEST_ASIDE);
                    self.out.set_deferred_aside(message.id, NOBODY, until);
                    aside.messages.push((message.id, Some(message.until)));
                }
                Shown::TooLarge => passed_over += 1,
                Shown::Unreadable | Shown::Damaged => {}
            }
        }
        passed_over
    }

    fn show(
        &mut self,
        message: &OutMessage,
        due: i64,
        max_body_bytes: usize,
        now: Now,
        show: &mut impl FnMut(Moving<'_>),
    ) -> Shown {
        let Some(source) = self.source_mut(message.log) else {
            self.out.remove(message.id);
            return Shown::Damaged;
        };
        match source.reader.read(message.sequence, message.position) {
            Ok(record) if record.body.len() > max_body_bytes => Shown::TooLarge,
            Ok(record) => {
                show(Moving {
                    timestamp: record.timestamp,
                    attempts: message.attempts,
                    due,
                    body: record.body,
                });
                Shown::Yes {
                    bytes: record.body.len(),
                }
            }
            Err(ReadError::Damaged { .. }) => {
                let id = MessageId::from_u64(message.id);
                tracing::error!("message {id} is damaged and is skipped");
                source.damaged_count += 1;
                let _ = source.marks.mark(message.sequence);
                self.out.remove(message.id);
                Shown::Damaged
            }
            Err(error @ ReadError::Io { .. }) => {
                tracing::error!("cannot read, trying again in {STALL:?}: {error}");
                self.stalled_until = Some(now.tick.after(STALL));
                Shown::Unreadable
            }
        }
    }

    /// The other nsqd has them: they are done with here. Whether the topic may now free a segment.
    pub fn finish_set_aside(&mut self, aside: SetAside) -> bool {
        for (id, _) in aside.messages {
            // The channel may have been emptied meanwhile.
            let Ok(message) = self.out.finish(NOBODY, id) else {
                continue;
            };
            self.mark(message.log, message.sequence);
            if let Some(copy) = self.copies.remove(&id) {
                self.mark(LogKind::Private, copy.sequence);
            }
        }
        self.settle()
    }

    /// The other nsqd may not have them: they are as they were.
    pub fn put_back(&mut self, aside: SetAside, wakes: &mut Wakes) {
        for (id, due) in aside.messages {
            // The channel may have been emptied meanwhile.
            let _ = self.out.requeue(NOBODY, id, due);
        }
        self.ring_for_depth(wakes);
    }

    // ---- the nsqd that takes ----

    /// Takes messages in that another nsqd had for this channel, each with the id at its place in `ids`. Returns the logs
    /// that have to be synced before they are safe against a machine crash.
    ///
    /// # Errors
    /// When the files refuse, or there are none. Some of the messages may have been taken then.
    pub(crate) fn adopt(
        &mut self,
        messages: &[Moving<'_>],
        ids: &[u64],
        now: Now,
        wakes: &mut Wakes,
    ) -> Result<Vec<Arc<Log>>, StoreError> {
        let mut logs = Vec::new();
        let records = |is_deferred: bool| -> Vec<NewRecord<'_>> {
            let all = messages.iter().zip(ids);
            all.filter(|(message, _)| (message.due > now.unix_nanos) == is_deferred)
                .map(|(message, &id)| NewRecord {
                    id,
                    timestamp: message.timestamp,
                    due: if is_deferred { message.due } else { 0 },
                    attempts: message.attempts,
                    body: message.body,
                })
                .collect()
        };
        let at_once = records(false);
        if !at_once.is_empty() {
            self.append_to_backlog(at_once.into_iter())?;
            logs.extend(
                self.backlog
                    .as_ref()
                    .map(|own| Arc::clone(own.writer.log())),
            );
        }
        let deferred = records(true);
        if !deferred.is_empty() {
            let folder = self.kept_folder()?;
            if self.private.is_none() {
                self.private = Some(self.open_private(&folder)?);
            }
            if let Some(private) = &mut self.private {
                private.writer.append(deferred.into_iter())?;
                logs.push(Arc::clone(private.writer.log()));
            }
            self.take_in(LogKind::Private, now);
        }
        self.ring_for_depth(wakes);
        Ok(logs)
    }
}

/// What came of showing one message.
enum Shown {
    Yes {
        bytes: usize,
    },
    TooLarge,
    /// Nobody can ever have it; it is gone.
    Damaged,
    /// The disk does not answer.
    Unreadable,
}
