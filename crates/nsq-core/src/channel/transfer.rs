//! The transfer of a channel's messages to another nsqd: they are reserved here until the other one has them, and adopted
//! there.
//!
//! A reserved message counts as in flight, held by no client, so that no client gets it meanwhile. No attempt is counted:
//! if the other nsqd does not take it, it is as before.

use std::sync::Arc;
use std::time::Duration;

use nsq_queue::{Log, NewRecord};

use super::delivery::Budget;
use super::logs::Lookup;
use super::resume::NOBODY;
use super::tracked_message::{LogKind, TrackedMessage};
use super::{Channel, Lifecycle};
use crate::error::StoreError;
use crate::time::{Now, Tick};

/// A message reserved longer than this comes back by itself: its transfer must have died. Far above the time that a request
/// to another nsqd may take.
const LONGEST_RESERVATION: Duration = Duration::from_mins(10);

/// A message as one nsqd gives it to another. It gets an id of the other's: two nsqds may have given the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferMessage<'a> {
    /// When it was published, in unix nanoseconds.
    pub timestamp: i64,
    /// How often it has been delivered.
    pub attempts: u16,
    /// When it may be delivered, in unix nanoseconds; 0 for at once.
    pub due: i64,
    /// Its body.
    pub body: &'a [u8],
}

/// Messages that were reserved, until they are finished or released.
#[derive(Debug, Default)]
pub struct Reserved {
    /// Each with when it is due, if it was deferred.
    messages: Vec<(u64, Option<Tick>)>,
    /// How many were passed over because of their size. Clients can have them as before.
    pub too_large: u64,
}

impl Reserved {
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

    // ---- the nsqd that is drained ----

    /// Reserves messages that no client holds, up to `budget` and none of more than `max_body_bytes`, and calls `show` with
    /// each. The queued ones come first, then the deferred. A pause does not matter.
    pub fn reserve(
        &mut self,
        budget: Budget,
        max_body_bytes: usize,
        now: Now,
        show: impl FnMut(TransferMessage<'_>),
    ) -> Reserved {
        if self.life != Lifecycle::Open || self.is_in_memory() || self.stalled_until.is_some() {
            return Reserved::default();
        }
        let mut packing = Packing {
            left: budget,
            max_body_bytes,
            until: now.tick.after(LONGEST_RESERVATION),
            reserved: Reserved::default(),
            show,
        };
        self.reserve_requeued(&mut packing, now);
        if !packing.is_full() {
            packing.reserved.too_large = 0;
            for kind in [LogKind::Inherited, LogKind::Main] {
                self.track(kind, packing.left.messages, now);
            }
            self.reserve_requeued(&mut packing, now);
        }
        self.reserve_deferred(&mut packing, now);
        let reserved = packing.reserved;
        if !reserved.is_empty() {
            self.effects.arm(packing.until);
        }
        reserved
    }

    fn reserve_requeued<S>(&mut self, packing: &mut Packing<S>, now: Now)
    where
        S: FnMut(TransferMessage<'_>),
    {
        for _ in 0..self.tracked.requeued_count() {
            if packing.is_full() || self.stalled_until.is_some() {
                return;
            }
            let reserved = self.tracked.reserve_first_requeued(NOBODY, packing.until);
            let Some(message) = reserved else { return };
            match self.pack(packing, &message, 0, now) {
                Packed::Yes => packing.reserved.messages.push((message.id, None)),
                Packed::TooLarge => {
                    packing.reserved.too_large += 1;
                    // To the end of the queue: the others are tried before it comes up again.
                    let turn = self.next_turn();
                    let _ = self.tracked.requeue(NOBODY, message.id, turn);
                }
                Packed::Unreadable => {
                    let _ = self.tracked.put_back(NOBODY, message.id);
                }
                Packed::Lost => {}
            }
        }
    }

    /// Continues where the last batch ended, so that all batches together look at each deferred message once.
    fn reserve_deferred<S>(&mut self, packing: &mut Packing<S>, now: Now)
    where
        S: FnMut(TransferMessage<'_>),
    {
        for _ in 0..self.tracked.deferred_count() {
            if packing.is_full() || self.stalled_until.is_some() {
                return;
            }
            let Some(message) = self.tracked.next_deferred() else {
                return;
            };
            match self.pack(packing, &message, now.unix_at(message.until), now) {
                Packed::Yes => {
                    self.tracked
                        .reserve_deferred(message.id, NOBODY, packing.until);
                    let due = Some(message.until);
                    packing.reserved.messages.push((message.id, due));
                }
                Packed::TooLarge => packing.reserved.too_large += 1,
                Packed::Unreadable | Packed::Lost => {}
            }
        }
    }

    fn pack<S>(
        &mut self,
        packing: &mut Packing<S>,
        message: &TrackedMessage,
        due: i64,
        now: Now,
    ) -> Packed
    where
        S: FnMut(TransferMessage<'_>),
    {
        match self.logs.read(message) {
            Lookup::Found(record) if record.body.len() > packing.max_body_bytes => Packed::TooLarge,
            Lookup::Found(record) => {
                (packing.show)(TransferMessage {
                    timestamp: record.timestamp,
                    attempts: message.attempts,
                    due,
                    body: record.body,
                });
                packing.left.messages -= 1;
                packing.left.bytes = packing.left.bytes.saturating_sub(record.body.len());
                Packed::Yes
            }
            Lookup::Lost => {
                self.tracked.remove(message.id);
                Packed::Lost
            }
            Lookup::Stalled => {
                self.stall(now);
                Packed::Unreadable
            }
        }
    }

    /// The other nsqd has them: they are done with here.
    pub fn finish_reserved(&mut self, reserved: Reserved) {
        for (id, _) in reserved.messages {
            // The channel may have been emptied meanwhile.
            if let Ok(message) = self.tracked.finish(NOBODY, id) {
                self.finish_records(&message);
            }
        }
    }

    /// The other nsqd may not have them: they are again as they were.
    pub fn release_reserved(&mut self, reserved: Reserved) {
        // The first one last: each goes to the front of the queue.
        for (id, due) in reserved.messages.into_iter().rev() {
            // The channel may have been emptied meanwhile.
            let _ = match due {
                Some(due) => self.tracked.defer(NOBODY, id, due),
                None => self.tracked.put_back(NOBODY, id),
            };
        }
        self.arm_timeout();
        self.wake_for_depth();
    }

    // ---- the nsqd that takes ----

    /// Adopts messages that another nsqd had for this channel, each with the id at its place in `ids`. Returns the logs that
    /// have to be synced before the messages are safe against a machine crash.
    ///
    /// # Errors
    /// When the files refuse, or there are none. Some of the messages may have been adopted then.
    pub(crate) fn adopt(
        &mut self,
        messages: &[TransferMessage<'_>],
        ids: &[u64],
        now: Now,
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
            self.append_inherited(at_once.into_iter())?;
            logs.extend(self.inherited_log());
        }
        let deferred = records(true);
        if !deferred.is_empty() {
            self.kept_folder()?;
            let opened = self.open_private();
            let data_path = &self.store.data_path;
            opened.inspect_err(|error| data_path.note_failed_append(error))?;
            let private = self.logs.get_mut(LogKind::Private);
            if let Some(writer) = private.and_then(|log| log.writer.as_mut()) {
                let recorder = self.store.recorder.as_ref();
                data_path.append(LogKind::Private, writer, deferred.into_iter(), recorder)?;
                logs.push(Arc::clone(writer.log()));
            }
            self.track_offered(now);
        }
        self.arm_timeout();
        self.wake_for_depth();
        Ok(logs)
    }
}

/// A batch of messages that is being put together for another nsqd.
struct Packing<S> {
    left: Budget,
    max_body_bytes: usize,
    /// When the messages reserved come back by themselves.
    until: Tick,
    reserved: Reserved,
    show: S,
}

impl<S> Packing<S> {
    fn is_full(&self) -> bool {
        self.left.messages == 0 || self.left.bytes == 0
    }
}

/// How one message was packed.
enum Packed {
    Yes,
    TooLarge,
    /// No client can ever have it; it is gone.
    Lost,
    /// The disk does not answer.
    Unreadable,
}
