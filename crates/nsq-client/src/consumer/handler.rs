//! Code that is called with messages, and what its outcome means.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::message::{Answer, Delivery};
use super::messages::Messages;

/// Why a handler failed. Any error type becomes one, and so does text.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// What deals with messages.
///
/// A closure is one: from a [`Delivery`] to a future of `()`, of an [`Answer`], or of a `Result` of one of those
/// with any error. `()` finishes the message; an error is logged, and the message requeued as a failure. So is one
/// whose handler panics.
pub trait Handler: Send + Sync + 'static {
    /// Deals with one message, and says what becomes of it.
    fn handle(
        &self,
        delivery: Delivery,
    ) -> impl Future<Output = Result<Answer, HandlerError>> + Send;
}

impl<F, Fut> Handler for F
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send,
{
    async fn handle(&self, delivery: Delivery) -> Result<Answer, HandlerError> {
        self(delivery).await.into_result()
    }
}

/// What a closure that handles messages may end with.
pub trait Outcome {
    /// The answer, or why there is a failure.
    ///
    /// # Errors
    /// The failure.
    fn into_result(self) -> Result<Answer, HandlerError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<Answer, HandlerError> {
        Ok(Answer::Finish)
    }
}

impl Outcome for Answer {
    fn into_result(self) -> Result<Answer, HandlerError> {
        Ok(self)
    }
}

impl<T: Outcome, E: Into<HandlerError>> Outcome for Result<T, E> {
    fn into_result(self) -> Result<Answer, HandlerError> {
        self.map_err(Into::into)?.into_result()
    }
}

/// Handles one message after the other until there are no more.
pub(super) async fn work<H: Handler>(messages: Messages, handler: Arc<H>) {
    while let Some(message) = messages.next().await {
        let handled = handler.handle(message.delivery().clone());
        let outcome = match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => Err("it panicked".into()),
        };
        let answer = outcome.unwrap_or_else(|error| {
            tracing::error!(
                "{} Handler returned error ({error}) for msg {}",
                messages.label(),
                message.id_text()
            );
            Answer::FAILURE
        });
        message.answer(answer);
        // Handlers that never wait must not keep the connections from the thread they share.
        tokio::task::coop::consume_budget().await;
    }
}
