//! What every connection and every HTTP request shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nsq_core::broker::{Change, Surroundings};
use nsq_core::{Broker, ChannelCell, ClientId, StoreError, Tick, Topic, Wakes};
use nsq_lookup::peer::LookupHandle;
use nsq_protocol::identify::{IdentifyLimits, ServerFeatures};
use nsq_protocol::{Limits, TopicName};
use nsq_transport::tls::Acceptor;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::auth::Authorizer;
use crate::client::Client;
use crate::clock;
use crate::connection::Subscription;
use crate::drain::Drain;
use crate::http::Metrics;
use crate::settings::Settings;
use crate::syncer::Syncer;
use crate::timers::Timers;

/// What the core asks of this program: what may be made, and what is noted down for the tasks that do it.
pub(crate) struct Notes {
    pub(crate) admission: Admission,
    pub(crate) timers: Timers,
    pub(crate) syncer: Syncer,
    /// `nsqd.dat` is out of date.
    pub(crate) registry_changed: Notify,
    /// Who tells the nsqlookupds; set once nsqd runs.
    pub(crate) lookup: OnceLock<LookupHandle>,
}

impl Notes {
    pub(crate) fn new(admission: Admission) -> Notes {
        Notes {
            admission,
            timers: Timers::default(),
            syncer: Syncer::default(),
            registry_changed: Notify::new(),
            lookup: OnceLock::new(),
        }
    }
}

impl Surroundings for Notes {
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
        let Some(lookup) = self.lookup.get() else {
            return;
        };
        match change {
            Change::TopicCreated(topic) | Change::TopicDeleted(topic) => {
                lookup.topic_changed(&topic);
            }
            Change::ChannelCreated(topic, channel) | Change::ChannelDeleted(topic, channel) => {
                lookup.channel_changed(&topic, &channel);
            }
        }
    }
}

/// One nsqd.
pub(crate) struct Nsqd {
    pub(crate) settings: Settings,
    pub(crate) broker: Arc<Broker>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) limits: Limits,
    pub(crate) identify_limits: IdentifyLimits,
    pub(crate) features: ServerFeatures,
    /// With what to meet clients by TLS.
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) max_channel_consumers: usize,
    pub(crate) sync_publish: bool,
    /// `None` where everybody may do everything.
    pub(crate) authorizer: Option<Authorizer>,
    /// Unix seconds.
    pub(crate) start_time: i64,
    pub(crate) started: std::time::Instant,
    /// -1 for a unix socket.
    pub(crate) tcp_port: i32,
    /// -1 for a unix socket, 0 when HTTP is off.
    pub(crate) http_port: i32,
    /// 0 when HTTPS is off.
    pub(crate) https_port: u16,
    /// Where what outlives a connection runs.
    control: Handle,
    pub(crate) metrics: Metrics,
    next_client: AtomicU32,
    clients: Mutex<HashMap<ClientId, Arc<Client>>>,
    client_gone: Notify,
    is_exiting: AtomicBool,
    pub(crate) drain: Drain,
    /// Tells this process from every other nsqd.
    pub(crate) process: String,
    /// Held while changed settings are put into effect.
    applying: Mutex<()>,
}

/// What [`Nsqd::new`] cannot find in the settings.
pub(crate) struct Ports {
    /// `None` for a unix socket.
    pub(crate) tcp: Option<u16>,
    /// `None` for a unix socket, 0 when HTTP is off.
    pub(crate) http: Option<u16>,
    pub(crate) https: u16,
}

impl Nsqd {
    pub(crate) fn new(
        settings: Settings,
        broker: Arc<Broker>,
        notes: Arc<Notes>,
        ports: &Ports,
    ) -> Nsqd {
        Nsqd {
            limits: settings.limits(),
            identify_limits: settings.identify_limits(),
            features: settings.features(),
            acceptor: settings.acceptor().cloned(),
            max_channel_consumers: settings.max_channel_consumers(),
            sync_publish: settings.sync_publish(),
            authorizer: Authorizer::new(&settings, Handle::current()),
            settings,
            broker,
            notes,
            start_time: clock::unix_nanos() / 1_000_000_000,
            started: std::time::Instant::now(),
            tcp_port: ports.tcp.map_or(-1, i32::from),
            http_port: ports.http.map_or(-1, i32::from),
            https_port: ports.https,
            control: Handle::current(),
            metrics: Metrics::default(),
            // 0 is nobody: the owner of what was in flight before a restart.
            next_client: AtomicU32::new(1),
            clients: Mutex::default(),
            client_gone: Notify::new(),
            is_exiting: AtomicBool::new(false),
            drain: Drain::default(),
            process: random_name(),
            applying: Mutex::new(()),
        }
    }

    /// The topic of that name, made if it is new. With nsqlookupds configured, a new topic first gets the channels
    /// that it has elsewhere, so that none of them misses its first messages; publishes by others are accepted
    /// meanwhile. What the nsqlookupds do not say in time is logged and gone without.
    pub(crate) async fn create_topic(&self, name: &TopicName) -> Result<Arc<Topic>, StoreError> {
        let lookup = self
            .notes
            .lookup
            .get()
            .filter(|lookup| !lookup.addresses().is_empty());
        let (topic, is_new) =
            self.broker
                .get_or_create_topic(name, lookup.is_some(), clock::now())?;
        if let Some(lookup) = lookup.filter(|_| is_new) {
            let (lookup, made) = (lookup.clone(), Arc::clone(&topic));
            // A task of its own: whoever asked may leave, the topic must begin all the same.
            let beginning = self.control.spawn(async move {
                for channel in lookup.channels_of(made.name()).await.channels {
                    if let Err(error) = made.get_or_create_channel(&channel, clock::now()) {
                        tracing::error!(
                            "TOPIC({}): channel {channel} cannot be made: {error}",
                            made.name()
                        );
                    }
                }
                made.start(clock::now());
            });
            // It fails only when nsqd is going down.
            let _ = beginning.await;
        }
        Ok(topic)
    }

    /// An option was changed while nsqd runs, or whether it drains.
    pub(crate) fn settings_changed(&self) {
        // Of two changes at once the later must be the one that stays.
        let _applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = self.notes.lookup.get() {
            if self.broker.is_draining() {
                // Whose connection ends is forgotten by nsqlookupd, and nothing registers again.
                lookup.set_addresses(&[]);
            } else {
                lookup.set_addresses(&self.settings.nsqlookupd_tcp_addresses.current());
            }
        }
    }

    // ---- clients ----

    fn clients(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a connection from `remote_address`, `ip:port`.
    pub(crate) fn add_client(&self, remote_address: String, remote_ip: String) -> Arc<Client> {
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        let client = Arc::new(Client::new(
            id,
            remote_address,
            remote_ip,
            clock::unix_nanos() / 1_000_000_000,
        ));
        self.clients().insert(id, Arc::clone(&client));
        if self.is_exiting() {
            nsq_core::ClientHandle::close(&*client);
        }
        client
    }

    pub(crate) fn remove_client(&self, client: &Client) {
        self.clients().remove(&client.id);
        if self.is_exiting() {
            self.client_gone.notify_one();
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_gone(&self) {
        while !self.clients().is_empty() {
            self.client_gone.notified().await;
        }
    }

    /// How many connections there are.
    pub(crate) fn client_count(&self) -> usize {
        self.clients().len()
    }

    /// How many connections there have been.
    pub(crate) fn opened_count(&self) -> u64 {
        u64::from(self.next_client.load(Ordering::Relaxed).wrapping_sub(1))
    }

    /// Every connection, oldest first.
    pub(crate) fn all_clients(&self) -> Vec<Arc<Client>> {
        let mut clients: Vec<_> = self.clients().values().cloned().collect();
        clients.sort_by_key(|client| client.id);
        clients
    }

    /// A client's connection ended: its channel forgets it, but not what it holds.
    pub(crate) fn leave(&self, client: &Client, subscription: &Subscription) {
        let mut wakes = Wakes::default();
        let left = subscription
            .channel
            .lock()
            .unsubscribe(client.id, &mut wakes);
        wakes.ring();
        self.broker
            .client_left(&subscription.topic, &subscription.channel, left);
    }

    // ---- shutdown ----

    pub(crate) fn is_exiting(&self) -> bool {
        self.is_exiting.load(Ordering::Acquire)
    }

    /// Closes every client, now and from now on.
    pub(crate) fn close_clients(&self) {
        self.is_exiting.store(true, Ordering::Release);
        for client in self.all_clients() {
            nsq_core::ClientHandle::close(&*client);
        }
    }
}

fn random_name() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
