//! The same request to many daemons at once.

use tokio::task::JoinSet;

use super::failure::{ClusterError, DaemonKind, Failure, Warnings};

/// What came back of one round of requests.
#[derive(Debug)]
pub(super) struct Round<T> {
    kind: DaemonKind,
    /// In the order of those that were asked.
    answers: Vec<T>,
    failures: Vec<Failure>,
}

/// Runs all requests at once, up to a bound, each in a task of its own, so that answers are decoded on all processors.
/// Dropping the future aborts them.
pub(super) async fn ask_all<T, F>(
    kind: DaemonKind,
    requests: impl IntoIterator<Item = F>,
) -> Round<T>
where
    F: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let mut waiting = requests.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut answers: Vec<(usize, Result<T, Failure>)> = Vec::new();
    loop {
        while running.len() < MOST_AT_ONCE
            && let Some((position, request)) = waiting.next()
        {
            running.spawn(async move { (position, request.await) });
        }
        match running.join_next().await {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime cancels a request, and it drops this future as well.
                Err(_) => std::future::pending().await,
            },
            None => break,
        }
    }
    answers.sort_by_key(|(position, _)| *position);
    let mut round = Round {
        kind,
        answers: Vec::with_capacity(answers.len()),
        failures: Vec::new(),
    };
    for (_, answer) in answers {
        match answer {
            Ok(answer) => round.answers.push(answer),
            Err(failure) => round.failures.push(failure),
        }
    }
    round
}

impl<T> Round<T> {
    /// Whether a daemon did not answer.
    pub(super) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The answers, the failures added to `warnings`.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`] when there is no answer, also because there was no daemon to ask.
    pub(super) fn some_answers(self, warnings: &mut Warnings) -> Result<Vec<T>, ClusterError> {
        if self.answers.is_empty() {
            return Err(ClusterError::Unanswered {
                kind: self.kind,
                failures: self.failures,
            });
        }
        warnings.add(self.failures);
        Ok(self.answers)
    }

    /// The answers, even if there are none; the failures are added to `warnings`.
    pub(super) fn any_answers(self, warnings: &mut Warnings) -> Vec<T> {
        warnings.add(self.failures);
        self.answers
    }
}

/// Enough for most clusters to be asked in one go; connections and answers are held for no more.
const MOST_AT_ONCE: usize = 64;
