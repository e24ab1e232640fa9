//! Messages, one after the other, for who answers them by hand.

use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, stream};

use super::inbox::Taken;
use super::message::Message;
use super::shared::Shared;

/// Where a consumer's messages are taken from. Clones take from the same, each message once.
///
/// It ends when the consumer has been stopped, or dropped.
#[derive(Clone)]
pub struct Messages {
    shared: Arc<Shared>,
}

impl Messages {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn label(&self) -> &str {
        &self.shared.label
    }

    /// Waits for the next message. `None` when there will be no more. May be given up at any time: no message is
    /// lost by that.
    pub async fn next(&self) -> Option<Message> {
        loop {
            match self.take() {
                Taken::Message(message) => return Some(message),
                Taken::Closed => return None,
                Taken::Nothing => self.shared.inbox.wait().await,
            }
        }
    }

    /// Waits for a message, and takes up to `most` that are there then. Empty when there will be no more, or if
    /// `most` is 0.
    pub async fn next_many(&self, most: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        while taken.len() < most {
            match self.take() {
                Taken::Message(message) => taken.push(message),
                Taken::Nothing if taken.is_empty() => self.shared.inbox.wait().await,
                Taken::Nothing | Taken::Closed => break,
            }
        }
        taken
    }

    /// Takes up to `most` of those that are there, without waiting.
    pub fn take_many(&self, most: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Taken::Message(message) = self.take() else {
                break;
            };
            taken.push(message);
        }
        taken
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Message> + Send {
        stream::unfold(self, |messages| async {
            let message = messages.next().await?;
            Some((message, messages))
        })
    }

    /// The next that is to be handed out.
    fn take(&self) -> Taken {
        loop {
            match self.shared.inbox.take() {
                Taken::Message(message) => {
                    if let Some(message) = self.shared.screen(message) {
                        return Taken::Message(message);
                    }
                }
                taken => return taken,
            }
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Messages").field(&self.shared.label).finish()
    }
}
