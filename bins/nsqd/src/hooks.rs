//! The requests of the core and the server to this program: each leaves a note, and a task does the work.

use std::sync::Arc;

use nsq_core::broker::{Change, Host};
use nsq_core::{ChannelCell, Tick};
use tokio::sync::Notify;

use crate::admission::{Admission, FIRST_COMMAND_TIMEOUT};
use crate::registration::Registration;
use crate::sync_runner::SyncRunner;
use crate::timers::Timers;

/// What one broker asks of this program.
pub(crate) struct BrokerHooks {
    admission: Arc<Admission>,
    /// Shared by all brokers.
    timers: Arc<Timers>,
    /// The broker's `nsqd.dat` is out of date.
    pub(crate) registry_changed: Notify,
    registration: Arc<Registration>,
}

impl BrokerHooks {
    pub(crate) fn new(
        admission: Arc<Admission>,
        timers: Arc<Timers>,
        registration: Arc<Registration>,
    ) -> BrokerHooks {
        BrokerHooks {
            admission,
            timers,
            registry_changed: Notify::new(),
            registration,
        }
    }
}

/// A shard's broker asks for ephemeral channels only: what is durable is created for the whole cluster.
impl Host for BrokerHooks {
    fn may_make_topic(&self, topic_count: usize) -> Result<(), String> {
        self.admission.may_make_topic(topic_count)
    }

    fn may_make_channel(&self, channel_count: usize) -> Result<(), String> {
        self.admission.may_make_channel(channel_count)
    }

    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick) {
        self.timers.plan(channel, at);
    }

    fn registry_changed(&self, change: Change) {
        self.registry_changed.notify_one();
        self.registration.announce(&change);
    }
}

/// What the server asks of this program.
pub(crate) struct ServerHooks {
    pub(crate) admission: Arc<Admission>,
    pub(crate) sync_runner: Arc<SyncRunner>,
}

impl nsq_server::Host for ServerHooks {
    fn sync_begins(&self) {
        self.sync_runner.begin();
    }

    fn sync_gathered(&self) {
        self.sync_runner.look_again();
    }

    fn client_was_silent(&self, remote_address: &str, cause: &str) {
        self.admission.gates.refusals.note(
            FIRST_COMMAND_TIMEOUT,
            format_args!("PROTOCOL(V2): [{remote_address}] - {cause}"),
        );
    }
}
