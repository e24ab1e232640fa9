//! Commands to the channel: FIN, REQ, TOUCH and RDY.

use std::sync::Arc;

use nsq_core::{ChannelCell, NotInFlight};
use nsq_protocol::{Command, CommandError, FailureReason, MessageId, RawMessageId, frame};

use super::commands::Batch;
use super::{Handling, Observer, Session, log};

impl<O: Observer> Session<O> {
    /// FIN, REQ, TOUCH and RDY. An error leaves the connection open.
    #[inline]
    pub(super) fn apply_to_channel<'c>(
        &mut self,
        batch: &mut Batch<'_, 'c>,
        cell: &'c Arc<ChannelCell>,
        command: &Command<'_>,
    ) {
        if let Command::Requeue {
            clamped_from: Some(_),
            ..
        } = *command
        {
            batch.channel = None;
            self.log_clamped_delay(command);
        }
        if let Err(error) = self.handle_message(batch, cell, command) {
            batch.channel = None;
            log::refused(self.client.remote_address(), &error, None);
            self.answer(|out| frame::write_error(out, &error));
        }
    }

    /// Logs that a REQ asked for a longer delay than it gets.
    #[cold]
    pub(super) fn log_clamped_delay(&self, command: &Command<'_>) {
        if let Command::Requeue {
            delay,
            clamped_from: Some(millis),
            ..
        } = *command
        {
            let max = self.server.settings().limits.max_req_timeout;
            log::clamped_delay(self.client.remote_address(), millis, max, delay);
        }
    }

    #[inline]
    fn handle_message<'c>(
        &mut self,
        batch: &mut Batch<'_, 'c>,
        cell: &'c Arc<ChannelCell>,
        command: &Command<'_>,
    ) -> Result<(), CommandError> {
        let channel = batch.channel.get_or_insert_with(|| cell.lock());
        let (client, now) = (self.client.id(), batch.now);
        let observer = &mut self.observer;
        let mut noted = |handling, message, outcome| {
            observer.handled(cell, handling, message, outcome, now);
            outcome
        };
        match *command {
            Command::Finish { id } => known(id)
                .and_then(|message| {
                    let outcome = channel.finish(client, message, now);
                    noted(Handling::Finish, message, outcome)
                })
                .map_err(|why| CommandError::FinishFailed {
                    id,
                    reason: reason(why),
                }),
            Command::Requeue { id, delay, .. } => known(id)
                .and_then(|message| {
                    let outcome = channel.requeue(client, message, delay, now);
                    noted(Handling::Requeue(delay), message, outcome)
                })
                .map_err(|why| CommandError::RequeueFailed {
                    id,
                    reason: reason(why),
                }),
            Command::Touch { id } => {
                let timeout = self.settings.msg_timeout;
                known(id)
                    .and_then(|message| {
                        let outcome = channel.touch(client, message, timeout, now);
                        noted(Handling::Touch, message, outcome)
                    })
                    .map_err(|why| CommandError::TouchFailed {
                        id,
                        reason: reason(why),
                    })
            }
            Command::Ready { count } => {
                channel.set_ready_count(client, count);
                self.ready_count = count;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn known(id: RawMessageId) -> Result<MessageId, NotInFlight> {
    MessageId::from_hex(&id).ok_or(NotInFlight::Unknown)
}

pub(crate) fn reason(why: NotInFlight) -> FailureReason {
    match why {
        NotInFlight::Unknown => FailureReason::NotInFlight,
        NotInFlight::NotOwner => FailureReason::NotOwner,
    }
}
