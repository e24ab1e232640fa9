//! Publishing to whichever of several nsqds is well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nsq_protocol::TopicName;

use crate::config::Config;
use crate::error::SetupError;
use crate::host_pool::{HostPool, Mode};
use crate::producer::{Producer, PublishError};

/// Publishes each message to one of several nsqds.
///
/// One that cannot be reached, or cannot write, is passed over for the next, as long as it is certain that it does
/// not have the message; otherwise the publish fails, and the caller decides between perhaps none and perhaps two.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nsq_client::{Config, Mode, ProducerPool, TopicName};
///
/// let addresses = ["10.0.0.1:4150", "10.0.0.2:4150"];
/// let pool = ProducerPool::new(&addresses, &Config::default(), Mode::HostPool)?;
/// pool.publish(&TopicName::parse("orders")?, "one").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProducerPool {
    producers: Vec<Producer>,
    hosts: Mutex<HostPool>,
}

impl ProducerPool {
    /// For the nsqds at these addresses, each `host:port`, without connecting.
    ///
    /// # Errors
    /// [`SetupError::Config`] for a configuration that does not hold together.
    ///
    /// # Panics
    /// If there is no address.
    pub fn new<A: AsRef<str>>(
        addresses: &[A],
        config: &Config,
        mode: Mode,
    ) -> Result<Self, SetupError> {
        let producers = addresses
            .iter()
            .map(|address| Producer::new(address.as_ref(), config.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            hosts: Mutex::new(HostPool::new(producers.len(), mode)),
            producers,
        })
    }

    /// Publishes a message to one of them, and waits until it has it.
    ///
    /// # Errors
    /// The last one's [`PublishError`], when none took it, or it is not certain that none did.
    pub async fn publish(
        &self,
        topic: &TopicName,
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        let body = body.as_ref();
        let mut tries = Tries::new(self);
        loop {
            let outcome = tries.next_producer().publish(topic, body).await;
            if let Some(result) = tries.judge(outcome) {
                return result;
            }
        }
    }

    /// Publishes several messages at once, all to the same one.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_many<B: AsRef<[u8]>>(
        &self,
        topic: &TopicName,
        bodies: &[B],
    ) -> Result<(), PublishError> {
        let mut tries = Tries::new(self);
        loop {
            let producer = tries.next_producer();
            let outcome = producer.publish_many(topic, bodies).await;
            if let Some(result) = tries.judge(outcome) {
                return result;
            }
        }
    }

    /// The producers, in the order of their addresses.
    pub fn producers(&self) -> &[Producer] {
        &self.producers
    }

    /// Stops all of them; see [`Producer::stop`].
    pub async fn stop(&self) {
        for producer in &self.producers {
            producer.stop().await;
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HostPool> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One publish, which may take several tries.
struct Tries<'a> {
    pool: &'a ProducerPool,
    left: usize,
    /// Which one is being tried, and since when.
    current: (usize, Instant),
}

impl<'a> Tries<'a> {
    fn new(pool: &'a ProducerPool) -> Self {
        Self {
            pool,
            left: pool.producers.len(),
            current: (0, Instant::now()),
        }
    }

    fn next_producer(&mut self) -> &'a Producer {
        let now = Instant::now();
        let index = self.pool.hosts().choose(now);
        self.left -= 1;
        self.current = (index, now);
        &self.pool.producers[index]
    }

    /// Notes how it went. `None` to try the next.
    fn judge(&self, outcome: Result<(), PublishError>) -> Option<Result<(), PublishError>> {
        let (index, began) = self.current;
        let now = Instant::now();
        match &outcome {
            Ok(()) => {
                let took = now.saturating_duration_since(began);
                self.pool.hosts().succeeded(index, now, took);
            }
            Err(error) if error.is_about_nsqd() => {
                self.pool.hosts().failed(index, now);
                if self.left > 0 && !error.may_have_been_accepted() {
                    return None;
                }
            }
            Err(_) => {}
        }
        Some(outcome)
    }
}
