//! One piece of work for an nsqd of the suite: what is published and subscribed, by how many.

use nsq_protocol::{ChannelName, TopicName};

use nsq_bench::{
    connection::{Hello, Socket},
    error::BenchError,
    layers::Layers,
    options::{PATIENCE, Publishing, Subscribing, default_channel},
    report::Report,
    run::Plan,
};

use crate::suite::server::Server;

/// The shape of the work, independent of the server and the count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) publishers: usize,
    pub(crate) batch: u32,
    pub(crate) window: u32,
    /// Messages a second; 0 is as fast as answers come.
    pub(crate) rate: u64,
    pub(crate) subscribers: usize,
    pub(crate) ready: u32,
    pub(crate) size: u32,
    pub(crate) layers: Layers,
}

impl Work {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        name: "",
        publishers: 0,
        batch: 1,
        window: 1,
        rate: 0,
        subscribers: 0,
        ready: 0,
        size: 200,
        layers: Layers::NONE,
    };

    /// Publishing in batches.
    pub(crate) const fn batches(name: &'static str, publishers: usize) -> Self {
        Self {
            name,
            publishers,
            batch: BATCH,
            ..Self::NONE
        }
    }

    /// Consuming and finishing queued messages.
    pub(crate) const fn consume(name: &'static str, subscribers: usize) -> Self {
        Self {
            name,
            subscribers,
            ready: 2500,
            ..Self::NONE
        }
    }

    /// Does the work with `messages` of it, in whole batches.
    ///
    /// # Errors
    /// The work failed; the error names the server and the work.
    pub(crate) fn run(
        &self,
        server: &Server,
        topic: &TopicName,
        messages: u64,
    ) -> Result<Report, BenchError> {
        self.carry_out(server, &self.plan(server, topic, messages))
    }

    /// As [`Work::run`], without measuring what the server uses.
    ///
    /// # Errors
    /// As [`Work::run`].
    pub(crate) fn run_unmeasured(
        &self,
        server: &Server,
        topic: &TopicName,
        messages: u64,
    ) -> Result<Report, BenchError> {
        let plan = Plan {
            pid: None,
            ..self.plan(server, topic, messages)
        };
        self.carry_out(server, &plan)
    }

    fn carry_out(&self, server: &Server, plan: &Plan) -> Result<Report, BenchError> {
        let failed = |what: String| BenchError::Server {
            server: server.name().to_owned(),
            what: format!("{}: {what}", self.name),
        };
        let report = plan.run().map_err(|error| failed(error.to_string()))?;
        match report.failures.first() {
            None => Ok(report),
            Some(failure) => Err(failed(failure.clone())),
        }
    }

    fn plan(&self, server: &Server, topic: &TopicName, messages: u64) -> Plan {
        let publishing = Publishing {
            size: self.size,
            batch: self.batch,
            window: self.window,
            rate: self.rate,
            defer: None,
        };
        let subscribing = Subscribing {
            ready: self.ready,
            fin_batch: 0,
            output_buffer_timeout: None,
            msg_timeout: None,
        };
        let batch = u64::from(self.batch);
        Plan {
            load: self.name.to_owned(),
            address: server.address(),
            pid: Some(server.pid()),
            topic: topic.clone(),
            channel: default_channel(),
            publishing: (self.publishers > 0).then_some((self.publishers, publishing)),
            subscribing: (self.subscribers > 0).then_some((self.subscribers, subscribing)),
            messages: Some(messages.div_ceil(batch) * batch),
            duration: None,
            patience: PATIENCE,
            layers: self.layers,
        }
    }
}

/// Makes a channel without a subscriber: with a channel, publishing has its full cost.
///
/// # Errors
/// The server refuses or stalls.
pub(crate) fn create_channel(
    server: &Server,
    topic: &TopicName,
    channel: &ChannelName,
) -> Result<(), BenchError> {
    let (socket, mut inbox) =
        Socket::open(0, &server.address(), Hello::default(), SMALL_INBOX_BYTES)?;
    socket.subscribe(&mut inbox, topic, channel)
}

/// The batch of MPUB throughout.
pub(crate) const BATCH: u32 = 200;
/// Enough for the answers to IDENTIFY and SUB.
const SMALL_INBOX_BYTES: usize = 1024;
