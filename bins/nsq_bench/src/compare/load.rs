//! The loads that servers are compared under, and how one of them is run.

use nsq_protocol::TopicName;

use crate::{
    connection::{Hello, Socket},
    error::BenchError,
    options::{Compare, Publishing, Server, Subscribing, default_channel},
    report::Report,
    run::Plan,
};

/// One load: what is published and subscribed, and for how large a part of `--messages`.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// `--messages` is divided by this.
    fraction: u64,
    publishers: usize,
    batch: u32,
    window: u32,
    pub(crate) rate: u64,
    subscribers: usize,
    ready: u32,
}

const NO_PUBLISHER: Load = Load {
    name: "",
    fraction: 1,
    publishers: 0,
    batch: 1,
    window: 1,
    rate: 0,
    subscribers: 0,
    ready: 0,
};

/// In this order: the second takes what the first has left.
pub(crate) const LOADS: [Load; 7] = [
    Load {
        name: "MPUB of 200, 2 connections",
        publishers: 2,
        batch: 200,
        ..NO_PUBLISHER
    },
    Load {
        name: "consume and FIN that backlog, RDY 2500, 2 connections",
        subscribers: 2,
        ready: 2500,
        ..NO_PUBLISHER
    },
    Load {
        name: "PUB one by one, 1 connection",
        fraction: 20,
        publishers: 1,
        ..NO_PUBLISHER
    },
    Load {
        name: "PUB one by one, 16 connections",
        fraction: 10,
        publishers: 16,
        ..NO_PUBLISHER
    },
    Load {
        name: "PUB pipelined, window 64, 1 connection",
        fraction: 4,
        publishers: 1,
        window: 64,
        ..NO_PUBLISHER
    },
    Load {
        name: "MPUB of 200 and RDY 2500 live, 1 + 1 connections",
        publishers: 1,
        batch: 200,
        subscribers: 1,
        ready: 2500,
        ..NO_PUBLISHER
    },
    Load {
        name: "1000 PUB/s and RDY 1 live, end to end",
        fraction: 200,
        publishers: 1,
        rate: 1000,
        subscribers: 1,
        ready: 1,
        ..NO_PUBLISHER
    },
];

impl Load {
    /// Runs it against one server.
    ///
    /// # Errors
    /// The server cannot be reached or read, or has lost what it was given before.
    pub(crate) fn run(
        &self,
        options: &Compare,
        server: &Server,
        topic: &TopicName,
    ) -> Result<Report, BenchError> {
        let plan = self.plan(options, server, topic);
        if self.publishers == 0 {
            // The backlog of the load before; alone under --only, it has to be made.
            if options.only.is_some() {
                LOADS[0].fill(options, server, topic)?;
            }
            return plan.run();
        }
        if self.subscribers > 0 {
            return plan.run();
        }
        // Where a channel is there before the messages, publishing has its full price.
        create_channel(server, topic)?;
        let report = plan.run()?;
        let leaves_backlog = self.name == LOADS[0].name && options.only.is_none();
        if !leaves_backlog {
            // So that no load meets another's messages, in the channel or in memory.
            drain(&plan, report.published)?;
        }
        Ok(report)
    }

    fn fill(
        &self,
        options: &Compare,
        server: &Server,
        topic: &TopicName,
    ) -> Result<(), BenchError> {
        create_channel(server, topic)?;
        self.plan(options, server, topic).run().map(drop)
    }

    fn plan(&self, options: &Compare, server: &Server, topic: &TopicName) -> Plan {
        let publishing = Publishing {
            size: options.size,
            batch: self.batch,
            window: self.window,
            rate: self.rate,
            defer: None,
        };
        let batch = u64::from(self.batch);
        let messages = options.messages / self.fraction;
        let backlog_batch = u64::from(LOADS[0].batch);
        Plan {
            load: self.name.to_owned(),
            address: server.address.clone(),
            pid: server.pid,
            topic: topic.clone(),
            channel: default_channel(),
            publishing: (self.publishers > 0).then_some((self.publishers, publishing)),
            subscribing: (self.subscribers > 0)
                .then(|| (self.subscribers, subscribing(self.ready))),
            // Whole batches, and for the consumer as many as the batches before it came to.
            messages: Some(if self.publishers > 0 {
                messages / batch * batch
            } else {
                messages / backlog_batch * backlog_batch
            }),
            duration: None,
            patience: options.patience,
            layers: options.layers,
        }
    }
}

fn subscribing(ready: u32) -> Subscribing {
    Subscribing {
        ready,
        fin_batch: 0,
        output_buffer_timeout: None,
        msg_timeout: None,
    }
}

fn create_channel(server: &Server, topic: &TopicName) -> Result<(), BenchError> {
    let (socket, mut inbox) =
        Socket::open(0, &server.address, Hello::default(), SMALL_INBOX_BYTES)?;
    socket.subscribe(&mut inbox, topic, &default_channel())
}

/// Receives all that `plan` has published.
fn drain(plan: &Plan, messages: u64) -> Result<(), BenchError> {
    let drain = Plan {
        publishing: None,
        subscribing: Some((1, subscribing(2500))),
        messages: Some(messages),
        ..plan.clone()
    };
    let report = drain.run()?;
    match report.failures.first() {
        None => Ok(()),
        Some(failure) => Err(BenchError::Usage(format!(
            "what {} published did not come back: {failure}",
            plan.load
        ))),
    }
}

/// Enough for the answers to IDENTIFY and SUB.
const SMALL_INBOX_BYTES: usize = 1024;
