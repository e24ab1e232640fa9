//! What a crash of the machine leaves of a replicated data path, and what a start makes of it.
//!
//! Of what was written after the last sync, any part may be there: whole records after damaged ones, too. The commands of
//! that time are executed again as far as the log of commands still has them. Where it lost its end as well, a record that
//! is there already belongs to no command any more, and every message after it would have another place than on the other
//! replicas. So the owner of the data path stores with each sync where the logs [end](Ends), and the start cuts them off
//! there.

use std::path::Path;
use std::sync::Arc;

use nsq_queue::{LogOptions, SegmentPool, Writer, private, sync_file_system};

use crate::broker::{OpenError, topics_folder};
use crate::change::{FanOut, LogKind};
use crate::channel::has_log;
use crate::ends::{self, Ends};
use crate::error::StoreError;
use crate::registry::Registry;

/// Cuts the logs of all topics off where they ended at the last sync. A topic that `stored` does not list was made later. No
/// one may have the data path open. What is cut off is on the disk when this returns.
///
/// A log that does not reach so far was damaged; it is left to those who [open](crate::replica::Replica) it to find that.
///
/// # Errors
/// When the files cannot be read or written; then all of it is to be done again.
pub fn cut_to(data_path: &Path, options: LogOptions, stored: &Ends) -> Result<(), OpenError> {
    let none = FanOut {
        main: 0,
        deferred: None,
    };
    each_topic(data_path, options, |name, folder, main, deferred| {
        let ends = stored.get(name).copied().unwrap_or(none);
        ends::forget(folder);
        cut(folder, main, ends.main)?;
        if let Some(deferred) = deferred {
            cut(folder, deferred, ends.of(LogKind::Deferred))?;
        }
        ends::note(folder, ends);
        Ok(())
    })
}

/// Where the logs of all topics end, which are on the disk when this returns.
///
/// # Errors
/// As [`cut_to`].
pub fn ends_of(data_path: &Path, options: LogOptions) -> Result<Ends, OpenError> {
    let mut found = Ends::new();
    each_topic(data_path, options, |name, _, main, deferred| {
        found.insert(name.clone(), FanOut::ends(main, deferred.as_deref()));
        Ok(())
    })?;
    Ok(found)
}

fn each_topic(
    data_path: &Path,
    options: LogOptions,
    mut work: impl FnMut(
        &nsq_protocol::TopicName,
        &Path,
        &mut Writer,
        Option<&mut Writer>,
    ) -> Result<(), StoreError>,
) -> Result<(), OpenError> {
    let topics = topics_folder(data_path);
    let registry = Registry::read(data_path)?;
    if registry.topics.is_empty() {
        return Ok(());
    }
    let free = topics.join("free");
    private::create_folders(&free).map_err(|error| StoreError::io("create", &free, error))?;
    let pool = Arc::new(SegmentPool::new(free, 0));
    for name in registry.topics.keys() {
        let folder = topics.join(format!("{name}.topic"));
        // One that only nsqd.dat names has no folder before it is used.
        if !folder.exists() {
            continue;
        }
        let open = |log: &str| -> Result<Writer, StoreError> {
            Ok(Writer::open(&folder, log, Arc::clone(&pool), options)?.0)
        };
        let mut main = open("main")?;
        let mut deferred = if has_log(&folder, "deferred") {
            Some(open("deferred")?)
        } else {
            None
        };
        work(name, &folder, &mut main, deferred.as_mut())?;
    }
    sync_file_system(&topics).map_err(StoreError::from)?;
    Ok(())
}

fn cut(folder: &Path, log: &mut Writer, to: u64) -> Result<(), StoreError> {
    let (first, end) = (log.log().first_sequence(), log.log().end_sequence());
    if to >= end || to < first {
        return Ok(());
    }
    let folder = folder.display();
    tracing::info!("{folder}: the log is cut off at {to}, what came after it was not synced");
    Ok(log.truncate(to)?)
}

#[cfg(test)]
mod tests {
    use nsq_queue::NewRecord;

    use super::*;
    use crate::command::Command;
    use crate::replica::Replica;
    use crate::testing::SMALL_SEGMENTS;
    use crate::testing::committed::topic_name;

    fn publish(replica: &mut Replica, log: LogKind, ids: std::ops::Range<u64>) {
        for id in ids {
            let record = NewRecord {
                id,
                timestamp: 5,
                body: &[b'x'; 200],
                due: 7,
                attempts: 0,
            };
            let command = Command::Publish {
                topic: topic_name("t"),
                log,
                records: &[record],
            };
            replica.execute(&command).unwrap();
        }
    }

    #[test]
    fn logs_are_cut_off_where_they_ended_at_the_last_sync_and_go_on_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut replica = Replica::open(path, SMALL_SEGMENTS).unwrap();
        let create = Command::CreateTopic(topic_name("t"));
        replica.execute(&create).unwrap();
        publish(&mut replica, LogKind::Main, 10..50);
        publish(&mut replica, LogKind::Deferred, 50..55);
        let stored = replica.sync().unwrap();
        assert_eq!(replica.sync().unwrap(), Ends::new());
        publish(&mut replica, LogKind::Main, 60..90);
        publish(&mut replica, LogKind::Deferred, 90..95);
        let later = Command::CreateTopic(topic_name("later"));
        replica.execute(&later).unwrap();
        drop(replica);
        cut_to(path, SMALL_SEGMENTS, &stored).unwrap();
        let mut found = ends_of(path, SMALL_SEGMENTS).unwrap();
        assert_eq!(found.remove(topic_name("later")).unwrap().main, 0);
        assert_eq!(found, stored);
        // An id that is lower than those that were cut off gets the next place.
        let mut replica = Replica::open(path, SMALL_SEGMENTS).unwrap();
        publish(&mut replica, LogKind::Main, 56..58);
        let ends = replica.sync().unwrap();
        assert_eq!(ends[topic_name("t")].main, 42);
    }

    #[test]
    fn a_log_that_lost_what_was_synced_is_not_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut replica = Replica::open(path, SMALL_SEGMENTS).unwrap();
        let create = Command::CreateTopic(topic_name("t"));
        replica.execute(&create).unwrap();
        publish(&mut replica, LogKind::Main, 10..20);
        let stored = replica.sync().unwrap();
        drop(replica);
        for entry in std::fs::read_dir(path.join("topics/t.topic")).unwrap() {
            let file = entry.unwrap();
            if file.file_name().to_string_lossy().ends_with(".log") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        cut_to(path, SMALL_SEGMENTS, &stored).unwrap();
        let mut replica = Replica::open(path, SMALL_SEGMENTS).unwrap();
        let record = NewRecord {
            id: 30,
            timestamp: 5,
            body: b"next",
            due: 0,
            attempts: 0,
        };
        let command = Command::Publish {
            topic: topic_name("t"),
            log: LogKind::Main,
            records: &[record],
        };
        let refused = replica.execute(&command).unwrap_err().to_string();
        assert!(refused.contains("had reached 10"), "{refused}");
    }
}
