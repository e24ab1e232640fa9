//! Which part of a subscription FIN, REQ, TOUCH and RDY go to, where there are several parts, or none.

use std::sync::Arc;

use nsq_core::{ChannelCell, NotInFlight};
use nsq_protocol::{Command, CommandError, MessageId, frame};

use super::commands::Batch;
use super::messages::reason;
use super::parts::Part;
use super::subscription::Subscription;
use super::{Observer, Session, Stop, log};
use crate::feed::Act;

/// Where the number of the shard that made a message is found in its id, and how much of it.
const NODE_SHIFT: u32 = 12;
const NODE_MASK: u64 = 0x3ff;

impl<O: Observer> Session<O> {
    /// FIN, REQ and TOUCH of a message that another node has in flight. Returns whether it is one.
    #[inline(never)]
    pub(super) fn apply_remotely(
        &mut self,
        batch: &mut Batch<'_, '_>,
        command: &Command<'_>,
    ) -> Result<bool, Stop> {
        let (id, act) = match *command {
            Command::Finish { id } => (id, Act::Finish),
            Command::Requeue { id, delay, .. } => (id, Act::Requeue(delay)),
            Command::Touch { id } => (id, Act::Touch),
            _ => return Ok(false),
        };
        let remote = self.subscription.as_ref().and_then(Subscription::remote);
        let Some(remote) = remote.cloned() else {
            return Ok(false);
        };
        self.publish_run(batch)?;
        let message = MessageId::from_hex(&id);
        if !message.is_some_and(|message| remote.act(message, act, batch.now)) {
            return Ok(false);
        }
        self.log_clamped_delay(command);
        Ok(true)
    }

    /// The channel that the command goes to, which is locked for it if it is about a message; `None` for a command that goes
    /// to no channel, and without any part. RDY goes to all.
    #[inline(never)]
    pub(super) fn choose_part<'c>(
        &mut self,
        batch: &mut Batch<'_, 'c>,
        parts: &'c [Part],
        command: &Command<'_>,
    ) -> Option<&'c Arc<ChannelCell>> {
        let id = match *command {
            Command::Finish { id } | Command::Requeue { id, .. } | Command::Touch { id } => id,
            Command::Ready { count } => {
                batch.channel = None;
                batch.part = 0;
                let others = parts.iter().skip(1);
                others.for_each(|part| {
                    part.cell.lock().set_ready_count(self.client.id(), count);
                });
                return parts.first().map(|part| &part.cell);
            }
            _ => return None,
        };
        if let Some(message) = MessageId::from_hex(&id) {
            let likely = likely_part(parts, message).unwrap_or(batch.part);
            let others = (0..parts.len()).filter(|at| *at != likely);
            for at in std::iter::once(likely).chain(others) {
                let Some(part) = parts.get(at) else {
                    continue;
                };
                if batch.part != at {
                    // Before the next one is locked.
                    batch.channel = None;
                    batch.part = at;
                }
                let channel = batch.channel.get_or_insert_with(|| part.cell.lock());
                if channel.has_in_flight(message) {
                    break;
                }
            }
        }
        // No matter which, if none has it.
        parts.get(batch.part).map(|part| &part.cell)
    }

    /// FIN, REQ, TOUCH or RDY of a subscription without any part.
    pub(super) fn apply_without_part(&mut self, command: &Command<'_>) {
        let reason = reason(NotInFlight::Unknown);
        let error = match *command {
            Command::Finish { id } => CommandError::FinishFailed { id, reason },
            Command::Requeue { id, .. } => CommandError::RequeueFailed { id, reason },
            Command::Touch { id } => CommandError::TouchFailed { id, reason },
            Command::Ready { count } => {
                self.ready_count = count;
                return;
            }
            _ => return,
        };
        log::refused(self.client.remote_address(), &error, None);
        self.answer(|out| frame::write_error(out, &error));
    }
}

/// The part of the shard that made the message, by its id. It may have come from elsewhere: before the cluster, a node had
/// any number.
fn likely_part(parts: &[Part], message: MessageId) -> Option<usize> {
    let node = (message.as_u64() >> NODE_SHIFT) & NODE_MASK;
    let made_it = |part: &Part| {
        let shard = part.shard.as_ref();
        shard.is_some_and(|shard| shard.number & NODE_MASK == node)
    };
    parts.iter().position(made_it)
}
