//! The shards that this node leads: a table of brokers, and who has to be told when it changes.
//!
//! ```text
//! add, remove, note_change ─▶ version + 1 ─▶ the subscribers are woken ─▶ Session compares versions, and attaches or drops parts
//! ```
//! A shard that was [removed](Shards::remove) from the table is *retired*: if its broker closes its channels now, that does not
//! close their clients.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nsq_core::{Broker, ClientHandle, ClientId};
use nsq_protocol::{ChannelName, TopicName};

use crate::client::Client;

/// A shard that this node leads. Clones are the same.
#[derive(Clone)]
pub struct ServedShard {
    /// Its number in the directory.
    pub number: u64,
    /// Its topics.
    pub broker: Arc<Broker>,
    is_retired: Arc<AtomicBool>,
}

impl ServedShard {
    /// Whether this node has stopped leading it: its broker is closed, or about to be.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }
}

impl fmt::Debug for ServedShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedShard")
            .field("number", &self.number)
            .field("is_retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}

/// The shards that this node leads; none without a cluster, where [`Server::broker`](crate::Server::broker) is all there is.
///
/// A subscription has a part in each of them. A session attaches to new parts, and drops those of retired shards, when it finds
/// that [`version`](Self::version) has changed; whatever changes it wakes the subscribers whom it may concern.
pub struct Shards {
    table: RwLock<Arc<[ServedShard]>>,
    version: AtomicU64,
    subscribers: Mutex<HashMap<TopicName, HashMap<ClientId, Subscriber>>>,
}

struct Subscriber {
    channel: ChannelName,
    client: Arc<Client>,
}

impl Default for Shards {
    fn default() -> Shards {
        Shards {
            table: RwLock::new(Arc::new([])),
            version: AtomicU64::new(0),
            subscribers: Mutex::default(),
        }
    }
}

impl Shards {
    /// The shards as they are now.
    pub fn snapshot(&self) -> Arc<[ServedShard]> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Grows with every change of the table, and with every topic or channel that is made in one of the shards.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// This node leads shard `number` from now on: every subscription gets a part in it. The shard's topics and channels should
    /// agree with the directory by now, since the deletion of one closes its clients.
    pub fn add(&self, number: u64, broker: Arc<Broker>) {
        self.change_table(|shards| {
            retire(shards, number);
            shards.push(ServedShard {
                number,
                broker,
                is_retired: Arc::default(),
            });
        });
        self.note_change(None);
    }

    /// This node leads shard `number` no longer. Returns its broker, which [resigns](Broker::resign) before or after this call:
    /// the clients stay connected, and nothing of it is in flight any more. If it is closed instead, that must come after.
    pub fn remove(&self, number: u64) -> Option<Arc<Broker>> {
        let removed = self.change_table(|shards| retire(shards, number));
        self.note_change(None);
        removed.map(|shard| shard.broker)
    }

    /// `topic` or one of its channels was made in one of the shards, or, with `None`, anything may have changed: subscriptions
    /// look for new parts. Deletions need no call, since a deleted channel closes its clients.
    pub fn note_change(&self, topic: Option<&TopicName>) {
        self.version.fetch_add(1, Ordering::AcqRel);
        let subscribers = self.subscribers();
        let concerned = match topic {
            Some(topic) => subscribers.get(topic).into_iter().collect(),
            None => subscribers.values().collect::<Vec<_>>(),
        };
        for subscriber in concerned.into_iter().flat_map(HashMap::values) {
            subscriber.client.wake();
        }
    }

    /// `topic`, or only that channel of it, was deleted in the directory: closes its clients, those without any part among
    /// them.
    pub fn note_deleted(&self, topic: &TopicName, channel: Option<&ChannelName>) {
        if let Some(subscribers) = self.subscribers().get(topic) {
            let concerned = subscribers
                .values()
                .filter(|subscriber| channel.is_none_or(|channel| *channel == subscriber.channel));
            concerned.for_each(|subscriber| subscriber.client.close());
        }
    }

    /// From now on the client is woken when its subscription may have new parts.
    pub(crate) fn register(&self, topic: &TopicName, channel: &ChannelName, client: &Arc<Client>) {
        let mut subscribers = self.subscribers();
        let of_topic = subscribers.entry(topic.clone()).or_default();
        let subscriber = Subscriber {
            channel: channel.clone(),
            client: Arc::clone(client),
        };
        of_topic.insert(client.id(), subscriber);
    }

    /// Undoes [`register`](Self::register).
    pub(crate) fn unregister(&self, topic: &TopicName, client: ClientId) {
        let mut subscribers = self.subscribers();
        if let Some(of_topic) = subscribers.get_mut(topic) {
            of_topic.remove(&client);
            if of_topic.is_empty() {
                subscribers.remove(topic);
            }
        }
    }

    fn change_table<T>(&self, change: impl FnOnce(&mut Vec<ServedShard>) -> T) -> T {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut shards = table.to_vec();
        let outcome = change(&mut shards);
        *table = shards.into();
        outcome
    }

    fn subscribers(&self) -> MutexGuard<'_, HashMap<TopicName, HashMap<ClientId, Subscriber>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a shard out of the table.
fn retire(shards: &mut Vec<ServedShard>, number: u64) -> Option<ServedShard> {
    let at = shards.iter().position(|shard| shard.number == number)?;
    let shard = shards.remove(at);
    shard.is_retired.store(true, Ordering::Release);
    Some(shard)
}

/// How a shard's channel reaches a client that has a part in it.
pub(crate) struct PartHandle {
    client: Arc<Client>,
    /// The shard's. Not the shard: its broker would keep itself alive.
    is_retired: Arc<AtomicBool>,
}

impl PartHandle {
    pub(crate) fn new(client: &Arc<Client>, shard: &ServedShard) -> PartHandle {
        PartHandle {
            client: Arc::clone(client),
            is_retired: Arc::clone(&shard.is_retired),
        }
    }
}

impl ClientHandle for PartHandle {
    fn wake(&self) {
        self.client.wake();
    }

    /// Closes the connection when the channel was deleted. When this node only stopped leading the shard, the session drops
    /// its part.
    fn close(&self) {
        if self.is_retired.load(Ordering::Acquire) {
            self.client.wake();
        } else {
            self.client.close();
        }
    }
}
