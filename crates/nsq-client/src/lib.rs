//! An asynchronous client for NSQ: consumers and producers on tokio, for nsqd of this suite and upstream's.
//!
//! # Consuming
//!
//! A [`Consumer`] takes one channel's messages from any number of nsqds, named ones or those that nsqlookupd
//! knows. A handler's outcome answers the message: success finishes it, an error has it come again later and
//! slows the consumer down for a while.
//!
//! ```no_run
//! use nsq_client::{Config, Consumer, Delivery};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.max_in_flight = 200;
//! let consumer = Consumer::new("orders", "billing", config)?;
//! // Eight at a time.
//! consumer.serve(8, |order: Delivery| async move {
//!     let text = std::str::from_utf8(order.body())?;
//!     println!("{text}, delivery {}", order.attempts());
//!     Ok::<(), std::str::Utf8Error>(())
//! });
//! consumer.connect_to_nsqlookupd("127.0.0.1:4161").await?;
//! tokio::signal::ctrl_c().await?;
//! consumer.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Messages can also be taken one by one, and answered by hand, in any order and from anywhere:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use nsq_client::{Config, Consumer};
//!
//! let consumer = Consumer::new("orders", "archive", Config::default())?;
//! consumer.connect_to_nsqd("127.0.0.1:4150").await?;
//! let messages = consumer.messages();
//! while let Some(message) = messages.next().await {
//!     if message.body().starts_with(b"{") {
//!         message.finish();
//!     } else {
//!         message.requeue(None);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Publishing
//!
//! A [`Producer`] publishes to one nsqd. It connects by itself, and again when it has to. Publishes can overlap:
//! each waits for its own answer only.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use nsq_client::{Config, Producer, TopicName};
//!
//! let producer = Producer::new("127.0.0.1:4150", Config::default())?;
//! let topic = TopicName::parse("orders")?;
//! producer.publish(&topic, "one").await?;
//! producer.publish_many(&topic, &["two", "three"]).await?;
//!
//! // Both on their way before either is answered.
//! let four = producer.start_publish(&topic, "four").await?;
//! let five = producer.start_publish(&topic, "five").await?;
//! if let Err(error) = four.await
//!     && !error.may_have_been_accepted()
//! {
//!     producer.publish(&topic, "four").await?;
//! }
//! five.await?;
//! producer.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | to | see |
//! |---|---|
//! | set options, by field or as `--consumer-opt` has them | [`Config`], [`Config::set`], [`Config::set_pair`] |
//! | choose, per message, when and how it comes again | [`Answer`], [`Message`] |
//! | hold messages and answer many at once | [`Messages::next_many`], [`Consumer::is_starved`] |
//! | hear of connections, backing off, messages given up | [`ConsumerBuilder::on_event`], [`ConsumerEvent`] |
//! | know whether a failed publish may have arrived | [`PublishError::may_have_been_accepted`] |
//! | publish to one of several nsqds | [`ProducerPool`], [`HostPool`] |
//! | publish to a cluster, in order, while its nodes come and go | [`ClusterProducer`] |
//!
//! # Logging
//!
//! Everything goes to `tracing` as plain text, without fields, under targets that begin with `nsq_client`. A
//! consumer's lines begin with its number, topic and channel: `  1 [orders/billing] (127.0.0.1:4150) connecting to
//! nsqd`.
//!
//! # What it does otherwise than go-nsq
//!
//! - It keeps reading while handlers are busy, so that heartbeats are answered; ready counts bound what waits.
//! - Ready counts never add up to more than max in flight, also after it was lowered, and rise again when a
//!   connection ends.
//! - Messages of a connection that has ended are not handed out: nsqd delivers them again anyway.
//! - It waits for nsqd to confirm a subscription, so that a refusal is an error of the connection.
//! - If TLS is asked for and nsqd has none, there is no connection.

mod cluster_producer;
mod config;
mod connect;
mod consumer;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/client.rs"]
pub mod fuzz;
mod host_pool;
mod lookup;
mod outbox;
mod producer;
mod producer_pool;
mod random;
mod transport;
mod wire;

pub use cluster_producer::{ClusterProducer, ClusterProducerBuilder};
pub use config::{BackoffStrategy, Config, ConfigError, Secret, TlsVersion};
pub use consumer::{
    Answer, Consumer, ConsumerBuilder, ConsumerEvent, ConsumerStats, Delivery, Handler,
    HandlerError, Message, Messages, Outcome,
};
pub use error::{ConnectError, SetupError};
pub use host_pool::{HostPool, Mode};
pub use lookup::LookupError;
pub use nsq_protocol::{ChannelName, InvalidName, RawMessageId, TopicName};
pub use producer::{Producer, ProducerBuilder, PublishError, Receipt};
pub use producer_pool::ProducerPool;

#[cfg(test)]
mod tests;
