//! What a session's commands do, for those who check it.

use std::sync::Arc;
use std::time::Duration;

use nsq_core::{ChannelCell, Delivery, NotInFlight, Now, Pending, PublishError};
use nsq_protocol::{MessageId, TopicName};

/// What is done with a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// FIN.
    Finish,
    /// REQ, with this delay.
    Requeue(Duration),
    /// TOUCH.
    Touch,
}

/// Learns what a session's commands came to, at the moment it happens: the simulation's model does. Nothing is called
/// for a `()`.
pub trait Observer {
    /// The client subscribed to a channel, which may have been made for it.
    fn subscribed(&mut self, _channel: &ChannelCell, _now: Now) {}
    /// Messages were published, or refused; `due` in unix nanoseconds, for a deferred one.
    fn published<'a>(
        &mut self,
        _topic: &TopicName,
        _bodies: impl Iterator<Item = &'a [u8]>,
        _due: Option<i64>,
        _outcome: Result<(), &PublishError>,
        _now: Now,
    ) {
    }
    /// Messages went to the cluster's router, and wait there for `pending`.
    fn routed<'a>(
        &mut self,
        _topic: &TopicName,
        _bodies: impl Iterator<Item = &'a [u8]>,
        _due: Option<i64>,
        _pending: &Arc<Pending>,
        _now: Now,
    ) {
    }
    /// A message was handed to the client.
    fn delivered(&mut self, _channel: &ChannelCell, _message: &Delivery<'_>, _now: Now) {}
    /// The client did something with a message. The channel is locked.
    fn handled(
        &mut self,
        _channel: &ChannelCell,
        _handling: Handling,
        _message: MessageId,
        _outcome: Result<(), NotInFlight>,
        _now: Now,
    ) {
    }
}

impl Observer for () {}
