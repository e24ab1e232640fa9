//! Publishing records to every nsqd.

use std::collections::VecDeque;

use nsq_client::{Producer, PublishError, Receipt, TopicName};
use nsq_daemon::stop::Stop;
use nsq_tools::fatal;
use nsq_tools::progress::Progress;

use crate::settings::Settings;

/// Most records on their way to an nsqd without an answer.
pub(crate) const WINDOW: usize = 1000;

/// Sends every record to every nsqd, and minds the answers.
#[derive(Debug)]
pub(crate) struct Publisher {
    topic: TopicName,
    producers: Vec<Producer>,
    waiting: VecDeque<Receipt>,
    most_waiting: usize,
    answered: u64,
    progress: Progress,
}

impl Publisher {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Stop> {
        let producers = settings
            .nsqds
            .iter()
            .map(|address| {
                Producer::new(address, settings.config.clone())
                    .map_err(|error| fatal(format_args!("failed to create nsq.Producer - {error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            topic: settings.topic.clone(),
            most_waiting: WINDOW * producers.len(),
            producers,
            waiting: VecDeque::new(),
            answered: 0,
            progress: Progress::new("messages published"),
        })
    }

    /// Sends a record, once there is room among those that wait for an answer.
    pub(crate) async fn publish(&mut self, record: &[u8]) -> Result<(), Stop> {
        for producer in &self.producers {
            let receipt = producer.start_publish(&self.topic, record).await;
            match receipt {
                Ok(receipt) => self.waiting.push_back(receipt),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        if self.waiting.len() >= self.most_waiting {
            // In halves: one wake-up then minds many answers.
            self.mind_down_to(self.most_waiting / 2).await?;
        }
        Ok(())
    }

    /// Waits for every answer.
    pub(crate) async fn settle(&mut self) -> Result<(), Stop> {
        self.mind_down_to(0).await
    }

    /// Minds what is still on its way, and closes the connections.
    pub(crate) async fn finish(mut self) -> Result<(), Stop> {
        let outcome = self.settle().await;
        for producer in &self.producers {
            producer.stop().await;
        }
        self.progress.finish(self.records());
        outcome
    }

    async fn mind_down_to(&mut self, left: usize) -> Result<(), Stop> {
        while self.waiting.len() > left
            && let Some(receipt) = self.waiting.pop_front()
        {
            match receipt.await {
                Ok(()) => self.answered += 1,
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.progress.show(self.records());
        Ok(())
    }

    /// The error that ends the program. What waits is given up.
    fn failed(&mut self, error: &PublishError) -> Stop {
        self.waiting.clear();
        fatal(error)
    }

    /// Records that every nsqd has taken.
    fn records(&self) -> u64 {
        self.answered / self.producers.len().max(1) as u64
    }
}
