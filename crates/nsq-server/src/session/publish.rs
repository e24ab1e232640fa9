//! PUB, MPUB and DPUB: appended at once, and answered when they are safe.

use std::sync::Arc;

use nsq_core::topic::Published;
use nsq_core::{Now, PublishError, StoreError, TicketState, TicketWaiter, Topic};
use nsq_protocol::{CommandError, CommandName, Messages, TopicName, frame};

use super::answers::{Awaited, MAX_WAITING, Waiting};
use super::commands::Batch;
use super::{Action, Observer, Session, Stop};

/// When so many publishes have been answered that others may be taken again.
const RESUME_AT: usize = MAX_WAITING / 2;

/// Consecutive PUBs to one topic, not yet appended.
#[derive(Default)]
pub(super) struct Run<'a> {
    pub(super) bodies: Vec<&'a [u8]>,
    destination: Option<Destination>,
    /// Where the first of them begins in the input.
    pub(super) start: usize,
}

/// Where a run of PUBs goes.
enum Destination {
    Topic(Arc<Topic>),
    /// Through the cluster's router.
    Routed(TopicName),
}

impl Destination {
    #[inline]
    fn name(&self) -> &TopicName {
        match self {
            Destination::Topic(topic) => topic.name(),
            Destination::Routed(name) => name,
        }
    }
}

impl<O: Observer> Session<O> {
    /// PUB: joins the run of PUBs to the same topic, or begins the next one.
    #[inline]
    pub(super) fn gather<'a>(
        &mut self,
        batch: &mut Batch<'a, '_>,
        topic: &str,
        body: &'a [u8],
    ) -> Result<(), Stop> {
        let known = batch.run.destination.as_ref();
        if known.is_none_or(|known| known.name().as_str() != topic) {
            self.publish_run(batch)?;
            self.require_room()?;
            self.authorize(CommandName::Publish, topic, Action::Publish, batch.now)?;
            batch.run.destination = Some(if self.server.route(topic).is_none() {
                Destination::Topic(self.find_topic(topic)?)
            } else {
                Destination::Routed(self.routed_name(topic)?)
            });
            batch.run.start = batch.at;
        }
        batch.run.bodies.push(body);
        Ok(())
    }

    /// Appends the run of PUBs, if there is one. The error ends the batch.
    #[inline]
    pub(super) fn publish_run(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), Stop> {
        let topic = match batch.run.destination.take() {
            None => return Ok(()),
            Some(Destination::Topic(topic)) => topic,
            Some(Destination::Routed(name)) => return self.route_run(batch, &name),
        };
        let bodies = &mut batch.run.bodies;
        let outcome = topic.publish(bodies.iter().copied(), batch.now);
        let accepted = outcome.as_ref().map(drop);
        let published = bodies.iter().copied();
        self.observer
            .published(topic.name(), published, None, accepted, batch.now);
        let count = bodies.len();
        bodies.clear();
        let answered = self.answer_publish(&topic, outcome, count, CommandName::Publish);
        if let Err(Stop::CreateTopic(..)) = answered {
            // It was deleted meanwhile: the whole run again, to the next topic of that name.
            batch.at = batch.run.start;
        }
        answered
    }

    /// MPUB.
    pub(super) fn publish_many(
        &mut self,
        topic: &str,
        messages: Result<Messages<'_>, CommandError>,
        now: Now,
    ) -> Result<(), Stop> {
        self.require_room()?;
        self.authorize(CommandName::PublishMany, topic, Action::Publish, now)?;
        if self.server.route(topic).is_some() {
            let name = self.routed_name(topic)?;
            let messages = messages.map_err(|error| self.refuse(&error))?;
            return self.route_many(&name, messages, now);
        }
        let topic = self.find_topic(topic)?;
        let messages = messages.map_err(|error| self.refuse(&error))?;
        let outcome = topic.publish(messages.iter(), now);
        let accepted = outcome.as_ref().map(drop);
        self.observer
            .published(topic.name(), messages.iter(), None, accepted, now);
        self.answer_publish(&topic, outcome, messages.len(), CommandName::PublishMany)
    }

    /// DPUB.
    pub(super) fn publish_deferred(
        &mut self,
        topic: &str,
        delay: std::time::Duration,
        body: &[u8],
        now: Now,
    ) -> Result<(), Stop> {
        self.require_room()?;
        self.authorize(CommandName::PublishDeferred, topic, Action::Publish, now)?;
        let due = (!delay.is_zero()).then(|| now.unix_after(delay));
        if self.server.route(topic).is_some() {
            let name = self.routed_name(topic)?;
            return self.route_deferred(&name, body, due, now);
        }
        let topic = self.find_topic(topic)?;
        let outcome = match due {
            None => topic.publish(std::iter::once(body), now),
            Some(due) => topic.publish_deferred(body, due, now),
        };
        let accepted = outcome.as_ref().map(drop);
        self.observer
            .published(topic.name(), std::iter::once(body), due, accepted, now);
        self.answer_publish(&topic, outcome, 1, CommandName::PublishDeferred)
    }

    /// Whether one more publish may wait for its answer.
    fn require_room(&self) -> Result<(), Stop> {
        if self.answers.len() < MAX_WAITING {
            Ok(())
        } else {
            Err(Stop::Answers(RESUME_AT))
        }
    }

    fn answer_publish(
        &mut self,
        topic: &Arc<Topic>,
        outcome: Result<Published, PublishError>,
        message_count: usize,
        command: CommandName,
    ) -> Result<(), Stop> {
        match outcome {
            Ok(published) => {
                let publish_count = match command {
                    CommandName::Publish => message_count,
                    _ => 1,
                };
                self.answer_when_safe(topic, published, publish_count, command);
                self.client
                    .count_published(topic.name(), message_count as u64);
                Ok(())
            }
            Err(PublishError::Exiting) if self.is_gone(topic) => {
                self.last_topic = None;
                if self.server.is_exiting() {
                    let cause = PublishError::Exiting.to_string();
                    return Err(self.refuse(&CommandError::PublishFailed { command, cause }));
                }
                Err(Stop::create(topic.name().clone(), None))
            }
            Err(error) => {
                if matches!(error, PublishError::Log(_)) {
                    tracing::error!(
                        "TOPIC({}) ERROR: failed to write message to backend - {error}",
                        topic.name()
                    );
                }
                Err(self.refuse(&CommandError::PublishFailed {
                    command,
                    cause: error.to_string(),
                }))
            }
        }
    }

    /// Whether the topic was deleted, rather than closed with nsqd. The next topic of its name may be there already.
    fn is_gone(&self, topic: &Arc<Topic>) -> bool {
        let current = self.server.broker().topic(topic.name().as_str());
        current.is_none_or(|current| !Arc::ptr_eq(&current, topic) || topic.is_discarded())
    }

    /// Answers `publish_count` publishes, now or when they are safe.
    fn answer_when_safe(
        &mut self,
        topic: &Arc<Topic>,
        published: Published,
        publish_count: usize,
        command: CommandName,
    ) {
        self.server.sync_for(topic, &published, self.publisher());
        let state = if published.is_safe {
            TicketState::Safe
        } else {
            let waiter = Arc::clone(&self.client) as Arc<dyn TicketWaiter>;
            topic.await_ticket(published.ticket, &waiter)
        };
        if state == TicketState::Safe {
            self.answer_ok(publish_count);
            return;
        }
        let topic = Arc::clone(topic);
        let awaited = Awaited::Ticket(topic, published.ticket);
        let waiting = Waiting::new(awaited, command, publish_count);
        self.answers.wait(waiting);
        if let TicketState::Failed(_) = state {
            // No one calls for a ticket that is settled already.
            self.client.ticket_settled();
        }
    }

    /// Answers so many publishes.
    #[inline]
    pub(super) fn answer_ok(&mut self, count: usize) {
        self.answer(|out| {
            for _ in 0..count {
                out.extend_from_slice(frame::OK);
            }
        });
    }

    /// The topic of the command at the front of the inbox could not be made.
    pub(super) fn refuse_topic(&mut self, error: &StoreError) -> Stop {
        let cause = error.to_string();
        let name = self.inbox.split(|byte| *byte == b' ').next();
        let command = match name.unwrap_or_default() {
            b"SUB" => {
                return self.refuse(&match error {
                    StoreError::Refused(_) => CommandError::SubscribeFailed { cause },
                    _ => CommandError::SubscribeExiting,
                });
            }
            b"MPUB" => CommandName::PublishMany,
            b"DPUB" => CommandName::PublishDeferred,
            _ => CommandName::Publish,
        };
        self.refuse(&CommandError::PublishFailed { command, cause })
    }
}
