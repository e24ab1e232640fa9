//! Sends publishes to one node after the other, until each is answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::nodes::Nodes;
use crate::error::ConnectError;
use crate::producer::{Connection, Producer, PublishError, Receipt};

/// A publish that is not answered yet.
pub(super) struct Publish {
    /// The whole command.
    command: Vec<u8>,
    reply: oneshot::Sender<Result<(), PublishError>>,
    /// From then on it is not tried again.
    deadline: Instant,
    /// A node may have stored it without an answer.
    may_be_stored: bool,
    /// Its part of what may wait.
    _room: OwnedSemaphorePermit,
}

/// How long things may take.
pub(super) struct Timing {
    /// A node, to answer.
    pub(super) answer: Duration,
    /// A publish, over all tries.
    pub(super) give_up: Duration,
}

pub(super) struct Driver {
    nodes: Nodes,
    queue: mpsc::UnboundedReceiver<Publish>,
    /// No more will come.
    is_closed: bool,
    /// In the order in which they were started.
    unanswered: VecDeque<Publish>,
    timing: Timing,
    delay: Duration,
}

impl Publish {
    pub(super) fn new(
        command: Vec<u8>,
        reply: oneshot::Sender<Result<(), PublishError>>,
        deadline: Instant,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            command,
            reply,
            deadline,
            may_be_stored: false,
            _room: room,
        }
    }

    fn answer(self, answer: Result<(), PublishError>) {
        // Who published may not care.
        let _ = self.reply.send(answer);
    }
}

impl Driver {
    pub(super) fn new(
        nodes: Nodes,
        queue: mpsc::UnboundedReceiver<Publish>,
        timing: Timing,
    ) -> Self {
        Self {
            nodes,
            queue,
            is_closed: false,
            unanswered: VecDeque::new(),
            timing,
            delay: FIRST_DELAY,
        }
    }

    /// Until no more publishes can come and all are answered.
    pub(super) async fn run(mut self) {
        while self.has_work().await {
            let node = self.nodes.current();
            let Err(error) = self.publish_through(&node).await else {
                continue;
            };
            let address = node.address();
            tracing::warn!("({address}) trying another node - {error}");
            self.give_up(&error);
            if self.nodes.pass_over() {
                sleep(self.delay).await;
                self.delay = (self.delay * 2).min(LONGEST_DELAY);
            }
        }
        self.nodes.current().stop().await;
    }

    async fn has_work(&mut self) -> bool {
        if self.unanswered.is_empty() && !self.is_closed {
            self.receive().await;
        }
        !self.unanswered.is_empty()
    }

    async fn receive(&mut self) {
        match self.queue.recv().await {
            Some(publish) => self.unanswered.push_back(publish),
            None => self.is_closed = true,
        }
    }

    /// Publishes through this node, as long as that works. Returns without an error once nothing is left to do.
    async fn publish_through(&mut self, node: &Producer) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.timing.answer;
        let connected = timeout_at(deadline, node.connection()).await;
        let connection = connected.map_err(|_| PublishError::NotSent(self.late()))??;
        self.nodes.learn(&node.cluster_nodes());
        let outcome = self.publish_over(&connection).await;
        if outcome.is_err() {
            // It must not store now what is sent again elsewhere.
            connection.cut();
        }
        outcome
    }

    async fn publish_over(&mut self, connection: &Connection) -> Result<(), PublishError> {
        // Of the first ones that are not answered.
        let mut sent: VecDeque<(Receipt, Instant)> = VecDeque::new();
        loop {
            while let Some(publish) = self.unanswered.get_mut(sent.len()) {
                let Some(receipt) = connection.start(&publish.command) else {
                    break;
                };
                publish.may_be_stored = true;
                sent.push_back((receipt, Instant::now() + self.timing.answer));
            }
            let Some((receipt, deadline)) = sent.front_mut() else {
                return match self.unanswered.is_empty() {
                    false => Err(PublishError::NotSent(Arc::new(ConnectError::Closed))),
                    true if self.is_closed => Ok(()),
                    true => {
                        self.receive().await;
                        continue;
                    }
                };
            };
            tokio::select! {
                biased;
                answer = timeout_at(*deadline, receipt) => {
                    sent.pop_front();
                    self.take_answer(answer.unwrap_or_else(|_| Err(PublishError::Lost(self.late()))))?;
                }
                next = self.queue.recv(), if !self.is_closed => match next {
                    Some(publish) => self.unanswered.push_back(publish),
                    None => self.is_closed = true,
                }
            }
        }
    }

    /// What a node said of the oldest publish. An error if another node has to be tried.
    fn take_answer(&mut self, answer: Result<(), PublishError>) -> Result<(), PublishError> {
        if let Err(error) = &answer
            && error.is_about_nsqd()
        {
            return Err(error.clone());
        }
        self.nodes.worked();
        self.delay = FIRST_DELAY;
        if let Some(publish) = self.unanswered.pop_front() {
            publish.answer(answer);
        }
        Ok(())
    }

    /// Answers publishes that have been tried for long enough.
    fn give_up(&mut self, last: &PublishError) {
        let now = Instant::now();
        while let Some(publish) = self
            .unanswered
            .pop_front_if(|publish| publish.deadline <= now)
        {
            let error = PublishError::GivenUp {
                after: self.timing.give_up,
                last: Box::new(last.clone()),
                may_have_been_accepted: publish.may_be_stored,
            };
            publish.answer(Err(error));
        }
    }

    fn late(&self) -> Arc<ConnectError> {
        Arc::new(ConnectError::ReadTimeout(self.timing.answer))
    }
}

/// After all nodes were tried without success; then twice as long, and so on.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
