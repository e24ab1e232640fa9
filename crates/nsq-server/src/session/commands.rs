//! What each command does. Commands are applied in runs: publishes to one topic are appended together, and what goes to
//! the channel goes there under one lock.

use std::sync::Arc;

use nsq_core::{ChannelCell, ChannelGuard, Now};
use nsq_protocol::identify::ClientSettings;
use nsq_protocol::{
    ClientState, Command, CommandError, CommandName, Context, DecodeFailure, MAGIC_V2, frame,
};

use super::authorization::Question;
use super::identify::Layers;
use super::log::{self, Failure};
use super::parts::Part;
use super::publish::Run;
use super::{Action, Observer, Session, Stop};
use crate::server::Server;

/// Commands that are applied together.
pub(super) struct Batch<'a, 'c> {
    bytes: &'a [u8],
    /// Where the next command begins.
    pub(super) at: usize,
    pub(super) now: Now,
    pub(super) run: Run<'a>,
    /// The channel of a subscription with one part.
    cell: Option<&'c Arc<ChannelCell>>,
    /// The parts of a subscription with any other number of them.
    parts: Option<&'c [Part]>,
    /// Of the parts, the one that `channel` belongs to.
    pub(super) part: usize,
    /// Locked from the first command to the channel to the next one that is none. It is unlocked before anything is
    /// logged: a slow reader of the log must not hold up the channel.
    pub(super) channel: Option<ChannelGuard<'c>>,
    /// Whether each command is logged.
    is_debugging: bool,
}

impl<O: Observer> Session<O> {
    /// Applies every whole command in `bytes`. Returns how many bytes that took, and why it ended.
    pub(super) fn process(&mut self, bytes: &[u8], now: Now) -> (usize, Stop) {
        let begin = match self.read_magic(bytes) {
            Ok(used) => used,
            Err(stopped) => return stopped,
        };
        self.refresh_parts(now);
        let subscription = self.subscription.as_ref();
        let subscribed = subscription.map(|subscription| Arc::clone(&subscription.parts));
        let holds_others = subscription
            .and_then(|subscription| subscription.remote())
            .is_some_and(|remote| remote.held() > 0);
        let (cell, parts) = match subscribed.as_deref() {
            None => (None, None),
            Some([part]) if !holds_others => (Some(&part.cell), None),
            parts => (None, parts),
        };
        let mut batch = Batch {
            bytes,
            at: begin,
            now,
            run: Run::default(),
            cell,
            parts,
            part: 0,
            channel: None,
            is_debugging: log::is_debugging(),
        };
        let mut stop = loop {
            if let Err(stop) = self.apply_next(&mut batch) {
                break stop;
            }
        };
        batch.channel = None;
        if let (Stop::Wait, Err(failed)) = (&stop, self.publish_run(&mut batch)) {
            stop = failed;
        }
        if batch.at > begin {
            self.deadlines.note_command(now.tick);
            self.wants_delivery |= self.subscription.is_some();
        }
        (batch.at, stop)
    }

    /// How many bytes the magic takes at the front of `bytes`: none, once it was read.
    #[inline]
    fn read_magic(&mut self, bytes: &[u8]) -> Result<usize, (usize, Stop)> {
        if self.state.is_some() {
            return Ok(0);
        }
        let Some(magic) = bytes.first_chunk::<4>() else {
            return Err((0, Stop::Wait));
        };
        let client = self.client.remote_address();
        log::magic(client, *magic);
        if *magic != MAGIC_V2 {
            log::bad_magic(client, *magic);
            self.answer(|out| frame::write_error(out, &CommandError::BadProtocol));
            return Err((bytes.len(), Stop::Close));
        }
        self.state = Some(ClientState::Init);
        Ok(magic.len())
    }

    pub(super) fn has_magic(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn set_state(&mut self, state: ClientState) {
        self.state = Some(state);
        self.client.set_state(state);
    }

    /// Applies the next command. The error ends the batch.
    #[inline]
    fn apply_next(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), Stop> {
        let context = context(&self.server, self.state, self.layers, &self.settings);
        match self.decoder.decode(&batch.bytes[batch.at..], &context) {
            Ok(Some((command, used))) => {
                if batch.is_debugging {
                    let bytes = &batch.bytes[batch.at..batch.at + used];
                    log::command(self.client.remote_address(), bytes);
                }
                self.apply(batch, command, used)
            }
            Ok(None) => Err(self.await_bytes(batch)),
            Err(failure) => Err(self.refuse_bytes(batch, failure)),
        }
    }

    #[inline]
    fn apply<'a>(
        &mut self,
        batch: &mut Batch<'a, '_>,
        command: Command<'a>,
        used: usize,
    ) -> Result<(), Stop> {
        // What goes to the channel, first: it is most of a consumer's traffic.
        let cell = match (batch.cell, batch.parts) {
            (None, Some(parts)) => {
                if self.apply_remotely(batch, &command)? {
                    batch.at += used;
                    return Ok(());
                }
                self.choose_part(batch, parts, &command)
            }
            (cell, _) => cell,
        };
        if let Some(cell) = cell
            && matches!(
                command,
                Command::Finish { .. }
                    | Command::Requeue { .. }
                    | Command::Touch { .. }
                    | Command::Ready { .. }
            )
        {
            self.publish_run(batch)?;
            self.apply_to_channel(batch, cell, &command);
            batch.at += used;
            return Ok(());
        }
        if let Command::Publish { topic, body } = command {
            batch.channel = None;
            self.gather(batch, topic, body)?;
            batch.at += used;
            return Ok(());
        }
        self.publish_run(batch)?;
        batch.channel = None;
        let applied = self.apply_alone(command, batch.now);
        // These leave the command in the input: it is tried again.
        let is_tried_again = matches!(
            applied,
            Err(Stop::CreateTopic(..) | Stop::Ask(Question::Renewal) | Stop::Answers(_))
        );
        if !is_tried_again {
            batch.at += used;
        }
        applied
    }

    /// There is no whole command left.
    fn await_bytes(&mut self, batch: &mut Batch<'_, '_>) -> Stop {
        let Some(topic) = self.awaited_batch(&batch.bytes[batch.at..]) else {
            return Stop::Wait;
        };
        batch.channel = None;
        if let Err(stop) = self.publish_run(batch) {
            return stop;
        }
        let command = CommandName::PublishMany;
        let allowed = self.authorize(command, topic, Action::Publish, batch.now);
        allowed.err().unwrap_or(Stop::Wait)
    }

    /// The next bytes are no command.
    fn refuse_bytes(&mut self, batch: &mut Batch<'_, '_>, failure: DecodeFailure) -> Stop {
        batch.channel = None;
        if let Err(stop) = self.publish_run(batch) {
            return stop;
        }
        match failure {
            DecodeFailure::Refused(error) => self.refuse(&error),
            DecodeFailure::LineTooLong => {
                // Go's text for a line that does not fit its buffer.
                self.failure = Some(Failure::Reading("bufio: buffer full".to_owned()));
                Stop::Drop
            }
        }
    }

    /// Every other command. The error ends the batch.
    fn apply_alone(&mut self, command: Command<'_>, now: Now) -> Result<(), Stop> {
        match command {
            Command::Nop => Ok(()),
            Command::ReadyIgnored => {
                log::ready_ignored(self.client.remote_address());
                Ok(())
            }
            Command::Identify { body } => {
                self.require_answers()?;
                match self.identify(body, now) {
                    Ok(None) => Ok(()),
                    Ok(Some(agreed)) => Err(Stop::Upgrade(agreed)),
                    Err(error) => Err(self.refuse(&error)),
                }
            }
            Command::Auth { secret } => {
                self.require_answers()?;
                Err(self.authenticate(secret))
            }
            Command::Subscribe { topic, channel } => {
                self.require_answers()?;
                let action = Action::Subscribe(channel);
                self.authorize(CommandName::Subscribe, topic, action, now)?;
                if self.server.route(topic).is_some() {
                    return self.subscribe_to_shards(topic, channel, now);
                }
                let topic = self.find_topic(topic)?;
                match self.subscribe(&topic, channel, now) {
                    Ok(()) => {
                        self.answer(|out| out.extend_from_slice(frame::OK));
                        Err(Stop::Again)
                    }
                    Err(error) => Err(self.refuse(&error)),
                }
            }
            Command::PublishMany { topic, messages } => self.publish_many(topic, messages, now),
            Command::PublishDeferred { topic, delay, body } => {
                self.publish_deferred(topic, delay, body, now)
            }
            Command::Close => {
                self.close_subscription();
                self.set_state(ClientState::Closing);
                self.answer(|out| out.extend_from_slice(frame::CLOSE_WAIT));
                Ok(())
            }
            // The decoder lets these through only for a subscriber, whose channel took them if it has one.
            Command::Finish { .. }
            | Command::Requeue { .. }
            | Command::Touch { .. }
            | Command::Ready { .. } => {
                self.apply_without_part(&command);
                Ok(())
            }
            Command::Publish { .. } => Err(Stop::Drop),
        }
    }

    /// Holds a command that changes the connection until every publish before it is answered: a message must not be
    /// there before the answer to SUB, nor a layer before an answer that it does not belong to.
    fn require_answers(&self) -> Result<(), Stop> {
        if self.answers.is_empty() {
            Ok(())
        } else {
            Err(Stop::Answers(0))
        }
    }
}

/// What the decoder has to know. Of the parts, since the decoder is one of them too.
#[inline]
pub(super) fn context<'s>(
    server: &'s Server,
    state: Option<ClientState>,
    layers: Layers,
    client: &ClientSettings,
) -> Context<'s> {
    let settings = server.settings();
    Context {
        state: state.unwrap_or(ClientState::Init),
        tls_missing: settings.tls_required && !layers.tls,
        heartbeats_disabled: client.heartbeat_interval.is_none(),
        limits: &settings.limits,
    }
}
