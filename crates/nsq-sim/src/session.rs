//! One connection as nsqd serves it: bytes in, bytes out, by the real decoder and the real core.
//!
//! Follows `bins/nsqd/src/connection`, whose own code is tied to sockets and to the system's clock: commands are
//! applied in runs, consecutive PUBs to a topic are appended together, and with `--sync-publish` no answer leaves
//! before the sync that earned it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nsq_core::channel::Budget;
use nsq_core::{
    Broker, ChannelCell, ClientHandle, ClientId, Locality, NotInFlight, Now, PublishError,
    StoreError, Subscription, Topic, Wakes,
};
use nsq_protocol::{
    ChannelName, ClientState, Command, CommandError, CommandName, Context, DecodeFailure, Decoder,
    FailureReason, Limits, MessageId, RawMessageId, TopicName, frame,
};

use crate::model::{MSG_TIMEOUT, Model};

/// As in nsqd: no more is put in line for a client that leaves this much unread.
const DELIVERY_LIMIT: usize = 64 << 10;
const TAKE_MESSAGES: usize = 1000;

/// How others reach the connection.
#[derive(Default)]
pub(crate) struct Bell {
    is_woken: AtomicBool,
    pub(crate) is_closed: AtomicBool,
}

impl ClientHandle for Bell {
    fn wake(&self) {
        self.is_woken.store(true, Ordering::Relaxed);
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Again,
    Close,
}

pub(crate) struct Session {
    pub(crate) id: ClientId,
    pub(crate) bell: Arc<Bell>,
    decoder: Decoder,
    state: ClientState,
    pub(crate) inbox: Vec<u8>,
    /// Answers and messages that the client has not read.
    pub(crate) outbox: Vec<u8>,
    batch_mark: usize,
    pub(crate) subscription: Option<(Arc<Topic>, Arc<ChannelCell>)>,
    /// Topics with messages that wait for a sync before anything goes on here.
    pub(crate) unsynced: Vec<Arc<Topic>>,
    wants_delivery: bool,
    /// The server has said its last word.
    pub(crate) is_over: bool,
}

/// What a connection has to do with.
pub(crate) struct Around<'a> {
    pub(crate) broker: &'a Arc<Broker>,
    pub(crate) model: &'a mut Model,
    pub(crate) now: Now,
    pub(crate) sync_publish: bool,
    pub(crate) limits: &'a Limits,
    /// Topics to be synced soon.
    pub(crate) wanted: &'a mut Vec<(Arc<Topic>, bool)>,
}

impl Session {
    pub(crate) fn new(id: ClientId) -> Session {
        Session {
            id,
            bell: Arc::default(),
            decoder: Decoder::new(),
            state: ClientState::Init,
            inbox: Vec::new(),
            outbox: Vec::new(),
            batch_mark: 0,
            subscription: None,
            unsynced: Vec::new(),
            wants_delivery: false,
            is_over: false,
        }
    }

    /// Whether the client may read what is there: nothing leaves while a sync is waited for.
    pub(crate) fn is_readable(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Deals with what came and with what there is to deliver.
    pub(crate) fn poll(&mut self, around: &mut Around<'_>) {
        if self.is_over || !self.unsynced.is_empty() {
            return;
        }
        if self.bell.is_closed.load(Ordering::Relaxed) {
            self.is_over = true;
            return;
        }
        if self.bell.is_woken.swap(false, Ordering::Relaxed) {
            self.wants_delivery = true;
            if self.outbox.len() >= DELIVERY_LIMIT
                && let Some((_, cell)) = &self.subscription
            {
                let mut wakes = Wakes::default();
                cell.lock().decline(self.id, &mut wakes);
                wakes.ring();
            }
        }
        while self.process(around) == Next::Again {}
        if self.wants_delivery && self.unsynced.is_empty() && !self.is_over {
            self.deliver(around);
        }
    }

    /// Applies the whole commands in the inbox.
    fn process(&mut self, around: &mut Around<'_>) -> Next {
        if self.inbox.is_empty() || self.is_over {
            return Next::Wait;
        }
        let inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        self.batch_mark = self.outbox.len();
        let mut run: Option<(Arc<Topic>, Vec<Vec<u8>>)> = None;
        let mut wakes = Wakes::default();
        let mut next = Next::Wait;
        let mut touched_channel = false;
        loop {
            let context = Context {
                state: self.state,
                tls_missing: false,
                heartbeats_disabled: false,
                limits: around.limits,
            };
            let (command, used) = match self.decoder.decode(&inbox[at..], &context) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => break,
                Err(failure) => {
                    if self.publish_run(&mut run, around) {
                        if let DecodeFailure::Refused(error) = failure {
                            frame::write_error(&mut self.outbox, &error);
                        }
                        self.is_over = true;
                    }
                    break;
                }
            };
            at += used;
            if let Command::Publish { topic, body } = command {
                match &mut run {
                    Some((known, bodies)) if known.name().as_str() == topic => {
                        bodies.push(body.to_vec());
                    }
                    _ => {
                        if !self.publish_run(&mut run, around) {
                            break;
                        }
                        let Some(found) = self.find_topic(topic, CommandName::Publish, around)
                        else {
                            break;
                        };
                        run = Some((found, vec![body.to_vec()]));
                    }
                }
                continue;
            }
            if !self.publish_run(&mut run, around) {
                break;
            }
            next = match command {
                Command::Finish { .. }
                | Command::Requeue { .. }
                | Command::Touch { .. }
                | Command::Ready { .. } => {
                    touched_channel = true;
                    self.apply(&command, around, &mut wakes);
                    Next::Wait
                }
                command => self.apply_alone(command, around),
            };
            if next != Next::Wait {
                break;
            }
        }
        if !self.is_over {
            self.publish_run(&mut run, around);
        }
        if touched_channel
            && let Some((topic, cell)) = &self.subscription
            && cell.lock().settle()
        {
            topic.release();
        }
        wakes.ring();
        if at > 0 {
            self.wants_delivery |= self.subscription.is_some();
        }
        self.inbox = inbox[at.min(inbox.len())..].to_vec();
        if next == Next::Close {
            self.is_over = true;
        }
        if self.unsynced.is_empty() {
            next
        } else {
            Next::Wait
        }
    }

    /// FIN, REQ, TOUCH and RDY.
    fn apply(&mut self, command: &Command<'_>, around: &mut Around<'_>, wakes: &mut Wakes) {
        let Some((topic, cell)) = &self.subscription else {
            return;
        };
        let (topic_name, name) = (topic.name().as_str(), cell.name().as_str());
        let mut channel = cell.lock();
        let client = self.id;
        let now = around.now;
        // One that was deleted under its client has forgotten everything.
        let is_current = !self.bell.is_closed.load(Ordering::Relaxed);
        let outcome = match *command {
            Command::Finish { id } => known(id)
                .and_then(|message| {
                    let answer = channel.finish(client, message, now);
                    if is_current {
                        around
                            .model
                            .finished(topic_name, name, client, message, answer);
                    }
                    answer
                })
                .map_err(|why| CommandError::FinishFailed {
                    id,
                    reason: reason(why),
                }),
            Command::Requeue { id, delay, .. } => {
                let answer = known(id).and_then(|message| {
                    let answer = channel.requeue(client, message, delay, now, wakes);
                    if is_current {
                        around
                            .model
                            .requeued(topic_name, name, client, message, delay, answer, now);
                    }
                    answer
                });
                if answer.is_ok() && !delay.is_zero() {
                    around.broker.arm(cell, now.tick.after(delay));
                }
                answer.map_err(|why| CommandError::RequeueFailed {
                    id,
                    reason: reason(why),
                })
            }
            Command::Touch { id } => known(id)
                .and_then(|message| {
                    let answer = channel.touch(client, message, MSG_TIMEOUT, now);
                    if is_current {
                        around
                            .model
                            .touched(topic_name, name, client, message, answer, now);
                    }
                    answer
                })
                .map_err(|why| CommandError::TouchFailed {
                    id,
                    reason: reason(why),
                }),
            Command::Ready { count } => {
                channel.set_ready_count(client, count);
                Ok(())
            }
            _ => Ok(()),
        };
        drop(channel);
        if let Err(error) = outcome {
            frame::write_error(&mut self.outbox, &error);
        }
    }

    fn apply_alone(&mut self, command: Command<'_>, around: &mut Around<'_>) -> Next {
        match command {
            Command::Subscribe { topic, channel } => {
                let Ok(topic) = make_topic(topic, around) else {
                    frame::write_error(&mut self.outbox, &CommandError::SubscribeExiting);
                    return Next::Close;
                };
                let name = ChannelName::parse(channel).expect("the decoder checked it");
                let made = topic.get_or_create_channel(&name, around.now);
                let Ok(cell) = made else {
                    frame::write_error(&mut self.outbox, &CommandError::SubscribeExiting);
                    return Next::Close;
                };
                around
                    .model
                    .channel_made(topic.name().as_str(), channel, around.now);
                let subscription = Subscription {
                    client: self.id,
                    handle: Arc::clone(&self.bell) as Arc<dyn ClientHandle>,
                    msg_timeout: MSG_TIMEOUT,
                    sample_rate: 0,
                    locality: Locality::default(),
                };
                cell.lock()
                    .subscribe(subscription, 0)
                    .expect("a channel that is open");
                self.subscription = Some((topic, cell));
                self.state = ClientState::Subscribed;
                self.outbox.extend_from_slice(frame::OK);
                Next::Again
            }
            Command::PublishMany { topic, messages } => {
                let Some(topic) = self.find_topic(topic, CommandName::PublishMany, around) else {
                    return Next::Close;
                };
                let Ok(messages) = messages else {
                    return Next::Close;
                };
                let bodies: Vec<_> = messages.iter().map(<[u8]>::to_vec).collect();
                self.publish(&topic, &bodies, None, CommandName::PublishMany, around)
            }
            Command::PublishDeferred { topic, delay, body } => {
                let command = CommandName::PublishDeferred;
                let Some(topic) = self.find_topic(topic, command, around) else {
                    return Next::Close;
                };
                let due = (!delay.is_zero()).then(|| around.now.unix_after(delay));
                self.publish(&topic, &[body.to_vec()], due, command, around)
            }
            Command::Close => {
                if let Some((_, cell)) = &self.subscription {
                    cell.lock().set_ready_count(self.id, 0);
                }
                self.state = ClientState::Closing;
                self.outbox.extend_from_slice(frame::CLOSE_WAIT);
                Next::Wait
            }
            _ => Next::Wait,
        }
    }

    /// Appends the run of PUBs. `false` when that ends the connection.
    fn publish_run(
        &mut self,
        run: &mut Option<(Arc<Topic>, Vec<Vec<u8>>)>,
        around: &mut Around<'_>,
    ) -> bool {
        let Some((topic, bodies)) = run.take() else {
            return true;
        };
        let next = self.publish(&topic, &bodies, None, CommandName::Publish, around);
        self.is_over |= next == Next::Close;
        next == Next::Wait
    }

    fn publish(
        &mut self,
        topic: &Arc<Topic>,
        bodies: &[Vec<u8>],
        due: Option<i64>,
        command: CommandName,
        around: &mut Around<'_>,
    ) -> Next {
        let now = around.now;
        let outcome = match due {
            None => topic.publish(bodies.iter().map(Vec::as_slice), now),
            Some(due) => topic.publish_deferred(&bodies[0], due, now),
        };
        let name = topic.name().as_str();
        match outcome {
            Ok(published) => {
                around.model.published(name, bodies, due, now);
                let answers = if command == CommandName::Publish {
                    bodies.len()
                } else {
                    1
                };
                for _ in 0..answers {
                    self.outbox.extend_from_slice(frame::OK);
                }
                if around.sync_publish {
                    self.unsynced.push(Arc::clone(topic));
                } else if published.sync_due {
                    around.wanted.push((Arc::clone(topic), false));
                }
                Next::Wait
            }
            Err(error) => {
                if !matches!(error, PublishError::Exiting) {
                    around.model.refused(name, bodies, due);
                }
                let cause = error.to_string();
                let error = CommandError::PublishFailed { command, cause };
                frame::write_error(&mut self.outbox, &error);
                Next::Close
            }
        }
    }

    fn find_topic(
        &mut self,
        name: &str,
        command: CommandName,
        around: &mut Around<'_>,
    ) -> Option<Arc<Topic>> {
        match make_topic(name, around) {
            Ok(topic) => Some(topic),
            Err(error) => {
                let cause = error.to_string();
                let error = CommandError::PublishFailed { command, cause };
                frame::write_error(&mut self.outbox, &error);
                self.is_over = true;
                None
            }
        }
    }

    fn deliver(&mut self, around: &mut Around<'_>) {
        if self.outbox.len() >= DELIVERY_LIMIT {
            return;
        }
        self.wants_delivery = false;
        let Some((topic, cell)) = &self.subscription else {
            return;
        };
        let budget = Budget {
            messages: TAKE_MESSAGES,
            bytes: DELIVERY_LIMIT,
        };
        let mut wakes = Wakes::default();
        let (outbox, model, now, client) =
            (&mut self.outbox, &mut *around.model, around.now, self.id);
        let taken = cell
            .lock()
            .take(client, budget, now, &mut wakes, |message| {
                model.delivered(
                    topic.name().as_str(),
                    cell.name().as_str(),
                    client,
                    message.id,
                    message.attempts,
                    message.body,
                    now,
                );
                frame::write_message(
                    outbox,
                    message.timestamp,
                    message.attempts,
                    message.id,
                    message.body,
                );
            });
        wakes.ring();
        if let Some(deadline) = taken.deadline {
            around.broker.arm(cell, deadline);
        }
        self.wants_delivery = taken.more;
    }

    /// A topic that was waited for is synced, or cannot be.
    pub(crate) fn sync_done(&mut self, topic: &Arc<Topic>, works: bool) {
        if !self
            .unsynced
            .iter()
            .any(|waiting| Arc::ptr_eq(waiting, topic))
        {
            return;
        }
        self.unsynced.retain(|waiting| !Arc::ptr_eq(waiting, topic));
        if !works {
            self.outbox.truncate(self.batch_mark);
            let command = CommandName::Publish;
            let cause = "cannot sync".to_owned();
            let error = CommandError::PublishFailed { command, cause };
            frame::write_error(&mut self.outbox, &error);
            self.unsynced.clear();
            self.is_over = true;
        }
    }
}

fn make_topic(name: &str, around: &mut Around<'_>) -> Result<Arc<Topic>, StoreError> {
    let parsed = TopicName::parse(name).expect("the decoder checked it");
    let made = around
        .broker
        .get_or_create_topic(&parsed, false, around.now);
    let (topic, _) = made?;
    around.model.topic_made(name);
    Ok(topic)
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
