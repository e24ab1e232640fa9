//! What each command does. Commands are applied in runs: publishes to one topic are appended together, and what goes to
//! the channel goes there under one lock.

use std::sync::{Arc, MutexGuard};

use nsq_core::{Channel, NotInFlight, Now, PublishError, StoreError, Topic, Wakes};
use nsq_protocol::identify::{ClientSettings, Compression, IdentifyRequest, Negotiation};
use nsq_protocol::{
    ClientState, Command, CommandError, CommandName, Context, DecodeFailure, FailureReason,
    MAGIC_V2, MessageId, RawMessageId, TopicName, frame,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Connection, Next};
use crate::auth::Action;
use crate::clock;
use crate::nsqd::Nsqd;

/// Consecutive PUBs to one topic, not yet appended.
struct Run<'a> {
    bodies: Vec<&'a [u8]>,
    topic: Option<Arc<Topic>>,
    /// Where the first of them begins in the input.
    start: usize,
}

/// What the decoder has to know. Of the parts, since the decoder is one of them too.
pub(super) fn decode_context<'a>(
    state: ClientState,
    tls_missing: bool,
    settings: &ClientSettings,
    nsqd: &'a Nsqd,
) -> Context<'a> {
    Context {
        state,
        tls_missing,
        heartbeats_disabled: settings.heartbeat_interval.is_none(),
        limits: &nsqd.limits,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Applies every whole command in `bytes`. Returns how many bytes that took, and how to go on.
    pub(super) fn process(&mut self, bytes: &[u8]) -> (usize, Next) {
        let mut at = 0;
        if !self.has_magic {
            let Some(magic) = bytes.first_chunk::<4>() else {
                return (0, Next::Wait);
            };
            if *magic != MAGIC_V2 {
                tracing::warn!(
                    "client({}) bad protocol magic '{}'",
                    self.client.remote_address,
                    magic.escape_ascii()
                );
                return (bytes.len(), self.refuse(&CommandError::BadProtocol));
            }
            self.has_magic = true;
            at = magic.len();
        }
        let subscribed = self
            .subscription
            .as_ref()
            .map(|subscription| Arc::clone(&subscription.channel));
        let now = clock::now();
        let mut wakes = Wakes::default();
        let mut run = Run {
            bodies: Vec::new(),
            topic: None,
            start: 0,
        };
        let mut channel: Option<MutexGuard<'_, Channel>> = None;
        let begin = at;
        self.batch_mark = self.outbox.mark();
        let next = loop {
            let context = decode_context(self.state, self.tls_missing, &self.settings, &self.nsqd);
            let (command, used) = match self.decoder.decode(&bytes[at..], &context) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => {
                    let Some(topic) = self.awaited_batch(&bytes[at..]) else {
                        break Next::Wait;
                    };
                    channel = None;
                    if let Some(next) = self.publish_run(&mut run, &mut at, now) {
                        break next;
                    }
                    let allowed = self.authorize(CommandName::PublishMany, topic, Action::Publish);
                    break allowed.err().unwrap_or(Next::Wait);
                }
                Err(failure) => {
                    channel = None;
                    if let Some(next) = self.publish_run(&mut run, &mut at, now) {
                        break next;
                    }
                    break match failure {
                        DecodeFailure::Refused(error) => self.refuse(&error),
                        DecodeFailure::LineTooLong => Next::Drop,
                    };
                }
            };
            // What goes to the channel, first: it is most of a consumer's traffic.
            if let Some(cell) = &subscribed
                && matches!(
                    command,
                    Command::Finish { .. }
                        | Command::Requeue { .. }
                        | Command::Touch { .. }
                        | Command::Ready { .. }
                )
            {
                if let Some(next) = self.publish_run(&mut run, &mut at, now) {
                    break next;
                }
                let channel = channel.get_or_insert_with(|| cell.lock());
                if let Err(error) = self.apply(&command, channel, now, &mut wakes) {
                    self.outbox.write(|out| frame::write_error(out, &error));
                }
                at += used;
                continue;
            }
            channel = None;
            if let Command::Publish { topic, body } = command {
                let is_same = run
                    .topic
                    .as_ref()
                    .is_some_and(|known| known.name().as_str() == topic);
                if !is_same {
                    if let Some(next) = self.publish_run(&mut run, &mut at, now) {
                        break next;
                    }
                    let allowed = self.authorize(CommandName::Publish, topic, Action::Publish);
                    match allowed.and_then(|()| self.find_topic(topic)) {
                        Ok(found) => run.topic = Some(found),
                        Err(next) => break next,
                    }
                    run.start = at;
                }
                run.bodies.push(body);
                at += used;
                continue;
            }
            if let Some(next) = self.publish_run(&mut run, &mut at, now) {
                break next;
            }
            match self.apply_alone(command, now) {
                Ok(()) => at += used,
                // The command stays in the input: it is tried again.
                Err(next @ (Next::CreateTopic(_) | Next::AskFirst)) => break next,
                Err(next) => {
                    at += used;
                    break next;
                }
            }
        };
        let is_waiting = matches!(next, Next::Wait);
        drop_settled(channel.take(), || self.release());
        let next = match self.publish_run(&mut run, &mut at, now) {
            Some(next) if is_waiting => next,
            _ => next,
        };
        wakes.ring();
        if at > begin {
            self.last_command = Instant::now();
            self.first_command_deadline = None;
            self.wants_delivery |= self.subscription.is_some();
        }
        (at, next)
    }

    /// FIN, REQ, TOUCH and RDY. The error is one that leaves the connection open.
    #[inline]
    fn apply(
        &mut self,
        command: &Command<'_>,
        channel: &mut Channel,
        now: Now,
        wakes: &mut Wakes,
    ) -> Result<(), CommandError> {
        let client = self.client.id;
        match *command {
            Command::Finish { id } => known(id)
                .and_then(|message| channel.finish(client, message, now))
                .map_err(|why| CommandError::FinishFailed {
                    id,
                    reason: reason(why),
                }),
            Command::Requeue {
                id,
                delay,
                clamped_from,
            } => {
                if let Some(millis) = clamped_from {
                    tracing::info!(
                        "PROTOCOL(V2): [{}] REQ timeout {millis} out of range 0-{}. Setting to {}",
                        self.client.remote_address,
                        self.nsqd.limits.max_req_timeout.as_millis(),
                        delay.as_millis()
                    );
                }
                known(id)
                    .and_then(|message| channel.requeue(client, message, delay, now, wakes))
                    .map_err(|why| CommandError::RequeueFailed {
                        id,
                        reason: reason(why),
                    })?;
                if !delay.is_zero()
                    && let Some(subscription) = &self.subscription
                {
                    self.nsqd
                        .broker
                        .arm(&subscription.channel, now.tick.after(delay));
                }
                Ok(())
            }
            Command::Touch { id } => {
                let timeout = self.settings.msg_timeout;
                known(id)
                    .and_then(|message| channel.touch(client, message, timeout, now))
                    .map_err(|why| CommandError::TouchFailed {
                        id,
                        reason: reason(why),
                    })
            }
            Command::Ready { count } => {
                channel.set_ready_count(client, count);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every command that stands alone. `Err` ends the batch.
    fn apply_alone(&mut self, command: Command<'_>, now: Now) -> Result<(), Next> {
        match command {
            Command::Nop | Command::ReadyIgnored => Ok(()),
            Command::Identify { body } => match self.identify(body) {
                Ok(None) => Ok(()),
                Ok(Some(agreed)) => Err(Next::Upgrade(agreed)),
                Err(error) => Err(self.refuse(&error)),
            },
            Command::Auth { secret } => Err(self.authenticate(secret)),
            Command::Subscribe { topic, channel } => {
                self.authorize(CommandName::Subscribe, topic, Action::Subscribe(channel))?;
                let topic = self.find_topic(topic)?;
                match self.subscribe(&topic, channel) {
                    Ok(()) => {
                        self.outbox.extend(frame::OK);
                        Err(Next::Again)
                    }
                    Err(error) => Err(self.refuse(&error)),
                }
            }
            Command::PublishMany { topic, messages } => {
                self.authorize(CommandName::PublishMany, topic, Action::Publish)?;
                let topic = self.find_topic(topic)?;
                let messages = messages.map_err(|error| self.refuse(&error))?;
                let outcome = topic.publish(messages.iter(), now);
                self.answer_publish(&topic, outcome, messages.len(), CommandName::PublishMany)
            }
            Command::PublishDeferred { topic, delay, body } => {
                self.authorize(CommandName::PublishDeferred, topic, Action::Publish)?;
                let topic = self.find_topic(topic)?;
                let outcome = if delay.is_zero() {
                    topic.publish(std::iter::once(body), now)
                } else {
                    topic.publish_deferred(body, now.unix_after(delay), now)
                };
                self.answer_publish(&topic, outcome, 1, CommandName::PublishDeferred)
            }
            Command::Close => {
                if let Some(subscription) = &self.subscription {
                    subscription
                        .channel
                        .lock()
                        .set_ready_count(self.client.id, 0);
                }
                self.state = ClientState::Closing;
                self.client.set_state(self.state);
                self.outbox.extend(frame::CLOSE_WAIT);
                Ok(())
            }
            // The decoder lets these through only for a subscriber, whose channel took them.
            Command::Publish { .. }
            | Command::Finish { .. }
            | Command::Requeue { .. }
            | Command::Touch { .. }
            | Command::Ready { .. } => Err(Next::Drop),
        }
    }

    /// Appends the run of PUBs. `Some` when the batch ends with it.
    #[inline]
    fn publish_run(&mut self, run: &mut Run<'_>, at: &mut usize, now: Now) -> Option<Next> {
        let topic = run.topic.take()?;
        let bodies = std::mem::take(&mut run.bodies);
        let outcome = topic.publish(bodies.iter().copied(), now);
        let next = self
            .answer_publish(&topic, outcome, bodies.len(), CommandName::Publish)
            .err();
        if let Some(Next::CreateTopic(_)) = next {
            // It was deleted meanwhile: all of the run once more, to the new one.
            *at = run.start;
        }
        next
    }

    fn answer_publish(
        &mut self,
        topic: &Arc<Topic>,
        outcome: Result<nsq_core::topic::Published, PublishError>,
        count: usize,
        command: CommandName,
    ) -> Result<(), Next> {
        match outcome {
            Ok(published) => {
                let answers = if command == CommandName::Publish {
                    count
                } else {
                    1
                };
                self.outbox.write(|out| {
                    for _ in 0..answers {
                        out.extend_from_slice(frame::OK);
                    }
                });
                self.client.count_published(topic.name(), count as u64);
                if self.nsqd.sync_publish {
                    self.unsynced.push(Arc::clone(topic));
                } else if published.sync_due {
                    self.nsqd.notes.syncer.ask_for_published(topic);
                }
                Ok(())
            }
            Err(PublishError::Exiting)
                if self.nsqd.broker.topic(topic.name().as_str()).is_none() =>
            {
                self.last_topic = None;
                if self.nsqd.is_exiting() {
                    let cause = PublishError::Exiting.to_string();
                    return Err(self.refuse(&CommandError::PublishFailed { command, cause }));
                }
                Err(Next::CreateTopic(topic.name().clone()))
            }
            Err(error) => {
                if matches!(error, PublishError::Log(_)) {
                    tracing::error!("TOPIC({}): publish failed: {error}", topic.name());
                }
                Err(self.refuse(&CommandError::PublishFailed {
                    command,
                    cause: error.to_string(),
                }))
            }
        }
    }

    /// The topic, if it is there; else what to do about it.
    fn find_topic(&mut self, name: &str) -> Result<Arc<Topic>, Next> {
        if let Some(topic) = self
            .last_topic
            .as_ref()
            .filter(|topic| topic.name().as_str() == name)
        {
            return Ok(Arc::clone(topic));
        }
        if let Some(topic) = self.nsqd.broker.topic(name) {
            self.last_topic = Some(Arc::clone(&topic));
            return Ok(topic);
        }
        // The decoder has checked the name.
        Err(TopicName::parse(name).map_or(Next::Drop, Next::CreateTopic))
    }

    /// What was agreed on to be done to the stream, if anything.
    fn identify(&mut self, body: &[u8]) -> Result<Option<Negotiation>, CommandError> {
        let request = IdentifyRequest::parse(body)?;
        let nsqd = Arc::clone(&self.nsqd);
        let limits = &nsqd.identify_limits;
        {
            let mut details = self.client.details();
            details.client_id.clone_from(&request.client_id);
            details.hostname.clone_from(&request.hostname);
            details.user_agent.clone_from(&request.user_agent);
            details.topology_region.clone_from(&request.topology_region);
            details.topology_zone.clone_from(&request.topology_zone);
        }
        self.settings = request.revise(&self.settings, limits)?;
        // Compat: deliveries go by the first IDENTIFY only (messagePump, nsqd/protocol_v2.go).
        if !self.is_identified {
            self.is_identified = true;
            self.delivery_settings = self.settings.clone();
            let mut details = self.client.details();
            details.sample_rate = self.settings.sample_rate;
            let (region, zone) = (&request.topology_region, &request.topology_zone);
            details.locality = nsqd.settings.locality(region, zone);
            drop(details);
            self.restart_heartbeat();
        }
        let features = &nsqd.features;
        let agreed = request.negotiate(features)?;
        let answer = match agreed {
            None => "OK".to_owned(),
            Some(agreed) => {
                self.check_upgrade(agreed)?;
                agreed.response(&self.settings, features, &nsqd.limits, limits)
            }
        };
        self.outbox
            .write(|out| frame::write_response(out, answer.as_bytes()));
        Ok(agreed.filter(|agreed| agreed.tls || agreed.compression != Compression::None))
    }

    /// Answers with an error that ends the connection.
    pub(super) fn refuse(&mut self, error: &CommandError) -> Next {
        tracing::error!("PROTOCOL(V2): [{}] - {error}", self.client.remote_address);
        self.outbox.write(|out| frame::write_error(out, error));
        Next::Close
    }

    /// The topic of the command at the front of the input could not be made.
    pub(super) fn refuse_topic(&mut self, error: &StoreError) {
        let cause = error.to_string();
        let name = self
            .inbox
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        let error = match name {
            b"SUB" => match error {
                StoreError::Refused(_) => CommandError::SubscribeFailed { cause },
                _ => CommandError::SubscribeExiting,
            },
            b"MPUB" => CommandError::PublishFailed {
                command: CommandName::PublishMany,
                cause,
            },
            b"DPUB" => CommandError::PublishFailed {
                command: CommandName::PublishDeferred,
                cause,
            },
            _ => CommandError::PublishFailed {
                command: CommandName::Publish,
                cause,
            },
        };
        self.refuse(&error);
    }

    fn release(&self) {
        if let Some(subscription) = &self.subscription {
            subscription.topic.release();
        }
    }
}

/// Ends a run of commands to the channel; frees what the topic no longer needs, after the channel's lock.
fn drop_settled(channel: Option<MutexGuard<'_, Channel>>, release: impl FnOnce()) {
    if let Some(mut channel) = channel {
        let may_release = channel.settle();
        drop(channel);
        if may_release {
            release();
        }
    }
}

fn known(id: RawMessageId) -> Result<MessageId, NotInFlight> {
    MessageId::from_hex(&id).ok_or(NotInFlight::Unknown)
}

fn reason(why: NotInFlight) -> FailureReason {
    match why {
        NotInFlight::Unknown => FailureReason::NotInFlight,
        NotInFlight::NotOwner => FailureReason::NotOwner,
    }
}
