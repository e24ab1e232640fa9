//! A broker without a data path: for the ephemeral topics of a node whose durable topics are in shards.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use nsq_queue::SegmentPool;

use super::{Broker, Context, Host, Settings, topics_folder};
use crate::data_path::DataPath;

impl Broker {
    /// A broker that only has ephemeral topics. It neither reads nor writes a file; a durable topic is refused, as in the
    /// broker of a shard, and [`save_metadata`](Broker::save_metadata) does nothing.
    pub fn in_memory(settings: Settings, host: Arc<dyn Host>) -> Broker {
        let settings = Settings {
            is_replicated: true,
            ..settings
        };
        // The folder is never made, so the pool stays empty.
        let pool = SegmentPool::new(topics_folder(&settings.data_path).join("none"), 0);
        Broker {
            context: Arc::new(Context {
                settings,
                pool: Arc::new(pool),
                host,
                data_path: Arc::new(DataPath::new(None)),
                is_draining: AtomicBool::new(false),
                has_damage: AtomicBool::new(false),
                departed: Mutex::default(),
                discarded: Mutex::default(),
            }),
            topics: RwLock::new(HashMap::new()),
            making: Mutex::new(()),
            saving: Mutex::new(()),
            executing: Mutex::default(),
            is_exiting: AtomicBool::new(false),
            has_files: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use nsq_protocol::{ChannelName, TopicName};

    use crate::broker::Broker;
    use crate::error::StoreError;
    use crate::testing::{MORNING, Notes, settings_in};

    #[test]
    fn a_broker_in_memory_has_ephemeral_topics_and_leaves_the_data_path_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nsqd.dat"), "of a shard").unwrap();
        let broker = Broker::in_memory(settings_in(folder.path()), Arc::new(Notes::default()));
        let topic = |name: &str| {
            let name = TopicName::parse(name).unwrap();
            broker.get_or_create_topic(&name, false, MORNING)
        };
        assert!(matches!(topic("t"), Err(StoreError::Refused(_))));
        let (topic, is_new) = topic("t#ephemeral").unwrap();
        assert!(is_new);
        let channel = ChannelName::parse("c").unwrap();
        let cell = topic.get_or_create_channel(&channel, MORNING).unwrap();
        topic.publish([&b"body"[..]].into_iter(), MORNING).unwrap();
        assert_eq!(cell.lock().depth(), 1);
        broker.save_metadata().unwrap();
        assert_eq!(broker.release_free_segments(), 0);
        assert!(broker.delete_topic("t#ephemeral"));
        broker.close(MORNING);
        let names = fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["nsqd.dat"]);
        let kept = fs::read_to_string(folder.path().join("nsqd.dat")).unwrap();
        assert_eq!(kept, "of a shard");
    }
}
