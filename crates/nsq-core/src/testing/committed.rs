//! Two nodes that hold one data path each, as a replicated nsqd and its follower do: what is committed is executed by
//! both, and what the leader's consumers do is committed a little later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;

use super::{
    ALICE, Bells, Handle, MORNING, MSG_TIMEOUT, Notes, PLENTY, SMALL_SEGMENTS, contents_of,
    copy_folder, settings_in,
};
use crate::broker::{Broker, Host};
use crate::change::{Action, ChangeSink, DurableChange, LogKind};
use crate::channel::{Budget, Locality, Subscription};
use crate::command::Command;
use crate::metadata;
use crate::replica::Replica;
use crate::time::Now;
use crate::topic::ChannelCell;

/// What the leader's consumers did and no one else knows yet. Tests are short: what commands borrow may stay.
#[derive(Default)]
struct Progress(Mutex<Vec<Command<'static>>>);

pub(crate) fn topic_name(name: &str) -> &'static TopicName {
    Box::leak(Box::new(TopicName::try_from(name).unwrap()))
}

pub(crate) fn channel_name(name: &str) -> &'static ChannelName {
    Box::leak(Box::new(ChannelName::try_from(name).unwrap()))
}

impl ChangeSink for Progress {
    fn record(&self, change: DurableChange<'_>) {
        let topic = topic_name(change.topic.as_str());
        let channel = change.channel.map(|name| channel_name(name.as_str()));
        let command = match (change.action, channel) {
            (
                Action::Finished {
                    log,
                    floor,
                    sequences,
                },
                Some(channel),
            ) => Command::Finished {
                topic,
                channel,
                log,
                floor,
                sequences: Vec::leak(sequences.to_vec()),
            },
            (
                Action::Journaled {
                    unix_nanos,
                    entries,
                },
                Some(channel),
            ) => Command::Journaled {
                topic,
                channel,
                unix_nanos,
                entries: Vec::leak(entries.to_vec()),
            },
            (Action::FannedOut(Some(position)), None) => Command::FannedOut { topic, position },
            (Action::Appended { .. } | Action::Truncated { .. }, _) => {
                panic!("of a replicated topic, this is a command: {change:?}")
            }
            _ => return,
        };
        self.0.lock().unwrap().push(command);
    }
}

/// One node's data path, and how much of the commands it surely has.
struct Node {
    folder: tempfile::TempDir,
    stored: usize,
}

pub(crate) struct Pair {
    pub(crate) now: Now,
    pub(crate) bells: Arc<Bells>,
    notes: Arc<Notes>,
    /// All that was committed.
    log: Vec<Command<'static>>,
    progress: Arc<Progress>,
    leader: Node,
    broker: Option<Broker>,
    follower: Node,
    replica: Option<Replica>,
    /// How many commands the follower has executed.
    followed: usize,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let node = || Node {
            folder: tempfile::tempdir().unwrap(),
            stored: 0,
        };
        let mut pair = Pair {
            now: MORNING,
            bells: Arc::default(),
            notes: Arc::default(),
            log: Vec::new(),
            progress: Arc::default(),
            leader: node(),
            broker: None,
            follower: node(),
            replica: None,
            followed: 0,
        };
        pair.open_broker();
        pair.open_replica();
        pair
    }

    fn open_broker(&mut self) {
        let mut settings = settings_in(self.leader.folder.path());
        settings.is_replicated = true;
        self.progress = Arc::default();
        let sink = Arc::clone(&self.progress) as Arc<dyn ChangeSink>;
        let notes = Arc::clone(&self.notes) as Arc<dyn Host>;
        let broker = Broker::open_recorded(settings, notes, sink, self.now).unwrap();
        let ends = broker.topics().into_iter();
        let ends = ends.map(|topic| (topic.name().clone(), topic.ends()));
        broker.note_stored(&ends.collect());
        self.broker = Some(broker);
    }

    fn open_replica(&mut self) {
        let replica = Replica::open(self.follower.folder.path(), SMALL_SEGMENTS).unwrap();
        self.replica = Some(replica);
        self.followed = self.follower.stored;
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub(crate) fn replica(&mut self) -> &mut Replica {
        self.replica.as_mut().unwrap()
    }

    /// Commits a command: the leader executes it at once.
    pub(crate) fn commit(&mut self, command: Command<'static>) {
        let index = self.log.len();
        let is_barrier = command.is_barrier();
        if is_barrier {
            self.sync_leader();
            self.leader.stored = index;
        }
        self.broker().execute(&command, self.now).unwrap();
        self.log.push(command);
        if is_barrier {
            self.sync_leader();
            self.leader.stored = index + 1;
        }
    }

    fn sync_leader(&self) {
        let ends = self.broker().sync(self.now).unwrap();
        self.broker().note_stored(&ends);
    }

    /// Commits what consumers did.
    pub(crate) fn flush(&mut self) {
        let progress = std::mem::take(&mut *self.progress.0.lock().unwrap());
        for command in progress {
            self.commit(command);
        }
    }

    /// The follower executes up to `count` more commands.
    pub(crate) fn follow(&mut self, count: usize) {
        let end = self.log.len().min(self.followed.saturating_add(count));
        for index in self.followed..end {
            let command = self.log[index];
            let is_barrier = command.is_barrier();
            if is_barrier {
                self.replica().sync().unwrap();
                self.follower.stored = index;
            }
            self.replica().execute(&command).unwrap();
            if is_barrier {
                self.replica().sync().unwrap();
                self.follower.stored = index + 1;
            }
        }
        self.followed = end;
    }

    pub(crate) fn sync(&mut self) {
        self.sync_leader();
        self.leader.stored = self.log.len();
        self.replica().sync().unwrap();
        self.follower.stored = self.followed;
    }

    pub(crate) fn maintain(&mut self) {
        for topic in self.broker().topics() {
            topic.maintain(self.now);
        }
        self.replica().maintain().unwrap();
    }

    /// The follower is killed, and starts again.
    pub(crate) fn kill_follower(&mut self) {
        self.follower.move_on();
        self.replica = None;
        self.open_replica();
    }

    /// Another data path takes the follower's place, which has all that was committed.
    pub(crate) fn replace_follower(&mut self, folder: tempfile::TempDir) {
        self.follower.folder = folder;
        self.follower.stored = self.log.len();
        self.replica = None;
        self.open_replica();
    }

    /// The leader is killed and becomes the follower; the other one leads. What consumers did since the last flush is
    /// known to the killed one alone.
    pub(crate) fn kill_leader(&mut self) {
        self.leader.move_on();
        self.broker = None;
        self.swap();
    }

    /// The leader hands over to the follower.
    pub(crate) fn resign(&mut self) {
        self.flush();
        let _ = self.broker().resign(self.now);
        self.leader.stored = self.log.len();
        self.broker = None;
        self.swap();
    }

    /// The killed or resigned leader becomes the broker again, through a replica.
    pub(crate) fn lead_again(&mut self) {
        self.kill_leader();
        self.follow(usize::MAX);
        self.kill_leader();
    }

    fn swap(&mut self) {
        self.follow(usize::MAX);
        self.replica = None;
        std::mem::swap(&mut self.leader, &mut self.follower);
        self.leader.stored = self.leader.stored.min(self.log.len());
        self.open_broker();
        self.open_replica();
    }

    pub(crate) fn publish(&mut self, topic: &str, bodies: &[String], delay: Option<Duration>) {
        let now = self.now;
        let name = topic_name(topic);
        let numbered = self.broker().topic(topic).unwrap().number(|ids| {
            let records = bodies.iter().map(|body| NewRecord {
                id: ids.next(now.unix_nanos).as_u64(),
                timestamp: now.unix_nanos,
                due: delay.map_or(0, |delay| now.unix_after(delay)),
                attempts: 0,
                body: Vec::leak(body.as_bytes().to_vec()),
            });
            Vec::leak(records.collect())
        });
        let log = delay.map_or(LogKind::Main, |_| LogKind::Deferred);
        self.commit(Command::Publish {
            topic: name,
            log,
            records: numbered.unwrap(),
        });
    }

    pub(crate) fn cell(&self, topic: &str, channel: &str) -> Arc<ChannelCell> {
        let topic = self.broker().topic(topic).unwrap();
        topic.channel(channel).unwrap()
    }

    /// Messages that the leader gives to a consumer: ids and bodies.
    pub(crate) fn take(
        &self,
        cell: &Arc<ChannelCell>,
        messages: usize,
    ) -> Vec<(nsq_protocol::MessageId, String)> {
        let mut channel = cell.lock();
        if channel.client_count() == 0 {
            let handle = Handle {
                client: ALICE,
                bells: Arc::clone(&self.bells),
            };
            let subscription = Subscription {
                client: ALICE,
                handle: Arc::new(handle),
                msg_timeout: MSG_TIMEOUT,
                sample_rate: 0,
                locality: Locality::default(),
            };
            channel.subscribe(subscription, 0).unwrap();
            channel.set_ready_count(ALICE, 1000);
        }
        let mut got = Vec::new();
        let budget = Budget { messages, ..PLENTY };
        channel.take(ALICE, budget, self.now, |message| {
            let body = String::from_utf8(message.body.to_vec()).unwrap();
            got.push((message.id, body));
        });
        got
    }

    /// What a start would find at the leader after a kill, and at the follower.
    pub(crate) fn contents(&mut self) -> [BTreeMap<String, Vec<String>>; 2] {
        self.follow(usize::MAX);
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.leader.folder.path(), copy.path());
        // nsqd writes it soon after each change of it.
        metadata::save(copy.path(), &self.broker().metadata()).unwrap();
        let leaders = contents_of(copy.path());
        self.replica().sync().unwrap();
        self.follower.stored = self.followed;
        [leaders, contents_of(self.follower.folder.path())]
    }

    pub(crate) fn leader_path(&self) -> &Path {
        self.leader.folder.path()
    }

    pub(crate) fn follower_path(&self) -> &Path {
        self.follower.folder.path()
    }
}

impl Node {
    /// What a kill leaves is what is in the files at that moment; the old process lives on, unseen.
    fn move_on(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), folder.path());
        self.folder = folder;
    }
}
