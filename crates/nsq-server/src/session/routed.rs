//! Publishes that go through the cluster's router, and are answered when the cluster has them.

use std::sync::Arc;

use nsq_core::{Now, TicketState, TicketWaiter};
use nsq_protocol::{CommandError, CommandName, Messages, TopicName};

use super::answers::{Awaited, Waiting};
use super::commands::Batch;
use super::{Observer, Session, Stop};
use crate::router::RouteError;

/// Messages for the router.
struct Routed<'r, I> {
    topic: &'r TopicName,
    bodies: I,
    /// In unix nanoseconds, if they are deferred.
    due: Option<i64>,
    command: CommandName,
    /// How many answers they get.
    publish_count: usize,
}

impl<O: Observer> Session<O> {
    /// The name of a topic that is routed.
    pub(super) fn routed_name(&mut self, topic: &str) -> Result<TopicName, Stop> {
        if let Some(known) = self.last_routed.as_ref()
            && known.as_str() == topic
        {
            return Ok(known.clone());
        }
        // The decoder has checked the name.
        let name = TopicName::parse(topic).map_err(|_| Stop::Drop)?;
        self.last_routed = Some(name.clone());
        Ok(name)
    }

    /// Routes the run of PUBs. The error ends the batch.
    #[inline(never)]
    pub(super) fn route_run(
        &mut self,
        batch: &mut Batch<'_, '_>,
        topic: &TopicName,
    ) -> Result<(), Stop> {
        let bodies = std::mem::take(&mut batch.run.bodies);
        let routed = Routed {
            topic,
            bodies: bodies.iter().copied(),
            due: None,
            command: CommandName::Publish,
            publish_count: bodies.len(),
        };
        let answered = self.route(routed, batch.now);
        if let Err(Stop::CreateTopic(..)) = answered {
            // The whole run again, once the topic is there.
            batch.at = batch.run.start;
        }
        answered?;
        batch.run.bodies = bodies;
        batch.run.bodies.clear();
        Ok(())
    }

    /// MPUB.
    pub(super) fn route_many(
        &mut self,
        topic: &TopicName,
        messages: Messages<'_>,
        now: Now,
    ) -> Result<(), Stop> {
        let routed = Routed {
            topic,
            bodies: messages.iter(),
            due: None,
            command: CommandName::PublishMany,
            publish_count: 1,
        };
        self.route(routed, now)
    }

    /// DPUB.
    pub(super) fn route_deferred(
        &mut self,
        topic: &TopicName,
        body: &[u8],
        due: Option<i64>,
        now: Now,
    ) -> Result<(), Stop> {
        let routed = Routed {
            topic,
            bodies: std::iter::once(body),
            due,
            command: CommandName::PublishDeferred,
            publish_count: 1,
        };
        self.route(routed, now)
    }

    fn route<'a>(
        &mut self,
        routed: Routed<'_, impl ExactSizeIterator<Item = &'a [u8]> + Clone>,
        now: Now,
    ) -> Result<(), Stop> {
        let Routed {
            topic,
            bodies,
            due,
            command,
            publish_count,
        } = routed;
        let message_count = bodies.len() as u64;
        let Some(router) = self.server.route(topic.as_str()) else {
            return Err(Stop::Drop);
        };
        let waiter = Arc::clone(&self.client) as Arc<dyn TicketWaiter>;
        match router.publish(topic, &mut bodies.clone(), due, now, waiter) {
            Ok(pending) => {
                self.observer.routed(topic, bodies, due, &pending, now);
                self.client.count_published(topic, message_count);
                if self.answers.is_empty() && pending.state() == TicketState::Safe {
                    self.answer_ok(publish_count);
                } else {
                    let awaited = Awaited::Pending(pending);
                    self.answers
                        .wait(Waiting::new(awaited, command, publish_count));
                }
                Ok(())
            }
            Err(RouteError::NoTopic) => Err(Stop::create(topic.clone(), None)),
            Err(RouteError::Refused(cause)) => {
                Err(self.refuse(&CommandError::PublishFailed { command, cause }))
            }
        }
    }
}
